"""A service's log: stdout and stderr, appended; rotated at start."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path
from typing import Final, NamedTuple, Self

from ctl.model.errors import CtlError
from ctl.model.program import Account
from ctl.system.failure import failure
from ctl.system.files.places import Place, Unsafe, enter, kind_of, open_to_read
from ctl.system.trust import user_name

_TAIL: Final = 16384  # bytes from the end in which the last lines are looked for
_REMOVE: Final = "remove it, or name another in start.log"
_APPEND: Final = os.O_WRONLY | os.O_APPEND
# What ctl itself writes to, which is no file of the service's: nothing is read back from it.
_OWN_OUTPUT: Final = {
    "/dev/stdout": 1, "/dev/fd/1": 1, "/proc/self/fd/1": 1,
    "/dev/stderr": 2, "/dev/fd/2": 2, "/proc/self/fd/2": 2,
}  # fmt: skip


class OpenLog(NamedTuple):
    """A log to write to; `with` closes it."""

    fd: int
    began: int  # its length in bytes, at which what is written next will begin

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)


class _NotALog(Unsafe):
    """What is there is not to be written to."""


def open_log(path: Path, keep: int, service: Account | None) -> OpenLog:
    """Rotate the log (PATH to PATH.1 and so on, `keep` old ones), and open a new one for the service's user.

    Raises CtlError.
    """
    try:
        fd = _opened_sink(path)
        if fd is None:
            with enter(path.parent, service, make=True) as place:
                fd = _open_in(place, path.name, keep, service)
        return OpenLog(fd, os.fstat(fd).st_size)
    except OSError as error:
        raise _refusal(error, path) from None


def is_sink(path: Path) -> bool:
    """Whether what is written there cannot be read again: /dev/null, and ctl's own stdout and stderr."""
    return str(path) == os.devnull or str(path) in _OWN_OUTPUT


def require_log(path: Path, keep: int, service: Account | None) -> None:
    """Raises CtlError where it is known beforehand that `open_log` would. Changes nothing."""
    if is_sink(path):
        return
    try:
        with _nearest(path.parent, service) as place:
            found = _found(place, path.name) if place.path == path.parent else None
            if found is None or (keep and found.st_size):
                place.require_room()
            else:
                os.close(_opened(place, path.name))
    except OSError as error:
        raise _refusal(error, path) from None


def is_full(path: Path) -> bool:
    """Whether its file system has no room left, as df(1) tells it; False where that cannot be told."""
    try:
        found = os.statvfs(path)
    except OSError:
        return False
    return found.f_blocks > 0 and found.f_bavail == 0


def tail(path: Path, lines: int, since: int = 0, service: Account | None = None) -> tuple[str, ...]:
    """The last `lines` lines that were written after byte `since`; none where the file cannot be read."""
    if is_sink(path):
        return ()
    try:
        with open(open_to_read(path, service), "rb") as log:
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


def was_written_since(path: Path, instant: float, service: Account | None = None) -> bool:
    """Whether something was written to it after that; False where it cannot be read."""
    if is_sink(path):
        return False
    try:
        fd = open_to_read(path, service)
    except OSError:
        return False
    try:
        return os.fstat(fd).st_mtime >= instant
    finally:
        os.close(fd)


def _opened_sink(path: Path) -> int | None:
    if str(path) == os.devnull:
        return os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    own = _OWN_OUTPUT.get(str(path))
    return None if own is None else os.dup(own)


def _open_in(place: Place, name: str, keep: int, service: Account | None) -> int:
    found = _found(place, name)
    if found is not None and keep and found.st_size:
        _rotate(place, name, keep)
    try:
        fd = place.open(name, _APPEND | os.O_CREAT | os.O_EXCL, 0o640)
    except FileExistsError:
        return _opened(place, name)
    if service is not None and place.actor is None:
        os.fchown(fd, service.uid, service.gid)
    return fd


def _opened(place: Place, name: str) -> int:
    """The log that is there already. Raises OSError."""
    fd = place.open_regular(name, _APPEND)
    try:
        found = os.fstat(fd)
        _require_own(place, found)
        if found.st_nlink > 1:
            raise _NotALog(errno.EMLINK, "has another name, too (a hard link)", _REMOVE)
        os.set_blocking(fd, True)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _found(place: Place, name: str) -> os.stat_result | None:
    """The log that is there, None where there is none. Raises OSError where it is not one that ctl takes."""
    try:
        found = place.stat(name)
    except FileNotFoundError:
        return None
    _require_own(place, found)
    return found


def _require_own(place: Place, found: os.stat_result) -> None:
    if stat.S_ISLNK(found.st_mode):
        raise _NotALog(errno.ELOOP, "is a symbolic link, through which others could have ctl write anywhere", _REMOVE)
    if not stat.S_ISREG(found.st_mode):
        raise _NotALog(errno.EINVAL, f"is {kind_of(found.st_mode)}, not a regular file", _REMOVE)
    if os.geteuid() == 0 and found.st_uid not in place.trusted:
        allowed = " or ".join(sorted(map(user_name, place.trusted)))
        raise _NotALog(errno.EPERM, f"belongs to {user_name(found.st_uid)}, not to {allowed}", _REMOVE)


def _nearest(directory: Path, service: Account | None) -> Place:
    """The directory, or the one above it in which it would be made."""
    for above in (directory, *directory.parents):
        with contextlib.suppress(FileNotFoundError):
            return enter(above, service)
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))


def _refusal(error: OSError, path: Path) -> CtlError:
    if isinstance(error, _NotALog):
        return CtlError("failed", f"the log {error.strerror}", where=f"start.log = {path}", fix=error.fix)
    return failure(error, "cannot open the log", where=f"start.log = {path}")


def _rotate(place: Place, name: str, keep: int) -> None:
    for number in range(keep - 1, 0, -1):
        # Asking first whether it is there would take longer than all the rest, for a thousand services.
        with contextlib.suppress(FileNotFoundError):
            place.rename(f"{name}.{number}", f"{name}.{number + 1}")
    place.rename(name, f"{name}.1")
