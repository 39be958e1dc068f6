"""A reading of the process table, shared by all who want to know who is there now and how they are related."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterable
from math import inf

from ctl.system import procfs
from ctl.system.procfs import Forbidden, Gone, Stat
from ctl.system.sharing import Shared
from ctl.system.table import lineage

_FORGOTTEN_AFTER = 16  # readings


class _Came:
    """Who was not there in the reading before."""

    def __init__(self) -> None:
        self.pids: list[int] = []
        self.and_ended = False  # whether anybody was listed, and gone when he was to be read


class Reading:
    """Every process but kernel threads, as /proc showed it from the beginning of the reading on."""

    def __init__(self, before: Reading | None) -> None:
        self.number: int = 1 if before is None else before.number + 1
        self.lineage = lineage()
        self.stats: dict[int, Stat] = {}
        known = {} if before is None else before.stats
        came = _Came()
        for pid in procfs.pids():
            try:
                stat = procfs.read_stat(pid)
            except Gone:
                came.and_ended = came.and_ended or pid not in known
                continue
            except Forbidden:
                continue
            if not stat.is_kernel_thread:
                self.stats[pid] = stat
                if pid not in known or known[pid].start_ticks != stat.start_ticks:
                    came.pids.append(pid)
        # By the number of each of the last few readings, who was not there in the one before it.
        self.newcomers: dict[int, _Came] = {} if before is None else dict(before.newcomers)
        self.newcomers[self.number] = came
        self.newcomers.pop(self.number - _FORGOTTEN_AFTER, None)
        self._children: dict[int, list[int]] = defaultdict(list)
        self._in_session: dict[int, list[int]] = defaultdict(list)
        for pid, stat in self.stats.items():
            self._children[stat.ppid].append(pid)
            self._in_session[stat.session].append(pid)
        self._values: dict[tuple[int, str], str] = {}
        # By variable: since when those that have started were asked, and who of them carries which value.
        self._carriers: dict[str, tuple[float, dict[str, list[int]]]] = {}
        self._carrying = threading.Lock()

    def relatives(self, parents: Iterable[int], sessions: Iterable[int]) -> set[int]:
        """The children of `parents` and who is in these sessions."""
        found: set[int] = set()
        for parent in parents:
            found.update(self._children.get(parent, ()))
        for session in sessions:
            found.update(self._in_session.get(session, ()))
        return found

    def carriers(self, values: Iterable[str], variable: str, since_ticks: int) -> set[int]:
        """Who has one of these values for `variable` in its environment and started at `since_ticks` or after."""
        with self._carrying:
            since, carried = self._carriers.get(variable, (inf, defaultdict(list)))
            for pid, stat in self.stats.items() if since_ticks < since else ():
                if since_ticks <= stat.start_ticks < since and (value := self._value(pid, variable)):
                    carried[value].append(pid)
            self._carriers[variable] = min(since, since_ticks), carried
            return {pid for value in values for pid in carried.get(value, ())}

    def has_strangers_since(self, number: int, variable: str, since_ticks: int) -> bool:
        """Whether anybody has come since the reading of that number who carries no `variable`, and so may be anyone's.

        Who carries one is known by it, and what he starts will be. Who had ended before he could be read may be anyone.
        """
        if number < self.number - _FORGOTTEN_AFTER + 1:
            return True
        later = [self.newcomers[later] for later in range(number + 1, self.number + 1)]
        return any(came.and_ended for came in later) or any(
            pid in self.stats and self.stats[pid].start_ticks >= since_ticks and not self._value(pid, variable)
            for came in later
            for pid in came.pids
        )

    def _value(self, pid: int, variable: str) -> str:
        """What it carries for `variable`, read once for all who ask; empty where that is nothing, or cannot be told."""
        key = pid, variable
        if key not in self._values:
            try:
                waits = self.stats[pid].state not in "ZX"
                self._values[key] = procfs.read_variable(pid, variable, wait_for_exec=waits) or ""
            except (Gone, Forbidden):
                self._values[key] = ""
        return self._values[key]


_shared = Shared(Reading)


def read_processes() -> Reading:
    """A reading that begins after this call, which it may share with other threads."""
    return _shared.get()
