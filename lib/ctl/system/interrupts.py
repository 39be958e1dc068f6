"""INT and TERM, seen only where ctl waits: between two waits it always finishes what it has begun."""

from __future__ import annotations

import os
import select
import signal
from typing import Final

from ctl.model.errors import Interrupted

_ENDING: Final = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """Readable on `fd` from the first INT or TERM on, so every poll(2), in every thread, ends at once."""

    def __init__(self) -> None:
        self._read = self._write = -1
        self.signum: int | None = None

    def install(self) -> None:
        """Take over INT and TERM, and give every child the default for signals that our caller ignores or blocks.

        nohup, a shell's & and cron start us with signals ignored, which a program inherits through exec (signal(7)):
        the service would never see the signal that is to stop it. A handler is reset by exec, and until then keeps
        us as deaf as the caller wanted.
        """
        self._read, self._write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        for signum in range(1, signal.SIGRTMAX + 1):
            if signum not in (signal.SIGPIPE, signal.SIGXFSZ) and _is_ignored(signum):
                signal.signal(signum, _deaf)
        for ending in _ENDING:
            if signal.getsignal(ending) is not _deaf:
                signal.signal(ending, self._note)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())

    @property
    def fd(self) -> int:
        return self._read

    def check(self) -> None:
        """Raises Interrupted after an INT or TERM."""
        if self.signum is not None:
            raise Interrupted(self.signum)

    def rearm(self) -> None:
        """Forget the first interrupt, to be able to wait once more for an orderly end; a second one ends that too."""
        self.signum = None
        while select.select([self._read], [], [], 0)[0]:
            os.read(self._read, 64)

    def _note(self, signum: int, _frame: object) -> None:
        if self.signum is None:
            self.signum = signum
            os.write(self._write, b"!")


def _deaf(_signum: int, _frame: object) -> None:
    """Ignore the signal, without handing that on to children."""


def _is_ignored(signum: int) -> bool:
    return signal.getsignal(signum) is signal.SIG_IGN
