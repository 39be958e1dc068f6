"""The readiness protocol of sd_notify(3): a datagram socket on which a service says READY=1."""

from __future__ import annotations

import os
import socket
import struct
from typing import Final, NamedTuple

from ctl.model.identity import LARGEST_PID

_LIMIT: Final = 4096  # bytes a datagram; longer ones are cut, which harms no line that matters here
_CREDENTIALS: Final = struct.Struct("3i")  # struct ucred, unix(7)


class Message(NamedTuple):
    """One datagram: what it says, and as the kernel tells it, from which user."""

    uid: int
    ready: bool
    main_pid: int | None


def _pid(text: str) -> int | None:
    return int(text) if text.isdecimal() and 1 < int(text) <= LARGEST_PID else None


class NotifySocket:
    """An abstract unix socket: it needs no file, so nothing is left behind when ctl is killed."""

    def __init__(self, name: str) -> None:
        self.address = f"@ctl/{name}"  # what goes into NOTIFY_SOCKET
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._socket.bind(f"\0{self.address[1:]}")

    @property
    def fd(self) -> int:
        return self._socket.fileno()

    def receive(self) -> Message | None:
        """The next message, None when there is none now."""
        try:
            content, ancillary, _, _ = self._socket.recvmsg(_LIMIT, socket.CMSG_SPACE(_CREDENTIALS.size) + 256)
        except BlockingIOError:
            return None
        uid = -1
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
                _, uid, _ = _CREDENTIALS.unpack(data[: _CREDENTIALS.size])
            elif level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                for (fd,) in struct.iter_unpack("i", data[: len(data) - len(data) % 4]):
                    os.close(fd)  # FDSTORE=1 would have us keep it
        lines = content.decode(errors="replace").splitlines()
        said = dict(line.partition("=")[::2] for line in lines)
        main_pid = said.get("MAINPID", "")
        return Message(uid, said.get("READY") == "1", _pid(main_pid))

    def close(self) -> None:
        self._socket.close()
