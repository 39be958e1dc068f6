"""A process in a pid namespace below ours, as a container's is: we see it, under another pid than its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from support import proc
from support.reaper import Reaper
from support.requires import requires_namespaces


def start_in_child_namespace(reaper: Reaper, argv: Sequence[str | Path], **options: Any) -> int:
    """Starts it as PID 1 in there and waits for its ready line; returns the pid by which we see it.

    PID 1 gets no signal that it has no handler for. Options are those of `Reaper.start`.
    """
    requires_namespaces()
    outer = reaper.start(["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", *argv], **options)
    (pid,) = proc.children(outer.pid)
    reaper.adopt(pid)
    return pid
