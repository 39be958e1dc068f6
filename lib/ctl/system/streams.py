"""stdin, stdout and stderr, of which a caller may have closed any, and to which nobody may be listening."""

from __future__ import annotations

import contextlib
import os
import sys


def open_missing() -> None:
    """Open /dev/null in the place of each that is closed, or the next pipe or pidfd would take its number."""
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # open(2) takes the lowest free number
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115 - open until the end
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115


def is_terminal(fd: int) -> bool:
    """Whether a person reads there, as far as anybody can tell."""
    return os.isatty(fd)


def write_out(text: str) -> None:
    """A result. That it cannot be written is told at the end, by `flush_stdout`."""
    with contextlib.suppress(OSError):
        sys.stdout.write(text + "\n")


def write_err(text: str) -> None:
    """A diagnostic. Where nobody can be told, what has been done is still true."""
    with contextlib.suppress(OSError):
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


def flush_stdout() -> str | None:
    """Write out what is buffered. Returns why that failed: not that a reader has gone away, as in ctl status | head."""
    try:
        sys.stdout.flush()
    except OSError as error:
        _drop_stdout()
        return None if isinstance(error, BrokenPipeError) else error.strerror
    return None


def _drop_stdout() -> None:
    """Let what is still buffered go nowhere, instead of failing again when Python ends."""
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 1)
