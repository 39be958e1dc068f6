"""The readiness protocol of sd_notify(3): a datagram socket on which a service says READY=1.

It is a file that root and the service's user alone may write to. The name of an abstract socket is no secret,
/proc/net/unix lists them all; and where anybody may send, the queue can be kept full of other messages.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import struct
from pathlib import Path
from typing import Final, NamedTuple

from ctl.model.identity import LARGEST_PID
from ctl.model.program import Account
from ctl.system.failure import failure

_LIMIT: Final = 4096  # bytes a datagram; longer ones are cut, which harms no line that matters here
_CREDENTIALS: Final = struct.Struct("3i")  # struct ucred, unix(7)
_LONGEST: Final = 107  # bytes of a socket's path, sun_path in unix(7)


class Message(NamedTuple):
    """One datagram: what it says, and as the kernel tells it, from which user."""

    uid: int
    ready: bool
    main_pid: int | None


def _pid(text: str) -> int | None:
    return int(text) if text.isdecimal() and 1 < int(text) <= LARGEST_PID else None


class NotifySocket:
    """The socket of one start."""

    def __init__(self, run_dir: Path, target: str, account: Account | None) -> None:
        """It is RUN_DIR/.TARGET.notify where the service can reach that: what a killed ctl leaves is replaced.

        Elsewhere it is in a directory of its own. Raises CtlError.
        """
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        os.fchmod(self.fd, 0o600)  # the mode that bind(2) makes the file with
        self._made: Path | None = None
        path = run_dir.resolve() / f".{target}.notify"
        try:
            if len(os.fsencode(path)) > _LONGEST or not _may_reach(path.parent, account) or not self._bound(path):
                path = self._in_its_own_directory()
            self._path = path
            if account is not None:
                os.chown(path, account.uid, account.gid, follow_symlinks=False)
        except OSError as error:
            self._socket.close()
            raise failure(error, "cannot make the socket on which it is to say READY=1", where=str(path)) from None
        self.address = str(path)  # what goes into NOTIFY_SOCKET

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
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)
            if self._made is not None:
                self._made.rmdir()

    def _bound(self, path: Path) -> bool:
        """Whether it could be made there: a file system may hold no sockets."""
        try:
            path.unlink(missing_ok=True)
            self._socket.bind(os.fsencode(path))
        except OSError:
            return False
        return True

    def _in_its_own_directory(self) -> Path:
        self._made = Path("/run" if os.geteuid() == 0 else "/tmp", f"ctl-{os.urandom(8).hex()}")  # noqa: S108 - it is new
        self._made.mkdir(mode=0o711)
        self._made.chmod(0o711)  # whatever the umask
        path = self._made / "notify"
        self._socket.bind(os.fsencode(path))
        return path


def _may_reach(directory: Path, account: Account | None) -> bool:
    """Whether that user may search this directory and all above it, path_resolution(7). ACLs are not looked at."""
    if account is None:
        return True
    for place in (directory, *directory.parents):
        found = place.stat()
        needed = stat.S_IXUSR if found.st_uid == account.uid else stat.S_IXOTH
        if found.st_uid != account.uid and found.st_gid in account.groups:
            needed = stat.S_IXGRP
        if account.uid != 0 and not found.st_mode & needed:
            return False
    return True
