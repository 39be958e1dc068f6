"""Waiting for events: a line, a file, an end. Each ends when the kernel says so, or fails saying what it saw."""

from __future__ import annotations

import ctypes
import errno
import os
import select
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from support import pace

T = TypeVar("T")
TIMEOUT = 20.0  # seconds on a quick host; a bound for a test that hangs, never a time that a passing test takes

_libc = ctypes.CDLL(None, use_errno=True)
# inotify(7): a file in the directory was modified, moved from or to it, created or deleted.
_EVENTS = 0x2 | 0x40 | 0x80 | 0x100 | 0x200


def readable(fd: int, deadline: float) -> bool:
    """Waits until fd is readable; False when the deadline (monotonic) came first."""
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    return bool(poller.poll(max(0.0, deadline - time.monotonic()) * 1000))


def wait_gone(pidfd: int, timeout: float = TIMEOUT) -> None:
    """Until the process has ended; a zombie has."""
    assert readable(pidfd, pace.deadline(timeout)), f"the process was still there after {timeout} s"


def wait_line(source: Path | Lines, text: str, timeout: float = TIMEOUT) -> str:
    """The first whole line of a file or a pipe that holds `text`. The file need not exist yet; a pipe is read on."""
    if isinstance(source, Lines):
        return source.wait(text, timeout)

    def found() -> str | None:
        whole = _content(source).rpartition("\n")[0]
        return next((line for line in whole.split("\n") if text in line), None)

    return wait_on_disk(source, found, timeout, lambda: f"no line with {text!r} in {source}:\n{_content(source)}")


def wait_file(path: Path, timeout: float = TIMEOUT) -> str:
    """What the file holds, as soon as it exists and is not empty. Its writer should rename it into place."""
    return wait_on_disk(path, lambda: _content(path) or None, timeout, lambda: f"{path} was not written")


def wait_no_file(path: Path, timeout: float = TIMEOUT) -> None:
    wait_on_disk(path, lambda: None if path.exists() else True, timeout, lambda: f"{path} is still there")


def wait_on_disk(path: Path, check: Callable[[], T | None], timeout: float, complaint: Callable[[], str]) -> T:
    """What `check` returns once that is not None; it is asked again after each change in the directory of `path`."""
    deadline = pace.deadline(timeout)
    while True:
        watch, watched = _watch(path.parent)
        try:
            while (result := check()) is None:
                assert readable(watch, deadline), f"{complaint()} (after {timeout} s)"
                os.read(watch, 65536)
                if watched != path.parent:
                    break  # the next directory on the way may have come: watch that one
            else:
                return result
        finally:
            os.close(watch)


def wait_until(condition: Callable[[], bool], what: str, timeout: float = TIMEOUT) -> None:
    """For what the kernel announces to nobody, such as the state of a process that is not our child.

    It asks again every few milliseconds, so it waits no longer than it must.
    """
    deadline = pace.deadline(timeout)
    never = select.poll()
    while not condition():
        assert time.monotonic() < deadline, f"not after {timeout} s: {what}"
        never.poll(3)


class Lines:
    """The lines of a pipe or terminal, read as they come, each kept in `seen`."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.seen: list[str] = []
        self._partial = b""
        self._next = 0

    def wait(self, text: str, timeout: float = TIMEOUT) -> str:
        """The next line that holds `text`, after the last one returned."""
        deadline = pace.deadline(timeout)
        while True:
            while self._next < len(self.seen):
                self._next += 1
                if text in self.seen[self._next - 1]:
                    return self.seen[self._next - 1]
            assert readable(self.fd, deadline), f"no line with {text!r} after {timeout} s: {self.seen}"
            if not self.read() and self._next == len(self.seen):
                raise EOFError(f"the pipe was closed without a line with {text!r}: {self.seen}")

    def rest(self, timeout: float = TIMEOUT) -> list[str]:
        """All lines until every writer has closed the pipe."""
        wait_closed([self], timeout)
        return self.seen

    def read(self) -> bool:
        """Takes what is there, waiting for the first byte; False at the end."""
        data = os.read(self.fd, 65536)
        *whole, self._partial = (self._partial + data).split(b"\n")
        if not data and self._partial:
            whole, self._partial = [self._partial], b""
        self.seen += [line.decode(errors="replace") for line in whole]
        return bool(data)


def wait_closed(pipes: Sequence[Lines], timeout: float = TIMEOUT) -> None:
    """Reads several pipes side by side, so that none fills up, until every writer has closed them."""
    deadline = pace.deadline(timeout)
    poller = select.poll()
    open_ones = {lines.fd: lines for lines in pipes}
    for fd in open_ones:
        poller.register(fd, select.POLLIN)
    while open_ones:
        ready = poller.poll(max(0.0, deadline - time.monotonic()) * 1000)
        assert ready, f"a pipe was not closed after {timeout} s: {[lines.seen for lines in pipes]}"
        for fd, _ in ready:
            if not open_ones[fd].read():
                poller.unregister(fd)
                del open_ones[fd]


def _content(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""


def _watch(directory: Path) -> tuple[int, Path]:
    """An inotify descriptor, and what it watches: the directory, or as much of the way to it as exists."""
    fd: int = _libc.inotify_init1(os.O_CLOEXEC)
    missing, watched = None, directory
    while _libc.inotify_add_watch(fd, os.fsencode(watched), _EVENTS) < 0:
        if (number := ctypes.get_errno()) != errno.ENOENT:
            raise OSError(number, os.strerror(number), str(watched))
        missing, watched = watched, watched.parent
    if missing and missing.exists():  # made before its parent was watched
        os.close(fd)
        return _watch(directory)
    return fd, watched


if __name__ == "__main__":  # for bats: waiting.py FILE TEXT
    print(wait_line(Path(sys.argv[1]), sys.argv[2]))
