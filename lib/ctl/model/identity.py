"""Which process a pid meant when it was written down."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

LARGEST_PID: Final = 2**22  # PID_MAX_LIMIT, linux/threads.h
Pid = Annotated[int, msgspec.Meta(ge=1, le=LARGEST_PID)]


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """One process of one boot, told from every other that ever has its pid.

    A pid reused within one clock tick has the same start time, so the two alone do not tell: the inode of the pidfd,
    which is unique for the boot from Linux 6.9 on (pidfs), does. It is None on older kernels.
    """

    boot_id: str  # /proc/sys/kernel/random/boot_id
    pid_ns: int  # inode of /proc/self/ns/pid, see pid_namespaces(7)
    pid: Pid
    start_ticks: int  # clock ticks after boot, field 22 of proc_pid_stat(5)
    pidfd_inode: int | None


def same_process(claimed: Identity, found: Identity) -> bool:
    """Whether both mean one process. A pidfd inode that only one of them has decides nothing.

    Where both have one, it alone tells the processes of one pid apart: in a time namespace of its own, ctl sees other
    start times, time_namespaces(7).
    """
    if (claimed.boot_id, claimed.pid_ns, claimed.pid) != (found.boot_id, found.pid_ns, found.pid):
        return False
    if claimed.pidfd_inode is not None and found.pidfd_inode is not None:
        return claimed.pidfd_inode == found.pidfd_inode
    return claimed.start_ticks == found.start_ticks
