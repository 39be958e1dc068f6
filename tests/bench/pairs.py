"""Whole processes timed in pairs: ctl and what it is measured against run in turn, so whatever slows one slows both."""

from __future__ import annotations

import resource
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


def _nothing() -> None:
    pass


@dataclass(frozen=True)
class Command:
    """What is timed, from its start to its end. `before` makes ready for each run, and is not timed."""

    argv: Sequence[str | Path]
    exits: tuple[int, ...] = (0,)
    before: Callable[[], object] = _nothing


@dataclass(frozen=True)
class Spread:
    """The median, and the quartiles around it."""

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Took:
    """Seconds of one run: by the clock, and of processors, which a busy machine stretches less."""

    wall: float
    cpu: float


@dataclass(frozen=True)
class Pairs:
    """The runs of ctl and of the other, pair by pair."""

    own: tuple[Took, ...]
    other: tuple[Took, ...]

    def ratio(self) -> Spread:
        return spread([own.wall / other.wall for own, other in self._pairs()])

    def cpu_ratio(self) -> Spread:
        """The kernel counts in steps of its own: no run took nothing."""
        return spread([own.cpu / max(other.cpu, 0.0005) for own, other in self._pairs()])

    def difference(self) -> Spread:
        """Seconds."""
        return spread([own.wall - other.wall for own, other in self._pairs()])

    def _pairs(self) -> Iterator[tuple[Took, Took]]:
        return zip(self.own, self.other, strict=True)


class Unexpected(Exception):
    """A command did not do what was to be timed."""


def spread(values: Sequence[float]) -> Spread:
    if len(values) < 2:
        return Spread(values[0], values[0], values[0])
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(median, low, high)


def in_turn(own: Command, other: Command, count: int, environment: Mapping[str, str]) -> Pairs:
    """`count` pairs after one that is not counted. Which of the two goes first changes from pair to pair."""
    pairs: list[tuple[Took, Took]] = []
    for number in range(count + 1):
        if number % 2:
            second = run(other, environment)
            first = run(own, environment)
        else:
            first = run(own, environment)
            second = run(other, environment)
        pairs.append((first, second))
    return Pairs(tuple(pair[0] for pair in pairs[1:]), tuple(pair[1] for pair in pairs[1:]))


def run(command: Command, environment: Mapping[str, str]) -> Took:
    """Raises Unexpected where the command ends with another exit status than it should."""
    command.before()
    used_before, began = _used_by_children(), time.perf_counter()
    done = subprocess.run(
        command.argv,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        check=False,
    )
    took = Took(time.perf_counter() - began, _used_by_children() - used_before)
    if done.returncode not in command.exits:
        words = " ".join(map(str, command.argv))
        raise Unexpected(f"{words}: exit {done.returncode}\n{done.stderr.decode(errors='replace')}")
    return took


def _used_by_children() -> float:
    """Processor seconds of all that was waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
