"""Which processes are worth a look for some rules, when the rules of many services are asked about at a time."""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import defaultdict
from functools import cached_property
from itertools import accumulate

from ctl.model.match import Marker, Rules
from ctl.system import procfs
from ctl.system.procfs import Gone

_BETWEEN = b"\0"  # no rule's literal holds it


class Shortlist:
    """What every process says of itself, read once.

    Whoever it leaves out does not satisfy the rules; the others are still to be judged.
    """

    def __init__(self, _before: Shortlist | None = None, _thoroughly: bool = True) -> None:
        self._pids = list(procfs.pids())
        self._reading = threading.Lock()  # so that none of what follows is read twice

    def candidates(self, rules: Rules) -> list[int]:
        """The processes that may satisfy the rules: for most services none or a few of thousands."""
        with self._reading:
            return self._candidates(rules)

    def _candidates(self, rules: Rules) -> list[int]:
        if rules.words:
            return sorted(self._mentioning(rules.words))
        if rules.marker is not None:
            return sorted({*self._markers.get(rules.marker, ()), *self._markers.get(None, ())})
        return self._pids

    def _mentioning(self, literal: bytes) -> set[int]:
        pids, starts, text, unreadable = self._command_lines
        found = set(unreadable)
        at = text.find(literal)
        while at >= 0:
            index = bisect_right(starts, at) - 1
            found.add(pids[index])
            if index + 1 == len(starts):
                break
            at = text.find(literal, starts[index + 1])
        return found

    @cached_property
    def _command_lines(self) -> tuple[list[int], list[int], bytes, list[int]]:
        """The pids, where the arguments of each begin in the text of all, that text, and whose could not be read."""
        said: dict[int, bytes] = {}
        unreadable: list[int] = []
        for pid in self._pids:
            try:
                raw = procfs.read_raw_arguments(pid)
            except Gone:
                continue
            if raw is None:
                unreadable.append(pid)
            else:
                said[pid] = raw
        starts = list(accumulate((len(raw) + len(_BETWEEN) for raw in said.values()), initial=0))[: len(said)]
        return list(said), starts, _BETWEEN.join(said.values()), unreadable

    @cached_property
    def _markers(self) -> dict[Marker | None, list[int]]:
        """Who carries which marker; None: whose environment could not be read."""
        carried: dict[Marker | None, list[int]] = defaultdict(list)
        for pid in self._pids:
            try:
                carried[procfs.read_marker(pid)].append(pid)
            except Gone:
                continue
        return carried
