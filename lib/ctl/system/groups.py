"""The control group that ctl had made for a run, cgroups(7): whoever is in it is of that run."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

import msgspec

from ctl.model.record import Record
from ctl.system import procfs
from ctl.system.procfs import Gone

SLICE: Final = "system.slice"
# Where cgroup v2 is mounted, beside v1, or what systemd itself keeps in v1.
_MOUNTED: Final = ("/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd")


class Group(msgspec.Struct, frozen=True):
    """A scope by its name and the inode of its directory: another one of that name has another inode."""

    scope: str
    inode: int

    def holds(self, pid: int) -> bool:
        """Whether the process is in it or below it. That it is not proves nothing: root moves what it likes."""
        try:
            paths = procfs.read_cgroups(pid)
        except Gone:
            return False
        # The whole path: whoever has a part of the tree to itself may give a directory there any name.
        is_named = bool(paths) and f"{paths[0]}/".startswith(f"/{SLICE}/{self.scope}/")
        return is_named and self._directory() is not None

    def pids(self) -> set[int]:
        """Who is in it or below it, zombies too."""
        found: set[int] = set()
        directory = self._directory()
        for place, _, _ in os.walk(directory) if directory is not None else ():
            # What ends meanwhile leaves no directory, and a threaded group lists no processes: those are above it.
            with suppress(OSError), open(f"{place}/cgroup.procs", "rb") as file:
                found |= {int(line) for line in file}
        return found

    def _directory(self) -> str | None:
        return next((path for path in _directories(self.scope) if _inode(path) == self.inode), None)


def group_of(scope: str) -> Group | None:
    """The group of this scope as it is now."""
    inodes = (_inode(path) for path in _directories(scope))
    return next((Group(scope, inode) for inode in inodes if inode is not None), None)


def groups_of(runs: Iterable[Record]) -> tuple[Group, ...]:
    """Those that were made for these runs."""
    return tuple(
        Group(run.scope, run.scope_inode) for run in runs if run.scope is not None and run.scope_inode is not None
    )


def _directories(scope: str) -> list[str]:
    return [f"{root}/{SLICE}/{scope}" for root in _MOUNTED]


def _inode(path: str) -> int | None:
    try:
        return os.stat(path).st_ino
    except OSError:
        return None
