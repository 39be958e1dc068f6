"""Which processes are worth a look for some rules, when the rules of many services are asked about at a time."""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from itertools import accumulate
from typing import Final, TypeVar

from ctl.model.match import Marker, Rules
from ctl.system import procfs
from ctl.system.procfs import Gone, ProcessLook

_FEW: Final = 16  # who are left are judged as quickly as they are looked up by one more rule
_MOST_WORDS: Final = 400_000  # that differ, 250 bytes each in memory
_BETWEEN_WORDS: Final = bytes.maketrans(b"\0:,;", b"    ")  # with the blanks of bytes.split()

T = TypeVar("T")


class Shortlist:
    """What every process says of itself, read once.

    Whoever it leaves out does not satisfy the rules; the others are still to be judged.
    """

    def __init__(self) -> None:
        self._by_word: dict[bytes, frozenset[int]] = {}
        self._reading = threading.Lock()  # so that none of what follows is read twice

    @classmethod
    def after(cls, before: Shortlist | None, _thoroughly: bool) -> Shortlist:
        """A new one, in which that is read already which the one `before` was asked for."""
        made = cls()
        for name, part in vars(cls).items() if before is not None else ():
            if isinstance(part, cached_property) and name in vars(before):
                getattr(made, name)
        return made

    def candidates(self, rules: Rules) -> list[int]:
        """The processes that may satisfy the rules: for most services none or a few of thousands."""
        with self._reading:
            return self._candidates(rules)

    def _candidates(self, rules: Rules) -> list[int]:
        left: frozenset[int] | None = None
        for found in self._found(rules):
            left = found if left is None else left & found
            if len(left) <= _FEW:
                break
        return self._pids if left is None else sorted(left)

    def _found(self, rules: Rules) -> Iterator[frozenset[int]]:
        """Who may satisfy each single rule. Only what is asked for is read."""
        if words := [word for text in rules.words for word in _words(text)]:
            yield frozenset.intersection(*map(self._mentioning, words))
        if rules.marker is not None:
            yield _who_shows([rules.marker], self._markers)
        if rules.executable is not None:
            yield _who_shows(filter(rules.executable.match, filter(None, self._executables)), self._executables)
        if rules.owner is not None:
            yield _who_shows([rules.owner], self._owners)

    def _mentioning(self, text: bytes) -> frozenset[int]:
        """Whose arguments hold it, within a word."""
        if text not in self._by_word:
            pids, starts, words, always = self._arguments
            found = set(always)
            at = words.find(text)
            while at >= 0:
                index = bisect_right(starts, at) - 1
                found.update(pids[index])
                at = words.find(text, starts[index + 1]) if index + 1 < len(starts) else -1
            self._by_word[text] = frozenset(found)
        return self._by_word[text]

    @cached_property
    def _pids(self) -> list[int]:
        return list(procfs.pids())

    @cached_property
    def _arguments(self) -> tuple[list[list[int]], list[int], bytes, list[int]]:
        """Who holds each word, where each begins in the text of all, that text; and who may hold any word.

        Thousands of processes say mostly the same, such as one class path: there are far fewer words than text.
        """
        holders: dict[bytes, list[int]] = defaultdict(list)
        always: list[int] = []
        for pid in self._pids:
            try:
                raw = procfs.read_raw_arguments(pid)
                is_blank = raw is not None and not raw.strip(b"\0") and bool(procfs.read_executable(pid))
            except Gone:
                continue
            if raw is None or is_blank or len(holders) > _MOST_WORDS:
                always.append(pid)
            else:
                for word in set(_words(raw)):
                    holders[word].append(pid)
        starts = list(accumulate((len(word) + 1 for word in holders), initial=0))[:-1]
        return list(holders.values()), starts, b" ".join(holders), always

    @cached_property
    def _markers(self) -> dict[Marker | None, list[int]]:
        return self._each(_marker)

    @cached_property
    def _executables(self) -> dict[str | None, list[int]]:
        return self._each(procfs.read_executable)

    @cached_property
    def _owners(self) -> dict[int | None, list[int]]:
        return self._each(procfs.read_owner)

    def _each(self, read: Callable[[int], T | None]) -> dict[T | None, list[int]]:
        """Who shows which value; None: of whom it could not be read."""
        shown: dict[T | None, list[int]] = defaultdict(list)
        for pid in self._pids:
            try:
                shown[read(pid)].append(pid)
            except Gone:
                continue
        return shown


def _marker(pid: int) -> Marker | None:
    """None also of one that has overwritten its environment."""
    look = ProcessLook(pid)
    return None if look.is_overwritten and look.executable else look.marker


def _words(text: bytes) -> list[bytes]:
    return text.translate(_BETWEEN_WORDS).split()


def _who_shows(values: Iterable[T], shown: Mapping[T | None, list[int]]) -> frozenset[int]:
    """Who shows one of these, and who may: of whom it could not be read."""
    return frozenset(pid for value in (*values, None) for pid in shown.get(value, ()))
