"""Handles: the only way in which this program reaches a process. See pidfd_open(2) and pidfd_send_signal(2)."""

from __future__ import annotations

import errno
import os
import select
import signal
from functools import cache
from pathlib import Path
from typing import Final, Self

from ctl.model.errors import CtlError
from ctl.model.identity import Identity
from ctl.system import descriptors, procfs
from ctl.system.failure import AS_ROOT
from ctl.system.procfs import Gone, Stat

_SIGNAL_ZERO: Final = 0
_REFUSALS: Final = (errno.EPERM, errno.EACCES, errno.ENOSYS)  # what a filter answers with
ALLOW: Final = "allow it in the seccomp profile of the container or unit"
_LINUX_WITH_PIDFDS: Final = [5, 3]
# A stopped process acts on neither of the other kinds until it is continued; KILL reaches it anyway.
_NEEDS_NO_CONT: Final = {signal.SIGKILL, signal.SIGSTOP, signal.SIGCONT}


class Handle:
    """An open pidfd whose process was identified after it was opened: it can never come to mean another one."""

    def __init__(self, fd: int, identity: Identity, stat: Stat) -> None:
        self.fd = fd
        self.identity = identity
        self.stat = stat

    @property
    def pid(self) -> int:
        return self.identity.pid

    @property
    def is_gone(self) -> bool:
        """Whether it has ended. A zombie has; a process whose first thread ended before the others has not."""
        return is_ended(self.fd)

    def send(self, name: str) -> bool:
        """Send the signal, and CONT after it so that a stopped process can act on it. False where it has ended.

        Raises CtlError (permission_denied).
        """
        number = signal_number(name)
        if self.is_gone or not self._send(number):
            return False
        if number not in _NEEDS_NO_CONT:
            self._send(signal.SIGCONT)
        return True

    def may_signal(self) -> bool:
        """Whether the kernel would let us signal it."""
        return _may_signal(self.fd)

    def defaults_to(self, name: str) -> bool | None:
        """Whether the signal would have its default action, since nobody there expects it; None where unknown."""
        try:
            defaults = procfs.defaults_to(self.pid, signal_number(name))
        except Gone:
            return None
        return None if self.is_gone else defaults

    def ignores(self, name: str) -> bool:
        """Whether it ignores the signal; False where it has ended, or that cannot be told."""
        try:
            return procfs.ignores(self.pid, signal_number(name)) and not self.is_gone
        except Gone:
            return False

    def state(self) -> str:
        """Its state's letter (proc_pid_stat(5)) now; Z where it has ended."""
        try:
            state = procfs.read_stat(self.pid).state
            return "Z" if self.is_gone else state  # asked last: what was read may be another's that has got the pid
        except Gone:
            return "Z"
        except procfs.Forbidden:
            return "?"

    @property
    def is_stopped(self) -> bool | None:
        """Whether it is held by SIGSTOP or the like, all of it; None where that cannot be told: a tracer holds it."""
        try:
            stopped = procfs.is_stopped(self.pid)
        except Gone:
            return False
        return False if self.is_gone else stopped

    def close(self) -> None:
        os.close(self.fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _send(self, number: int) -> bool:
        try:
            signal.pidfd_send_signal(self.fd, number)
        except ProcessLookupError:
            return False
        except OSError as error:
            raise self._refused(error) from None
        return True

    def _refused(self, error: OSError) -> CtlError:
        if (refused := refusal()) is not None:
            return refused
        if not isinstance(error, PermissionError):
            return CtlError("failed", f"cannot signal pid {self.pid}: {error.strerror}")
        is_root = os.geteuid() == 0
        what = f"not allowed to signal pid {self.pid}, which belongs to another user"
        what += "; ctl lacks CAP_KILL" if is_root else ""
        return CtlError("permission_denied", what, fix=None if is_root else AS_ROOT)


def open_handle(pid: int) -> Handle | None:
    """A handle on the process that has this pid now, None where it has ended or there is none.

    Raises procfs.Forbidden where /proc hides what identifies it.
    """
    fd = open_pidfd(pid)
    if fd is None:
        return None
    try:
        descriptors.keep_room(fd)
        stat = procfs.read_stat(pid)
    except Gone:
        ended = is_ended(fd)
        os.close(fd)
        if ended:
            return None
        raise procfs.Forbidden(pid) from None  # alive, yet not in /proc: hidepid=2
    except BaseException:
        os.close(fd)
        raise
    # Only a process that has not ended yet can have been the one that /proc just described.
    if is_ended(fd):
        os.close(fd)
        return None
    return Handle(fd, identity_of(fd, pid, stat), stat)


def is_anothers(pid: int) -> bool:
    """Whether the kernel would not let us signal this process: neither its real nor its saved user is ours, kill(2)."""
    fd = open_pidfd(pid)
    if fd is None:
        return True
    try:
        return not _may_signal(fd)
    finally:
        os.close(fd)


def _may_signal(fd: int) -> bool:
    """Where a filter refuses all signals, it cannot be told, and yes is the answer that excludes nobody."""
    try:
        signal.pidfd_send_signal(fd, _SIGNAL_ZERO)
    except ProcessLookupError:
        pass
    except OSError:
        return refusal() is not None
    return True


@cache
def refusal() -> CtlError | None:
    """What is refused that the kernel always allows: a pidfd of ourselves, and signal 0 by it."""
    call = "pidfd_open(2)"
    try:
        with os.fdopen(os.pidfd_open(os.getpid()), "rb") as own:
            call = "pidfd_send_signal(2)"
            signal.pidfd_send_signal(own.fileno(), _SIGNAL_ZERO)
    except OSError as error:
        return _filtered(call, error) if error.errno in _REFUSALS else None
    return None


def _filtered(call: str, error: OSError) -> CtlError:
    version = [int(part) for part in os.uname().release.split("-")[0].split(".")[:2] if part.isdecimal()]
    if error.errno == errno.ENOSYS and version < _LINUX_WITH_PIDFDS:
        return CtlError("failed", "this kernel has no pidfd: Linux 5.3 or newer is needed")
    what = f"a seccomp filter refuses {call} ({error.strerror}), without which ctl signals nobody"
    return CtlError("permission_denied", what, fix=ALLOW)


def open_pidfd(pid: int) -> int | None:
    """A pidfd, None where there is no such process. A thread's id is none either. Raises CtlError."""
    try:
        return os.pidfd_open(pid)
    except OSError as error:
        if error.errno in (errno.ESRCH, errno.EINVAL, errno.ENOENT):
            return None
        if error.errno in _REFUSALS:
            raise _filtered("pidfd_open(2)", error) from None
        raise CtlError("failed", f"cannot open a pidfd of pid {pid}: {error.strerror}") from None


def identity_of(fd: int, pid: int, stat: Stat) -> Identity:
    inode = os.fstat(fd).st_ino if inodes_are_unique() else None
    return Identity(boot_id=boot_id(), pid_ns=pid_namespace(), pid=pid, start_ticks=stat.start_ticks, pidfd_inode=inode)


def is_now(identity: Identity) -> bool:
    """Whether the pidfd inode tells that the pid is still that process's, whatever clock its start time is of."""
    if identity.pidfd_inode is None or (identity.boot_id, identity.pid_ns) != (boot_id(), pid_namespace()):
        return False
    fd = open_pidfd(identity.pid)
    if fd is None:
        return False
    try:
        return inodes_are_unique() and os.fstat(fd).st_ino == identity.pidfd_inode
    finally:
        os.close(fd)


def own_identity() -> Identity:
    """That of this very process, which it keeps when it executes another program."""
    with os.fdopen(os.pidfd_open(os.getpid()), "rb") as pidfd:
        return identity_of(pidfd.fileno(), os.getpid(), procfs.read_stat(os.getpid()))


def is_ended(pidfd: int) -> bool:
    """Whether the process has ended, a zombie included: its pidfd polls readable, pidfd_open(2)."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))


def signal_number(name: str) -> int:
    """The number of a signal's name without SIG, as this machine counts them."""
    base, plus, offset = name.partition("+")
    return int(signal.Signals[f"SIG{base}"]) + (int(offset) if plus else 0)


@cache
def boot_id() -> str:
    """A random id of this boot, random(4)."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


@cache
def pid_namespace() -> int:
    """The inode of our pid namespace, namespaces(7)."""
    return int(os.readlink("/proc/self/ns/pid").partition("[")[2].rstrip("]"))


def namespace_is_alive(inode: int) -> bool:
    """Whether a process that we can see lives in the pid namespace with this inode."""
    link = f"pid:[{inode}]"
    for pid in procfs.pids():
        try:
            if os.readlink(f"/proc/{pid}/ns/pid") == link:
                return True
        except OSError:
            continue
    return False


@cache
def inodes_are_unique() -> bool:
    """Whether no two processes of this boot share a pidfd's inode.

    Since Linux 6.9 a pidfd is a file of pidfs, with an inode of its own; before, all share the anonymous one."""
    try:
        pidfd = os.pidfd_open(os.getpid())
    except OSError:  # it is refused, and so is everything for which this would matter
        return False
    anonymous = os.eventfd(0)
    try:
        return os.fstat(pidfd).st_dev != os.fstat(anonymous).st_dev
    finally:
        os.close(pidfd)
        os.close(anonymous)
