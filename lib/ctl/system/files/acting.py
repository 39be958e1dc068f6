"""Acting on files as another user, in one thread and for the time of a block.

Linux has a user for file access beside the effective one, setfsuid(2), and all of a process's users are a thread's own:
it is the C library that changes them in all threads, nptl(7). So the system calls are made without it where it would do
that (setgroups). No process is forked, no other thread notices, and the kernel itself judges what that user may do:
with a file user other than root the capabilities that override permissions are gone (capabilities(7)).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Final

from ctl.model.program import Account

_SETGROUPS: Final = {"x86_64": 116, "aarch64": 159}  # asm/unistd.h
_GET_DUMPABLE, _SET_DUMPABLE, _GET_SECUREBITS = 3, 4, 27  # prctl(2)
_NO_SETUID_FIXUP: Final = 1 << 2  # linux/securebits.h


@contextmanager
def acting_as(account: Account | None) -> Iterator[None]:
    """For the block, this thread opens files as that user (None, or root: as ctl itself). No process may be started.

    Raises PermissionError where it may not: then nothing is done at all.
    """
    if account is None or account.uid == 0:
        yield
        return
    from ctl.system.libc import libc  # ctypes takes 5 ms to import, and most calls of ctl act as nobody else

    _require_real_change()
    own_groups, dumpable = os.getgroups(), libc().prctl(_GET_DUMPABLE, 0, 0, 0, 0)
    try:
        _become(account.uid, account.gid, account.groups)
        yield
    finally:
        _set("setfsuid", os.geteuid())  # first: root's rights are back, whatever comes
        _become(os.geteuid(), os.getegid(), own_groups)
        # Each change has the kernel hide the process from others as if it were setuid, proc(5). In a container without
        # CAP_SYS_PTRACE that would include every other ctl of root's.
        libc().prctl(_SET_DUMPABLE, dumpable, 0, 0, 0)


def _become(uid: int, gid: int, groups: Sequence[int]) -> None:
    import ctypes

    from ctl.system.libc import checked, libc

    checked(libc().syscall(_number_of_setgroups(), len(groups), (ctypes.c_uint * len(groups))(*groups)))
    _set("setfsgid", gid)
    _set("setfsuid", uid)


def _set(call: str, number: int) -> None:
    """setfsuid(2) and setfsgid(2) return what was before, and no error: it is asked for by an id that changes nothing.

    Raises PermissionError.
    """
    import ctypes

    from ctl.system.libc import libc

    change = getattr(libc(), call)
    change(ctypes.c_uint(number))
    if change(ctypes.c_uint(2**32 - 1)) & 0xFFFFFFFF != number:
        raise PermissionError(errno.EPERM, f"root may not act as another user here: {call}({number}) does nothing")


@cache
def _require_real_change() -> None:
    from ctl.system.libc import libc

    if libc().prctl(_GET_SECUREBITS, 0, 0, 0, 0) & _NO_SETUID_FIXUP:
        raise PermissionError(errno.EPERM, "root keeps its capabilities here, whatever user it acts as (securebits)")


@cache
def _number_of_setgroups() -> int:
    import platform

    try:
        return _SETGROUPS[platform.machine()]
    except KeyError:
        what = f"ctl does not know how to act as another user on {platform.machine()}"
        raise PermissionError(errno.EPERM, what) from None
