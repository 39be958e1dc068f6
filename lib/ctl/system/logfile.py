"""A service's log: stdout and stderr, appended; rotated at start."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO, Final

from ctl.model.errors import CtlError
from ctl.system.failure import failure

_TAIL: Final = 16384  # bytes from the end in which the last lines are looked for


def open_log(path: Path, keep: int, owner: tuple[int, int] | None) -> BinaryIO:
    """Rotate the log (PATH to PATH.1 and so on, `keep` old ones), and open a new one. Raises CtlError."""
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        _rotate(path, keep)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NOCTTY | os.O_NONBLOCK
        fd = os.open(path, flags, 0o640)
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
            os.close(fd)
            kind = "is no regular file" if found.st_nlink == 1 else "has another name, too (a hard link)"
            fix = "remove it, or name another in start.log"
            raise CtlError("failed", f"the log {kind}", where=str(path), fix=fix)
        os.set_blocking(fd, True)
        if owner is not None:
            os.fchown(fd, *owner)
        return os.fdopen(fd, "ab", buffering=0)
    except OSError as error:
        if error.errno == errno.ELOOP:
            what = "the log is a symbolic link, through which others could have ctl write anywhere"
            raise CtlError("failed", what, where=f"start.log = {path}", fix=f"rm '{path}'") from None
        raise failure(error, "cannot open the log", where=f"start.log = {path}") from None


def size_of(path: Path) -> int:
    """Its length in bytes, 0 where there is none: where what is written next will begin."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def is_full(path: Path) -> bool:
    """Whether its file system has no room left, as df(1) tells it; False where that cannot be told."""
    try:
        found = os.statvfs(path)
    except OSError:
        return False
    return found.f_blocks > 0 and found.f_bavail == 0


def tail(path: Path, lines: int, since: int = 0) -> tuple[str, ...]:
    """The last `lines` lines that were written after byte `since`; none where the file cannot be read."""
    try:
        with path.open("rb") as log:
            end = log.seek(0, os.SEEK_END)
            start = max(since, end - _TAIL)
            log.seek(start)
            content = log.read(_TAIL)
    except OSError:
        return ()
    found = content.decode(errors="replace").splitlines()
    if start > since and found:
        found = found[1:]  # begun before the part that was read
    return tuple(found[-lines:])


def _is_written_file(path: Path) -> bool:
    """Whether there is something to rotate: a log that is anything but a file is refused when it is opened."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_size > 0


def _rotate(path: Path, keep: int) -> None:
    if keep == 0 or not _is_written_file(path):
        return
    name = os.fspath(path)
    for number in range(keep - 1, 0, -1):
        # Asking first whether it is there would take longer than all the rest, for a thousand services.
        with contextlib.suppress(FileNotFoundError):
            os.rename(f"{name}.{number}", f"{name}.{number + 1}")
    os.rename(name, f"{name}.1")
