"""A reading of the process table, shared by all who want to know who is there now and how they are related."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterable
from math import inf

import msgspec

from ctl.system import procfs
from ctl.system.procfs import Entry, Forbidden, Gone, Stat
from ctl.system.sharing import Shared
from ctl.system.table import lineage

_FORGOTTEN_AFTER = 16  # readings


class Came(msgspec.Struct, frozen=True):
    """Who was not there in an earlier reading."""

    pids: list[int]
    ended: frozenset[int | None]  # the users of who was listed, and gone when it was to be read; None: not known


class Reading:
    """Every process but kernel threads, and how it was when it was last read."""

    def __init__(self, before: Reading | None, thoroughly: bool) -> None:
        """Of whoever was there `before`, only a thorough reading has anything new to say.

        A pid may have passed to another process since: by its entry in /proc it is told who has it.
        """
        self.number: int = 1 if before is None else before.number + 1
        self.lineage = lineage()
        self.stats: dict[int, Stat] = {}
        self.owners: dict[int, int] = {}
        self.entries: dict[int, Entry] = {}
        known: dict[int, Entry] = {} if before is None else before.entries
        came: list[int] = []
        ended: set[int | None] = set()
        # Who has come first, and the youngest of them before: some are gone in no time.
        for pid in sorted(procfs.pids(), key=lambda pid: 0 if pid in known else -pid):
            entry: Entry | None = None
            try:
                entry = procfs.read_entry(pid)
                is_same = pid in known and known[pid].inode == entry.inode and known[pid].made == entry.made
                stat = before.stats.get(pid) if before and is_same and not thoroughly else _stat(pid)
            except Gone:  # one who was known before, or who has come onto its pid since
                ended.add(None if entry is None else entry.uid)
                continue
            self.entries[pid] = entry
            if stat is not None:
                self.stats[pid], self.owners[pid] = stat, entry.uid
                if not is_same:
                    came.append(pid)
        # By the number of each of the last few readings, who was not there in the one before it.
        self.newcomers: dict[int, Came] = {} if before is None else dict(before.newcomers)
        self.newcomers[self.number] = Came(came, frozenset(ended))
        self.newcomers.pop(self.number - _FORGOTTEN_AFTER, None)
        self._family: tuple[dict[int, list[int]], dict[int, list[int]]] | None = None
        self._values: dict[tuple[int, str], str | None] = {}
        # By variable: since when those that have started were asked, and who of them carries which value.
        self._carriers: dict[str, tuple[float, dict[str, list[int]]]] = {}
        self._asking = threading.Lock()

    def relatives(self, parents: Iterable[int], sessions: Iterable[int]) -> set[int]:
        """The children of `parents` and who is in these sessions."""
        with self._asking:
            children, in_session = self._family = self._family or self._related()
        return {
            *(pid for parent in parents for pid in children.get(parent, ())),
            *(pid for session in sessions for pid in in_session.get(session, ())),
        }

    def carriers(self, values: Iterable[str], variable: str, since_ticks: int) -> set[int]:
        """Who has one of these values for `variable` in its environment and started at `since_ticks` or after."""
        with self._asking:
            since, carried = self._carriers.get(variable, (inf, defaultdict(list)))
            for pid, stat in self.stats.items() if since_ticks < since else ():
                if since_ticks <= stat.start_ticks < since and (value := self.value(pid, variable)):
                    carried[value].append(pid)
            self._carriers[variable] = min(since, since_ticks), carried
            return {pid for value in values for pid in carried.get(value, ())}

    def came_since(self, number: int) -> Came:
        """Who has come since the reading of that number, and is still there as far as this one knows."""
        later = [came for at, came in self.newcomers.items() if at > number]
        forgotten = number < self.number - _FORGOTTEN_AFTER
        pids = list(self.stats) if forgotten else [pid for came in later for pid in came.pids if pid in self.stats]
        return Came(pids, frozenset({None}) if forgotten else frozenset().union(*(came.ended for came in later)))

    def _related(self) -> tuple[dict[int, list[int]], dict[int, list[int]]]:
        """Everybody by parent and by session."""
        children: dict[int, list[int]] = defaultdict(list)
        in_session: dict[int, list[int]] = defaultdict(list)
        for pid, stat in self.stats.items():
            children[stat.ppid].append(pid)
            in_session[stat.session].append(pid)
        return children, in_session

    def value(self, pid: int, variable: str) -> str | None:
        """What it carries for `variable`, read once for all who ask.

        Empty where that is nothing, or must not be read; None where it had ended before it could be read.
        """
        key = pid, variable
        if key not in self._values:
            try:
                is_zombie = self.stats[pid].state in "ZX"  # whose environment is empty, whatever it was
                value = procfs.read_variable(pid, variable, wait_for_exec=not is_zombie) or ""
                self._values[key] = None if is_zombie and not value else value
            except Gone:
                self._values[key] = None
            except Forbidden:
                self._values[key] = ""
        return self._values[key]


def _stat(pid: int) -> Stat | None:
    """None for a kernel thread, and for whom /proc hides. Raises Gone."""
    try:
        stat = procfs.read_stat(pid)
    except Forbidden:
        return None
    return None if stat.is_kernel_thread else stat


_shared = Shared(Reading)


def read_processes() -> Reading:
    """Everybody, as read after this call. The reading may be shared with other threads."""
    return _shared.get()


def read_newcomers() -> Reading:
    """Who has come, as read after this call, in the least time: of who forks and ends at once, no other look is left.

    Who was there before is listed as he was.
    """
    return _shared.get(thorough=False)
