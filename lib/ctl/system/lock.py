"""One operation at a time on a target: flock(2) on RUN_DIR/TARGET.lock, released by the kernel when its holder dies.

The file may be removed by who holds the lock (ctl forget), so it is compared with the path's after it was locked.
"""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from ctl.model.errors import CtlError
from ctl.system import procfs
from ctl.system.interrupts import Patience
from ctl.system.wait import now, readable

_ABSENT = (errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENOENT)
_ASK_EVERY = 0.05  # seconds, where nobody tells

Lock = AbstractContextManager[bool]


@contextmanager
def locked(
    path: Path,
    purpose: str,
    timeout: float,
    patience: Patience,
    on_wait: Callable[[str], None] = lambda _: None,
    fix: str = "try again",
) -> Iterator[bool]:
    """Hold the lock for the block, after at most `timeout` seconds. Yields whether it could be held at all.

    Where the file cannot even be made (a full or read-only run directory), nobody else can hold it either: False.
    `on_wait` is told once who is in the way, and `fix` says what to do about it.
    Raises CtlError (busy, permission_denied) or Interrupted.
    """
    fd = _taken(path, timeout, patience, on_wait, fix)
    if fd is None:
        yield False
        return
    try:
        _sign(fd, purpose)
        try:
            yield True
        finally:
            _sign(fd, "")
    finally:
        os.close(fd)


def _taken(path: Path, timeout: float, patience: Patience, on_wait: Callable[[str], None], fix: str) -> int | None:
    """The lock file that has this name, locked. One that a ctl forget has removed meanwhile keeps nobody away."""
    deadline = now() + timeout
    while (fd := _open(path)) is not None:
        try:
            if not _take_now(fd):
                if timeout > 0:
                    on_wait(_holder_of(fd, path))
                if not _take_within(fd, deadline, patience):
                    what = f"{_holder_of(fd, path)} holds it; waited {timeout:g} s"
                    raise CtlError("busy", what, where=str(path), fix=fix)
            if _has_name(fd, path):
                return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
    return None


def _has_name(fd: int, path: Path) -> bool:
    """Whether the open file is (still) the one of this name."""
    try:
        named = os.lstat(path)
    except FileNotFoundError:
        return False
    return os.path.samestat(named, os.fstat(fd))


def purpose_held(path: Path) -> str | None:
    """The verb for which some process holds the lock now, None where nobody does.

    Looks into /proc/locks (proc_locks(5)) rather than trying the lock, which would get in the way of the others.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        # Who holds it has signed it. /proc/locks is a list of all the host's, and dear.
        return purpose if (purpose := _signed(fd)) and _holding_pid(os.fstat(fd)) is not None else None
    finally:
        os.close(fd)


def holder(path: Path) -> tuple[str | None, int] | None:
    """The verb and the pid of the ctl that holds the lock now, None where none does that our pid namespace shows.

    The verb is None where this user may not read the file.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except PermissionError:
        with suppress(OSError):
            pid = _holding_pid(path.lstat())
            return None if pid is None else (None, pid)
        return None
    except OSError:
        return None
    try:
        pid = _holding_pid(os.fstat(fd))
        return None if pid is None else (_signed(fd) or None, pid)
    finally:
        os.close(fd)


def obstacle(path: Path) -> CtlError | None:
    """What `locked` would raise because this user may not lock it. Neither makes the file nor takes the lock."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW))
    except FileNotFoundError:
        if not path.parent.exists() or os.access(path.parent, os.W_OK | os.X_OK, effective_ids=True):
            return None
        return None if os.statvfs(path.parent).f_flag & os.ST_RDONLY else _forbidden(path)
    except PermissionError:
        return _forbidden(path)
    except OSError:
        return None
    return None


def _forbidden(path: Path) -> CtlError:
    what = "not allowed to lock this service"
    return CtlError("permission_denied", what, where=str(path), fix="try again as its owner or root")


def _open(path: Path) -> int | None:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        return os.open(path, flags, 0o600)
    except OSError as error:
        if error.errno == errno.EROFS and path.exists():
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        if error.errno in _ABSENT:
            return None
        if isinstance(error, PermissionError):
            raise _forbidden(path) from None
        raise CtlError("failed", f"cannot lock: {error.strerror}", where=str(path)) from None


def _take_now(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _take_within(fd: int, deadline: float, patience: Patience) -> bool:
    """flock(2) has no timeout: a thread waits in it and tells us through an eventfd, which poll(2) can wait for."""
    try:
        done = _told_when_taken(fd)
    except (RuntimeError, OSError):  # there is no thread or no descriptor left
        while not _take_now(fd):
            if now() >= deadline:
                return False
            readable((), min(now() + _ASK_EVERY, deadline), patience)
        return True
    if not readable([done], deadline, patience):
        return False
    os.close(done)
    return True


def _told_when_taken(fd: int) -> int:
    """Have a thread wait for the lock. Returns what becomes readable when it has that. Raises RuntimeError, OSError.

    A thread that is given up keeps its own copy of the descriptor. When it gets the lock after all, it closes that,
    and so releases the lock: by then the caller has closed the other copy.
    """
    done = os.eventfd(0, os.EFD_CLOEXEC)
    waiting = -1

    def wait() -> None:
        fcntl.flock(waiting, fcntl.LOCK_EX)
        os.close(waiting)
        os.eventfd_write(done, 1)

    try:
        waiting = os.dup(fd)
        threading.Thread(target=wait, name="flock", daemon=True).start()
    except (RuntimeError, OSError):
        os.close(done)
        if waiting >= 0:
            os.close(waiting)
        raise
    return done


def _sign(fd: int, purpose: str) -> None:
    """Leave word of what holds the lock, for whoever waits. Not worth failing for on a full file system."""
    try:
        os.ftruncate(fd, 0)
        os.pwrite(fd, purpose.encode(), 0)
    except OSError:
        pass


def _signed(fd: int) -> str:
    return os.pread(fd, 64, 0).decode(errors="replace").strip()


def _holder_of(fd: int, path: Path) -> str:
    pid = _holding_pid(os.fstat(fd))
    return f"ctl {_signed(fd)} (pid {pid})" if pid is not None else "another ctl"


def _holding_pid(found: os.stat_result) -> int | None:
    """The process that holds a lock on this file, as far as our pid namespace shows it."""
    file_id = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    for line in procfs.read_locks():
        fields = line.split()
        if "FLOCK" in fields and "->" not in fields and file_id in fields:
            return int(fields[fields.index(file_id) - 1])
    return None
