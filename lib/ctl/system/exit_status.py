"""How a process ended that is no child of ours: its pidfd tells, from Linux 6.15 on (PIDFD_GET_INFO, linux/pidfd.h)."""

from __future__ import annotations

import fcntl
import os
import signal
import struct
from typing import Final

from ctl.system.pidfd import Handle

# struct pidfd_info: mask, cgroupid, eleven ids, exit_code
_INFO: Final = struct.Struct("=QQ11Ii")
_EXIT: Final = 1 << 3  # PIDFD_INFO_EXIT: set in the answer once the process has been reaped
_GET_INFO: Final = 3 << 30 | _INFO.size << 16 | 0xFF << 8 | 11  # _IOWR(PIDFS_IOCTL_MAGIC, 11, struct pidfd_info)


def decoded(status: int) -> tuple[int | None, str | None]:
    """Of a status of wait(2): the exit status, or the name without SIG of the signal."""
    name = signal_of(status)
    return (os.waitstatus_to_exitcode(status), None) if name is None else (None, name)


def wait_status(handle: Handle) -> int | None:
    """Its status as wait(2) has it. None where the kernel does not tell, or its parent has not asked yet."""
    asked = bytearray(_INFO.pack(_EXIT, *([0] * 12), 0))
    try:
        fcntl.ioctl(handle.fd, _GET_INFO, asked)
    except OSError:
        return None
    mask, *_, status = _INFO.unpack(asked)
    return int(status) if mask & _EXIT else None


def signal_of(status: int) -> str | None:
    """The name without SIG of the signal that ended it, None where it exited."""
    if not os.WIFSIGNALED(status):
        return None
    number = os.WTERMSIG(status)
    try:
        return signal.Signals(number).name.removeprefix("SIG")
    except ValueError:  # a real-time signal, signal(7)
        return f"RTMIN+{number - signal.SIGRTMIN}"
