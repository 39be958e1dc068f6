"""The terminal that a person sits at: whether there is one, how large it is, and a thread that draws on it."""

from __future__ import annotations

import os
import select
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from ctl.system.environment import variable
from ctl.system.streams import is_terminal

_USUAL: Final = (80, 24)  # columns and rows of a terminal that does not say how large it is
_DRAWN_WITHIN: Final = 1.0  # seconds; a terminal that is held with Ctrl-S takes nothing


def is_drawable(fd: int) -> bool:
    """Whether it is a terminal on which the cursor can be moved."""
    return is_terminal(fd) and variable("TERM") not in (None, "dumb", "unknown")


def has_colours(fd: int) -> bool:
    """Whether colours are wanted there: on a terminal that is not dumb, unless NO_COLOR says no (no-color.org)."""
    return is_drawable(fd) and variable("NO_COLOR") is None


def size(fd: int) -> tuple[int, int]:
    """Columns and rows."""
    try:
        columns, rows = os.get_terminal_size(fd)
    except OSError:
        columns, rows = 0, 0
    return columns or _USUAL[0], rows or _USUAL[1]


def write(fd: int, text: str) -> None:
    """Write it whole. Raises OSError, also for a terminal that has been hung up."""
    left = memoryview(text.encode(errors="backslashreplace"))
    while left:
        left = left[os.write(fd, left) :]


def is_ours(fd: int) -> bool:
    """Whether we may draw there: not from the background (tcgetpgrp(3)), where another program has the terminal."""
    try:
        return os.tcgetpgrp(fd) == os.getpgrp()
    except OSError:  # it is nobody's controlling terminal
        return True


class Pulse:
    """Calls `beat` in a thread of its own, so that a terminal that takes nothing delays nobody who works."""

    def __init__(self, beat: Callable[[bool], None]) -> None:
        """Raises OSError where there is no descriptor left."""
        self._beat = beat
        self._ends = False
        self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._thread: threading.Thread

    def begin(self, first: float, every: float) -> None:
        """Beat from `first` seconds on, every so many, and when woken. Raises RuntimeError: no thread can be had."""
        self._ends = False
        self._thread = threading.Thread(target=self._run, args=(first, every), name="terminal", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Beat now."""
        os.eventfd_write(self._bell, 1)

    def end(self) -> None:
        """Beat once more, with True, until the next `begin`; given up where the terminal does not take it."""
        self._ends = True
        self.wake()
        if self._thread.is_alive():
            self._thread.join(_DRAWN_WITHIN)

    def _run(self, first: float, every: float) -> None:
        bell = select.poll()
        bell.register(self._bell, select.POLLIN)
        wait = first
        while not self._ends:
            if bell.poll(wait * 1000):
                os.eventfd_read(self._bell)
            if not self._ends:
                self._beat(False)
            wait = every
        self._beat(True)


@contextmanager
def cleared_for_suspension(clear: Callable[[], None], resume: Callable[[], None]) -> Iterator[None]:
    """For the block, Ctrl-Z stops us after `clear`, and `resume` follows when the shell lets us go on."""
    if signal.getsignal(signal.SIGTSTP) is not signal.SIG_DFL:
        yield
        return

    def suspend(_signum: int, _frame: object) -> None:
        clear()
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        signal.raise_signal(signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, suspend)
        resume()

    signal.signal(signal.SIGTSTP, suspend)
    try:
        yield
    finally:
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
