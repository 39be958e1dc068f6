"""Nothing that a test starts outlives it, whatever the test does, and nothing else is ever signalled.

Three nets, all through pidfds: the processes started here, those adopted by pid, and those whose environment holds the
test's own mark, which also finds what left its parent, its session and its process group. ctl gives services a clean
environment, so the sandbox writes the mark into each definition.
"""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Self

from support import mark as marks
from support import pace, proc
from support.waiting import TIMEOUT, Lines, readable, wait_gone

MARK, SESSION = marks.MARK, marks.SESSION
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_numbers = itertools.count(1)


class Process:
    """A started child: its pidfd stays valid, and its pid unused by others, until it is closed."""

    def __init__(self, popen: subprocess.Popen[bytes]) -> None:
        self.popen = popen
        self.pid = popen.pid
        self.pidfd = os.pidfd_open(popen.pid)
        self.out = Lines(popen.stdout.fileno()) if popen.stdout else None
        self.err = Lines(popen.stderr.fileno()) if popen.stderr else None

    def wait_line(self, text: str, timeout: float = TIMEOUT) -> str:
        assert self.out, "its stdout is not a pipe"
        return self.out.wait(text, timeout)

    def wait(self, timeout: float = TIMEOUT) -> int:
        """Its exit status, -N for signal N; it is no zombie afterwards."""
        return self.popen.wait(timeout * pace.TIME_FACTOR)

    def signal(self, number: signal.Signals) -> None:
        signal.pidfd_send_signal(self.pidfd, number)

    def alive(self) -> bool:
        return not readable(self.pidfd, 0)

    def become(self, pid: int) -> None:
        """It has ended, and has left us another child in its place, with its pipes."""
        os.close(self.pidfd)
        self.pid = self.popen.pid = pid
        self.popen.returncode = None  # as of a child that runs
        self.pidfd = os.pidfd_open(pid)

    def close(self) -> None:
        for stream in (self.popen.stdin, self.popen.stdout, self.popen.stderr):
            if stream:
                stream.close()
        os.close(self.pidfd)


class Reaper:
    """`with Reaper() as reaper:` or the fixture; on exit all is killed and gone, also when the body raised."""

    def __init__(self, mark: str | None = None) -> None:
        self.mark = mark or f"{SESSION}-{next(_numbers)}"
        self._processes: list[Process] = []
        self._adopted: list[int] = []

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """A clean environment with the mark in it."""
        return {"PATH": PATH, "LC_ALL": "C.UTF-8", MARK: self.mark, **(extra or {})}

    def start(
        self,
        argv: Sequence[str | Path],
        *,
        ready: str | None = "ready (pid:",
        env: Mapping[str, str] | None = None,
        user: int | None = None,
        stdin: int | IO[Any] | None = subprocess.DEVNULL,
        stdout: int | IO[Any] | None = subprocess.PIPE,
        stderr: int | IO[Any] | None = None,
        timeout: float = TIMEOUT,
        **popen: Any,
    ) -> Process:
        """Starts it and waits for its line `ready` on stdout (None: does not wait). `env` is added to a clean one."""
        if user is not None:
            popen.update(user=user, group=user, extra_groups=[])
        child = subprocess.Popen(
            [os.fspath(word) for word in argv],
            env=self.environment(env), stdin=stdin, stdout=stdout, stderr=stderr, **popen,
        )  # fmt: skip
        process = Process(child)
        self._processes.append(process)
        if ready is not None and process.out:
            process.out.wait(ready, timeout)
        return process

    def adopt(self, pid: int) -> int:
        """A pidfd of a process that something else started; it is killed in the end like the others."""
        pidfd = os.pidfd_open(pid)
        self._adopted.append(pidfd)
        return pidfd

    def close(self) -> None:
        try:
            _end([process.pidfd for process in self._processes] + self._adopted)
            for process in self._processes:
                process.wait()
            sweep(self.mark)
        finally:
            for process in self._processes:
                process.close()
            for pidfd in self._adopted:
                os.close(pidfd)
            self._processes, self._adopted = [], []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def sweep(mark: str, timeout: float = TIMEOUT) -> list[int]:
    """Kills every process that carries the mark (a final "*": any mark that begins so), until none is left."""
    deadline = pace.deadline(timeout)
    swept: list[int] = []
    while found := [pid for pid in proc.with_environment(MARK, mark) if pid != os.getpid()]:
        assert time.monotonic() < deadline, f"still there: {found}"
        for pid in found:
            _end_marked(pid, mark)
        swept += found
    return swept


def _end_marked(pid: int, mark: str) -> None:
    """Opens the pidfd first and looks at the mark again, so that a recycled pid is never hit."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if proc.environment(pid).get(MARK, "").startswith(mark.rstrip("*")):
            _end([pidfd])
    finally:
        os.close(pidfd)


def _end(pidfds: Sequence[int]) -> None:
    for pidfd in pidfds:
        try:
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        except ProcessLookupError:
            continue
    for pidfd in pidfds:
        wait_gone(pidfd)


if __name__ == "__main__":  # for bats: reaper.py MARK
    sweep(sys.argv[1])
