"""Being told by the kernel that a socket begins to listen: bpf(2), which Python has no module for.

Whether anybody listens on a port can only be asked, again and again. But each change of a TCP socket's state passes the
tracepoint inet_sock_set_state (Linux 4.16), and a program of a few instructions there makes a descriptor readable where
the new state is LISTEN. That takes Linux 5.8, and root: CAP_BPF and CAP_PERFMON, capabilities(7).
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import struct
import sys
from contextlib import ExitStack
from typing import Final

from ctl.system import procfs
from ctl.system.libc import checked, libc

# The number of bpf(2), which the C library has no function for. All of these have 64 bits, and are little-endian.
_SYSTEM_CALL: Final = {"x86_64": 321, "aarch64": 280, "riscv64": 280}

# linux/bpf.h: enum bpf_cmd, bpf_map_type, bpf_prog_type
_MAP_CREATE: Final = 0
_PROG_LOAD: Final = 5
_RAW_TRACEPOINT_OPEN: Final = 17
_RINGBUF: Final = 27
_RAW_TRACEPOINT: Final = 17
_ROOM: Final = 128  # bytes for the arguments of a command, union bpf_attr; what is not given is zero

_TRACEPOINT: Final = b"inet_sock_set_state"
_POSITION: Final = 8  # bytes at the begin of a ring buffer's first two pages: how far it has been read, and written


class Listening:
    """Told when any socket of this machine begins to listen: on whatever port, in whatever network namespace.

    It is told a moment before connections to it are accepted: who asks at once may have to ask once more.
    """

    def __init__(self) -> None:
        """Raises OSError where the kernel cannot tell that, or not to this user."""
        with ExitStack() as opened:
            self.fd = _open(opened, _MAP_CREATE, struct.pack("=4I", _RINGBUF, 0, 0, mmap.PAGESIZE))
            self._read = opened.enter_context(mmap.mmap(self.fd, mmap.PAGESIZE))
            self._written = opened.enter_context(
                mmap.mmap(self.fd, mmap.PAGESIZE, prot=mmap.PROT_READ, offset=mmap.PAGESIZE)
            )
            code = ctypes.create_string_buffer(_program(self.fd))
            licence = ctypes.create_string_buffer(b"")  # has to be given; what the program calls takes none
            places = ctypes.addressof(code), ctypes.addressof(licence)
            program = _open(opened, _PROG_LOAD, struct.pack("=2I2Q", _RAW_TRACEPOINT, len(code) // 8, *places))
            name = ctypes.create_string_buffer(_TRACEPOINT)
            _open(opened, _RAW_TRACEPOINT_OPEN, struct.pack("=QI", ctypes.addressof(name), program))
            self._opened = opened.pop_all()

    def heard(self) -> bool:
        """Whether one has begun since the last call; from then on `fd` is readable when the next one does."""
        written = self._written[:_POSITION]
        is_news = self._read[:_POSITION] != written
        self._read[:_POSITION] = written
        return is_news

    def close(self) -> None:
        self._opened.close()


def _program(ring: int) -> bytes:
    """bpf_ringbuf_output(ring, "", 8, 0) if the third argument of the tracepoint, the new state, is TCP_LISTEN."""
    return b"".join((
        _instruction(0x61, to=2, of=1, offset=16),  # r2 = *(u32 *)(r1 + 16), r1 being the arguments
        _instruction(0x55, to=2, offset=8, value=10),  # if r2 != TCP_LISTEN goto out
        _instruction(0x7A, to=10, offset=-8),  # *(u64 *)(r10 - 8) = 0, on the stack
        _instruction(0x18, to=1, of=1, value=ring),  # r1 = the map of this descriptor,
        _instruction(0x00),  # whose address takes two
        _instruction(0xBF, to=2, of=10),  # r2 = r10
        _instruction(0x07, to=2, value=-8),  # r2 += -8
        _instruction(0xB7, to=3, value=8),  # r3 = 8
        _instruction(0xB7, to=4),  # r4 = 0
        _instruction(0x85, value=130),  # call bpf_ringbuf_output
        _instruction(0xB7),  # out: r0 = 0
        _instruction(0x95),  # exit
    ))  # fmt: skip


def _instruction(code: int, to: int = 0, of: int = 0, offset: int = 0, value: int = 0) -> bytes:
    return struct.pack("=BBhi", code, of << 4 | to, offset, value)  # struct bpf_insn


def _open(opened: ExitStack, command: int, arguments: bytes) -> int:
    """The descriptor that this command of bpf(2) returns. Raises OSError."""
    number = _SYSTEM_CALL.get(os.uname().machine)
    if number is None or sys.maxsize < 2**32:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if procfs.filters_system_calls():  # SystemCallFilter=@system-service of a unit would kill who tries
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))
    fd = checked(libc().syscall(number, command, ctypes.create_string_buffer(arguments, _ROOM), _ROOM))
    opened.callback(os.close, fd)
    return fd
