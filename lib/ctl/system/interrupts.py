"""INT and TERM, seen only where ctl waits: between two waits it always finishes what it has begun."""

from __future__ import annotations

import contextlib
import os
import signal
from _thread import get_ident
from typing import Final

from ctl.model.errors import Interrupted

_ENDING: Final = (signal.SIGINT, signal.SIGTERM)
# The first interrupt ends what is being waited for, the second an orderly clean-up, the third a forceful one.
_LEVELS: Final = 3


class Interrupts:
    """Counts INT and TERM from `install` on. Each level of patience can be polled, by any number of threads."""

    def __init__(self) -> None:
        self.count = 0
        self.signum = 0  # of the first
        self._main_thread = 0
        self.fds: list[int] = []  # the n-th becomes readable, and stays so, at the n-th interrupt
        self.wakeup = -1  # readable when a signal has come in, by whatever thread it was taken

    def install(self) -> None:
        """Take over INT and TERM, and give every child the default for signals that our caller ignores or blocks.

        nohup, a shell's & and cron start us with signals ignored, which a program inherits through exec (signal(7)):
        the service would never see the signal that is to stop it. A handler is reset by exec, and until then keeps
        us as deaf as the caller wanted.
        """
        self.fds = [os.eventfd(0, os.EFD_CLOEXEC) for _ in range(_LEVELS)]
        # Python's handlers run in the main thread alone, which may be in poll(2) while another takes the signal.
        self.wakeup, write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        self._main_thread = get_ident()
        for signum in range(1, signal.SIGRTMAX + 1):
            if signum not in (signal.SIGPIPE, signal.SIGXFSZ) and signal.getsignal(signum) is signal.SIG_IGN:
                signal.signal(signum, _deaf)
        for ending in _ENDING:
            if signal.getsignal(ending) is not _deaf:
                signal.signal(ending, self._note)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())

    def outlive_terminal(self) -> None:
        """Go on when the terminal hangs up.

        A stop cut short would leave a service that got TERM and never KILL, a pause one of which a part is held.
        """
        if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
            signal.signal(signal.SIGHUP, _deaf)

    def wakeup_of_this_thread(self) -> tuple[int, ...]:
        """What the main thread must poll as well, to be able to run its handlers."""
        return (self.wakeup,) if get_ident() == self._main_thread else ()

    def _note(self, signum: int, _frame: object) -> None:
        if self.count < _LEVELS:
            self.signum = self.signum or signum
            self.count += 1
            os.eventfd_write(self.fds[self.count - 1], 1)


class Patience:
    """What one operation waits with: it is over at the (`level` + 1)-th interrupt."""

    def __init__(self, interrupts: Interrupts, level: int = 0) -> None:
        self._interrupts = interrupts
        self._level = min(level, _LEVELS - 1)

    @property
    def fds(self) -> tuple[int, ...]:
        """What to poll beside what is waited for."""
        return (self._interrupts.fds[self._level], *self._interrupts.wakeup_of_this_thread())

    def heard(self, ready: set[int]) -> None:
        """Take in what woke the poll up. Raises Interrupted where this patience is over."""
        if self._interrupts.wakeup in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(self._interrupts.wakeup, 4096)
        self.check()

    def check(self) -> None:
        """Raises Interrupted where it is over."""
        if self.is_over:
            raise Interrupted(self._interrupts.signum)

    @property
    def is_over(self) -> bool:
        """Whether so many interrupts have come."""
        return self._interrupts.count > self._level

    def longer(self) -> Patience:
        """To clean up with, after this one was over: it takes one interrupt more."""
        return Patience(self._interrupts, self._level + 1)


def _deaf(_signum: int, _frame: object) -> None:
    """Ignore the signal, without handing that on to children."""
