"""The main processes that the records of a run directory name: none of them is any other target's process."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping
from typing import NamedTuple

from ctl.model.identity import Identity, same_process
from ctl.system.files.ours import Refused, Unreadable
from ctl.system.pidfd import Handle, boot_id, is_now, pid_namespace
from ctl.system.records import Records
from ctl.system.sharing import Shared

_Version = tuple[int, int, int, int]  # of a file: whatever is written anew differs
_Read = dict[str, tuple[_Version, Identity | None]]  # by target


class Named(NamedTuple):
    """A record of another target, and the process that it names."""

    target: str
    identity: Identity


class Others:
    """The recorded main processes of every target but one."""

    def __init__(self, by_pid: Mapping[int, list[Named]], target: str) -> None:
        self._by_pid = by_pid
        self._target = target

    def whose(self, handle: Handle) -> str | None:
        """The other target whose main process this is, None where it is no other's."""
        named = self._of_others(handle.pid)
        return next((its.target for its in named if same_process(its.identity, handle.identity)), None)

    def name(self, pid: int, start_ticks: int) -> bool:
        """Whether another target's record names the process that has this pid and start time."""
        return any(
            (its.identity.start_ticks, its.identity.boot_id, its.identity.pid_ns)
            == (start_ticks, boot_id(), pid_namespace())
            or is_now(its.identity)
            for its in self._of_others(pid)
        )

    def _of_others(self, pid: int) -> list[Named]:
        return [named for named in self._by_pid.get(pid, ()) if named.target != self._target]


class Recorded:
    """What all records say, read anew where they have changed."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._look = Shared(self._read)

    def besides(self, target: str) -> Others:
        """The main processes of all other targets, as recorded after this call began."""
        by_pid: dict[int, list[Named]] = defaultdict(list)
        for name, (_, identity) in self._look.get().items():
            if identity is not None:
                by_pid[identity.pid].append(Named(name, identity))
        return Others(by_pid, target)

    def _read(self, before: _Read | None, _thoroughly: bool) -> _Read:
        known, found = before or {}, _Read()
        try:
            entries = os.scandir(self._records.run_dir)
        except FileNotFoundError:
            return found
        with entries:
            for entry in entries:
                target, dot, kind = entry.name.rpartition(".")
                if not (target and dot and kind == "json") or target.startswith("."):
                    continue
                try:
                    file = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                version = file.st_ino, file.st_mtime_ns, file.st_ctime_ns, file.st_size
                if target not in known or known[target][0] != version:
                    found[target] = version, self._identity(target)
                else:
                    found[target] = known[target]
        return found

    def _identity(self, target: str) -> Identity | None:
        """None where the record says nothing that may be believed."""
        try:
            record = self._records.read(target)
        except (Refused, Unreadable):
            return None
        return None if record is None else record.identity
