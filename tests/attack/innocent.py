"""Processes that take the pids of a service's, and can tell afterwards whether anybody signalled them."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

from support import proc
from support.pidreuse import Pids

ALL = set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}


class Innocent:
    """An idle process of this pid, of root or of another user. It blocks every signal that can be blocked."""

    def __init__(self, pids: Pids, pid: int, uid: int) -> None:
        """Raises FileExistsError where the pid is taken: by another process, a group or a session."""
        self._pids, self.pid = pids, pid
        before = signal.pthread_sigmask(signal.SIG_BLOCK, ALL)  # the child inherits it: nothing is lost meanwhile
        try:
            pids.fork_as(pid, lambda: _become(uid))
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self.uid = uid

    def harm(self) -> str:
        """What was done to it, "" where nothing was: a blocked signal stays pending, signal(7), CONT as well."""
        if not proc.alive(self.pid):
            return "killed"
        if proc.state(self.pid) in "tT":
            return "stopped"
        lines = Path(f"/proc/{self.pid}/status").read_text(encoding="utf-8").splitlines()
        masks = [int(line.split()[1], 16) for line in lines if line.startswith(("SigPnd:", "ShdPnd:"))]
        return ", ".join(number.name for number in signal.Signals if any(mask >> (number - 1) & 1 for mask in masks))

    def end(self) -> None:
        self._pids.end(self.pid)


def _become(uid: int) -> None:
    if uid:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)


def take(pids: Pids, pid: int, uid: int) -> Innocent | None:
    """Kills this process, a child of ours or one that nobody waits for, and gives its pid to an innocent."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        pidfd = None
    if pidfd is not None:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        os.close(pidfd)
    with contextlib.suppress(ChildProcessError):  # another's child: its pid is free as soon as it has ended
        os.waitpid(pid, 0)
    try:
        return Innocent(pids, pid, uid)
    except FileExistsError:
        return None
