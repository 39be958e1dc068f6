"""What ctl opens it closes again: it may act on a thousand services in one call."""

from __future__ import annotations

import re

import pytest

from support.sandbox import Sandbox
from support.strace import calls

PIDFD = re.compile(r"^pidfd_open\(.*= (\d+)$")
CLOSED = re.compile(r"^close\((\d+)\)")


@pytest.mark.parametrize("kind", ["settle", "notify", "forking"])
def test_a_start_leaves_no_pidfd_open(sandbox: Sandbox, kind: str) -> None:
    if kind == "notify":
        sandbox.service("web", "notifier", "--mainpid", start={"type": "notify"})
    elif kind == "forking":
        sandbox.service("web", "forker", "--no-pidfile", start={"type": "forking"}, ready={})
    else:
        sandbox.service("web", "idle")
    is_open: set[str] = set()
    opened = 0
    for call in calls(sandbox, "start", "web"):
        if found := PIDFD.match(call.line):
            is_open.add(found[1])
            opened += 1
        elif found := CLOSED.match(call.line):
            is_open.discard(found[1])
    assert sandbox.ctl("status", "web").rc == 0
    assert opened
    assert is_open == set()
