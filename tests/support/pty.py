"""A command on a real terminal, as a person runs it."""

from __future__ import annotations

import errno
import fcntl
import os
import pty
import struct
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from support import pace
from support.reaper import Reaper
from support.waiting import TIMEOUT, readable


class Terminal:
    """`with Terminal(reaper, argv, env) as terminal:`; the command leads the terminal's session."""

    def __init__(
        self,
        reaper: Reaper,
        argv: Sequence[str | Path],
        env: Mapping[str, str] | None = None,
        *,
        cwd: Path | None = None,
        rows: int = 24,
        columns: int = 80,
    ) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.process = reaper.start(
            argv,
            env={"TERM": "xterm-256color", **(env or {})},
            cwd=cwd,
            ready=None,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=_take_terminal,
        )
        os.close(slave)
        self._output = b""
        self._expected = 0

    @property
    def screen(self) -> str:
        """All output so far, with plain newlines, escape sequences as they came."""
        return self._output.decode(errors="replace").replace("\r\n", "\n")

    def expect(self, text: str, timeout: float = TIMEOUT) -> str:
        """Waits for the text, after what was expected before; returns what came until its end."""
        deadline, wanted = pace.deadline(timeout), text.encode()
        while (at := self._output.find(wanted, self._expected)) < 0:
            assert self._read(deadline), f"no {text!r} on the terminal:\n{self.screen}"
        start, self._expected = self._expected, at + len(wanted)
        return self._output[start : self._expected].decode(errors="replace").replace("\r\n", "\n")

    def send(self, text: str) -> None:
        """Types it; "\\n" is Enter."""
        os.write(self._master, text.encode())

    def resize(self, rows: int, columns: int) -> None:
        """As when a person makes the window smaller."""
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def interrupt(self) -> None:
        """Ctrl-C."""
        self.send("\x03")

    def hang_up(self) -> None:
        """Closes the terminal, as a lost ssh connection does."""
        os.close(self._master)
        self._master = -1

    def wait(self, timeout: float = TIMEOUT) -> int:
        """Reads on to the command's end; its exit status."""
        deadline = pace.deadline(timeout)
        while self._master >= 0 and self._read(deadline):
            pass
        return self.process.wait(max(0.0, deadline - time.monotonic()))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._master >= 0:
            self.hang_up()

    def _read(self, deadline: float) -> bool:
        """False once nobody has the terminal open any more, or the deadline has passed."""
        if not readable(self._master, deadline):
            return False
        try:
            data = os.read(self._master, 65536)
        except OSError as error:
            if error.errno != errno.EIO:  # what a master says when the last slave is closed
                raise
            return False
        self._output += data
        return bool(data)


def _take_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
