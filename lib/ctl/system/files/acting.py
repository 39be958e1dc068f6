"""Acting on files as another user, in one thread and for the time of a block.

Linux has a user for file access beside the effective one, setfsuid(2), and all of a process's users are a thread's own:
it is the C library that changes them in all threads, nptl(7). So the system calls are made without it where it would do
that (setgroups). No process is forked, no other thread notices, and the kernel itself judges what that user may do:
with a file user other than root the capabilities that override permissions are gone (capabilities(7)).
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Final

from ctl.model.program import Account
from ctl.system.libc import checked, libc

_SETGROUPS: Final = {"x86_64": 116, "aarch64": 159}  # asm/unistd.h
_GET_DUMPABLE, _SET_DUMPABLE, _GET_SECUREBITS = 3, 4, 27  # prctl(2)
_NO_SETUID_FIXUP: Final = 1 << 2  # linux/securebits.h
_NOBODY: Final = ctypes.c_uint(2**32 - 1)  # (uid_t) -1: changes nothing, and returns what is


@contextmanager
def acting_as(account: Account | None) -> Iterator[None]:
    """For the block, this thread opens files as that user (None, or root: as ctl itself). No process may be started.

    Raises PermissionError where it may not: then nothing is done at all.
    """
    if account is None or account.uid == 0:
        yield
        return
    _require_real_change()
    own_groups, dumpable = os.getgroups(), libc().prctl(_GET_DUMPABLE, 0, 0, 0, 0)
    try:
        _become(account.uid, account.gid, account.groups)
        yield
    finally:
        libc().setfsuid(ctypes.c_uint(os.geteuid()))  # first: the capability to change groups was never lost
        _become(os.geteuid(), os.getegid(), own_groups)
        # Each change has the kernel hide the process from others as if it were setuid, proc(5). In a container without
        # CAP_SYS_PTRACE that would include every other ctl of root's.
        libc().prctl(_SET_DUMPABLE, dumpable, 0, 0, 0)


def _become(uid: int, gid: int, groups: Sequence[int]) -> None:
    checked(libc().syscall(_number_of_setgroups(), len(groups), (ctypes.c_uint * len(groups))(*groups)))
    libc().setfsgid(ctypes.c_uint(gid))
    libc().setfsuid(ctypes.c_uint(uid))
    # They return the previous id, and no error.
    if (libc().setfsuid(_NOBODY) & 0xFFFFFFFF, libc().setfsgid(_NOBODY) & 0xFFFFFFFF) != (uid, gid):
        raise PermissionError(errno.EPERM, f"root may not act as user {uid} here")


@cache
def _require_real_change() -> None:
    if libc().prctl(_GET_SECUREBITS, 0, 0, 0, 0) & _NO_SETUID_FIXUP:
        raise PermissionError(errno.EPERM, "root keeps its capabilities here, whatever user it acts as (securebits)")


@cache
def _number_of_setgroups() -> int:
    try:
        return _SETGROUPS[platform.machine()]
    except KeyError:
        what = f"ctl does not know how to act as another user on {platform.machine()}"
        raise PermissionError(errno.EPERM, what) from None
