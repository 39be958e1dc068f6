"""stdin, stdout and stderr, of which a caller may have closed any, and to which nobody may be listening."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from collections.abc import Callable


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


def write_err(text: str, end: str = "\n") -> None:
    """A diagnostic. Where nobody can be told, what has been done is still true."""
    with contextlib.suppress(OSError):
        sys.stderr.write(text + end)
        sys.stderr.flush()


def read_line(wait: Callable[[], object]) -> str:
    """What is typed up to Enter, empty at the end of the input. `wait` returns when there is something to read."""
    typed = b""
    with contextlib.suppress(OSError):
        while not typed.endswith(b"\n"):
            wait()
            if not (part := os.read(0, 4096)):
                break
            typed += part
    return typed.decode(errors="replace")


def write_now(content: bytes) -> bool:
    """A part of a result that somebody waits for, as it is. Returns whether there is still anyone who could read it."""
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
    except OSError:
        return False
    return True


def told_of_hangup() -> list[int]:
    """What to poll to notice that the reader of stdout has gone away, before the next line would meet that.

    poll(2) reports POLLERR for the writing end of a pipe without a reader, whatever it is asked for.
    """
    import fcntl

    try:
        is_pipe = stat.S_ISFIFO(os.fstat(1).st_mode)
        return [1] if is_pipe and fcntl.fcntl(1, fcntl.F_GETFL) & os.O_ACCMODE == os.O_WRONLY else []
    except OSError:
        return []


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
