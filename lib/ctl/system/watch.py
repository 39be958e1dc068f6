"""Being told by the kernel that files have changed: inotify(7), which Python has no module for."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Final, Self

from ctl.system.libc import checked, libc

# linux/inotify.h
_IN_MODIFY: Final = 0x2
_IN_CLOSE_WRITE: Final = 0x8
_IN_MOVED_FROM: Final = 0x40
_IN_MOVED_TO: Final = 0x80
_IN_CREATE: Final = 0x100
_IN_DELETE: Final = 0x200
_IN_Q_OVERFLOW: Final = 0x4000
_IN_ONLYDIR: Final = 0x01000000
_CHANGES: Final = _IN_MODIFY | _IN_CLOSE_WRITE | _IN_MOVED_FROM | _IN_MOVED_TO | _IN_CREATE | _IN_DELETE
_EVENT: Final = struct.Struct("iIII")  # wd, mask, cookie, length of the name that follows
_ROOM: Final = 1 << 16  # bytes
_AT_ONCE: Final = 16  # readings


class Watch:
    """Changes of files and of those in directories, from when each was added. A missed change is never silent."""

    def __init__(self) -> None:
        """Raises OSError where the user has no inotify instances left (fs.inotify.max_user_instances)."""
        self.fd = checked(libc().inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK))  # readable when something changed
        self._directories: dict[int, Path] = {}

    def add(self, directory: Path) -> None:
        """Watch this directory, too. Raises OSError."""
        found = libc().inotify_add_watch(self.fd, os.fsencode(directory), _CHANGES | _IN_ONLYDIR)
        self._directories[checked(found)] = directory

    def changed(self) -> set[Path] | None:
        """The files that have changed since the last call; None where there were too many to tell them.

        They may come as quickly as they are read: what is left for the next call keeps `fd` readable.
        """
        paths: set[Path] = set()
        lost = False
        for _ in range(_AT_ONCE):
            if not (content := self._read()):
                break
            while content:
                wd, mask, _, length = _EVENT.unpack_from(content)
                name = content[_EVENT.size : _EVENT.size + length].rstrip(b"\0")
                content = content[_EVENT.size + length :]
                lost = lost or bool(mask & _IN_Q_OVERFLOW)
                if wd in self._directories:
                    paths.add(self._directories[wd] / os.fsdecode(name))
        return None if lost else paths

    def close(self) -> None:
        os.close(self.fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self) -> bytes:
        try:
            return os.read(self.fd, _ROOM)
        except BlockingIOError:
            return b""
