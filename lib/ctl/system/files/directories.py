"""A service's working directory, entered as the service's user: root could go where that user may not."""

from __future__ import annotations

import errno
import os
from typing import Final

from ctl.model.program import Account
from ctl.system.files.acting import acting_as

_OPENAT2: Final = 437  # asm/unistd.h, the same for all architectures
_RESOLVE_NO_MAGICLINKS: Final = 2  # linux/openat2.h
_AT_FDCWD: Final = -100
_FLAGS: Final = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


def open_directory(path: str, account: Account | None) -> int:
    """A descriptor of a directory that this user may enter (None: ctl's own), for fchdir(2). Raises OSError.

    Links are followed as that user. Those of /proc/self are not: they are ctl's, and lead where it already is.
    """
    # The dot is what takes the right to enter: opening a directory takes that only of those above it.
    inside = os.path.join(path, ".")
    try:
        with acting_as(account):
            if account is None:
                return os.open(inside, _FLAGS)
            return _open_without_magic_links(inside)
    except OSError as error:
        error.filename = path
        raise


def _open_without_magic_links(path: str) -> int:
    import ctypes

    from ctl.system.libc import checked, libc

    how = (ctypes.c_uint64 * 3)(_FLAGS, 0, _RESOLVE_NO_MAGICLINKS)  # struct open_how
    try:
        return checked(libc().syscall(_OPENAT2, _AT_FDCWD, os.fsencode(path), how, ctypes.sizeof(how)))
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.EPERM):  # before Linux 5.6; a seccomp filter that does not know it
            raise
        return os.open(path, _FLAGS)
