"""A start of what runs already returns once that is ready, whoever has started it."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from support import proc
from support.reaper import Process
from support.sandbox import Sandbox
from support.waiting import wait_file, wait_line


def by_hand(sandbox: Sandbox, port: int, *options: object, **ready: Any) -> Process:
    """The service, started by somebody else: it listens once its gate is opened."""
    word = f"web-{sandbox.reaper.mark}"
    sandbox.service("web", "listener", match={"cmdline": word}, ready=ready)
    return sandbox.reaper.start(sandbox.programs("listener", "--port", port, *options, word))


def test_an_adopted_one_is_waited_for(sandbox: Sandbox, port: int) -> None:
    gate = sandbox.fifo("gate")
    own = by_hand(sandbox, port, "--gate", gate, tcp=f"127.0.0.1:{port}")
    start = sandbox.ctl_popen("start", "web", "--json")
    assert sandbox.pid("web") == own.pid
    assert sandbox.ctl("status", "web", "--json").one["ready"] is False
    assert start.alive()
    gate.write_text("go")
    result = sandbox.collect(start).expect(0).one
    assert (result["reason"], result["pid"], result["errors"]) == ("already_running", own.pid, [])


def test_one_that_is_not_ready_in_time_is_left_running(sandbox: Sandbox, port: int) -> None:
    gate = sandbox.fifo("gate")
    own = by_hand(sandbox, port, "--gate", gate, tcp=f"127.0.0.1:{port}", timeout=0.5)
    result = sandbox.ctl("start", "web", "--json").expect(151).one
    assert (result["reason"], result["after"], result["pid"]) == ("not_ready", "running", own.pid)
    assert "was not ready within 0.5 s (ready.timeout): tcp 127.0.0.1" in result["errors"][0]["what"]
    assert "(--timeout)" in sandbox.ctl("start", "web", "--timeout", "0.3").expect(151).stderr
    assert own.alive()
    assert sandbox.has_run("web")


def test_one_that_ends_meanwhile_is_not_running(sandbox: Sandbox, port: int) -> None:
    gate = sandbox.fifo("gate")
    own = by_hand(sandbox, port, "--gate", gate, tcp=f"127.0.0.1:{port}")
    start = sandbox.ctl_popen("start", "web", "--json")
    sandbox.pid("web")
    own.signal(signal.SIGKILL)
    result = sandbox.collect(start).expect(151).one
    assert result["after"] == "stopped"
    assert f"pid {own.pid}, ended before it was ready" in result["errors"][0]["what"]


def test_a_command_is_asked_of_an_adopted_one(sandbox: Sandbox, port: int) -> None:
    asked, flag = sandbox.tmp / "asked", sandbox.tmp / "flag"
    by_hand(sandbox, port, command=["/bin/sh", "-c", f"echo asked >> {asked}; test -e {flag}"])
    start = sandbox.ctl_popen("start", "web", "--json")
    wait_line(asked, "asked")
    assert start.alive()
    flag.touch()
    sandbox.collect(start).expect(0)


@pytest.mark.parametrize("ready", [{"log": "^listening on"}, {"notify": True}], ids=["log", "notify"])
def test_what_nobody_has_seen_is_not_waited_for(sandbox: Sandbox, port: int, ready: dict[str, Any]) -> None:
    by_hand(sandbox, port, **ready)
    assert sandbox.ctl("start", "web", "--json").expect(0).one["reason"] == "already_running"


def interrupted(sandbox: Sandbox, **ready: Any) -> int:
    """A service whose ctl was killed before it was ready."""
    sandbox.service("web", "never_ready", ready=ready)
    start = sandbox.ctl_popen("start", "web")
    wait_line(sandbox.log("web"), "ready (pid:")
    sandbox.adopt("web")
    start.signal(signal.SIGKILL)
    start.wait()
    return sandbox.pid("web")


def test_one_whose_ctl_was_killed_is_asked_again(sandbox: Sandbox) -> None:
    flag = sandbox.tmp / "flag"
    pid = interrupted(sandbox, command=["/bin/sh", "-c", f"test -e {flag}"])
    assert sandbox.ctl("start", "web", "--timeout", "0.5", "--json").expect(151).one["after"] == "running"
    assert proc.alive(pid)
    flag.touch()
    assert sandbox.ctl("start", "web", "--json").expect(0).one["errors"] == []
    assert sandbox.ctl("status", "web", "--json").one["state"] == "ready"


def test_a_line_that_its_ctl_has_not_seen_is_told_of(sandbox: Sandbox) -> None:
    interrupted(sandbox, log="^never")
    (told,) = sandbox.ctl("start", "web", "--json").expect(0).one["errors"]
    assert "cannot tell whether it is ready (log ^never)" in told["what"]


def test_a_stranger_does_not_make_it_ready(sandbox: Sandbox, port: int) -> None:
    gate = sandbox.fifo("gate")
    own = by_hand(sandbox, port, "--gate", gate, tcp=f"127.0.0.1:{port}", timeout=1)
    port_file = sandbox.tmp / "port"
    other = sandbox.reaper.start(sandbox.programs("listener", "--port", port, "--port-file", port_file))
    wait_file(port_file)
    result = sandbox.ctl("start", "web").expect(151)
    assert "is held by python" in result.stderr
    assert f"pid {other.pid}" in result.stderr
    assert own.alive()
