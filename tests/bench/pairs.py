"""Whole processes timed in pairs: ctl and what it is measured against run in turn, so whatever slows one slows both."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, TypeVar

T = TypeVar("T")
_METER = (sys.executable, "-I", "-S", Path(__file__).with_name("meter.py"))
_METERED = 5  # figures
_LONGEST = 300  # characters of a command in a message


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
    """One run: seconds by the clock, seconds of processors, which a busy machine stretches less, and MiB at its peak.

    Processors and peak are of the command and what it waited for, not of a daemon that it asked; 0: not measured.
    """

    wall: float
    cpu: float = 0.0
    peak: float = 0.0
    ended: float = 0.0  # the instant, of CLOCK_MONOTONIC


Run = Callable[[], Took]


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

    def cpu_difference(self) -> Spread:
        """Seconds of processors."""
        return spread([own.cpu - other.cpu for own, other in self._pairs()])

    def _pairs(self) -> Iterator[tuple[Took, Took]]:
        return zip(self.own, self.other, strict=True)


class Unexpected(Exception):
    """A command did not do what was to be timed."""


def spread(values: Sequence[float]) -> Spread:
    if len(values) < 2:
        return Spread(values[0], values[0], values[0])
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(median, low, high)


def in_turn(own: Run, other: Run, count: int) -> Pairs:
    """`count` pairs after one that is not counted."""
    counted = alternately(own, other, count + 1)[1:]
    return Pairs(tuple(pair[0] for pair in counted), tuple(pair[1] for pair in counted))


def alternately(own: Callable[[], T], other: Callable[[], T], count: int) -> list[tuple[T, T]]:
    """What the two give, `count` times. Which of them goes first changes from pair to pair."""
    pairs: list[tuple[T, T]] = []
    for number in range(count):
        if number % 2:
            second = other()
            first = own()
        else:
            first = own()
            second = other()
        pairs.append((first, second))
    return pairs


class Running:
    """A command that has been started; `end` waits for it."""

    def __init__(self, command: Command, environment: Mapping[str, str]) -> None:
        command.before()
        self._command = command
        # Not a pipe: whatever daemon the command leaves behind would hold it open.
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - `end` closes them
        self._meter = _metered(command.argv)
        self._child = subprocess.Popen(
            [*_METER, self._meter.name],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._errors,
        )

    def end(self) -> Took:
        """Raises Unexpected where the command ends with another exit status than it should."""
        with self._errors, self._meter:
            self._child.wait()
            self._meter.seek(0)
            metered = self._meter.read().split()
            self._errors.seek(0)
            said = self._errors.read().decode(errors="replace")
            if len(metered) != _METERED:
                raise Unexpected(f"{_shown(self._command.argv)}\n{said}")
            began, ended, cpu = map(float, metered[:3])
            peak, code = map(int, metered[3:])
            if code not in self._command.exits:
                raise Unexpected(f"{_shown(self._command.argv)}: exit {code}\n{said}")
        return Took(ended - began, cpu, peak / 1024 if peak > _least_peak() else 0, ended)


def run(command: Command, environment: Mapping[str, str]) -> Took:
    """Raises Unexpected where the command ends with another exit status than it should."""
    return Running(command, environment).end()


@cache
def _least_peak() -> int:
    """KiB of the meter itself: less than that it cannot tell."""
    with _metered(["/bin/true"]) as file:
        subprocess.run([*_METER, file.name], check=True)
        file.seek(0)
        return int(file.read().split()[3])


def _metered(argv: Sequence[str | Path]) -> IO[bytes]:
    """What the meter is given: the command, in the place of which it writes what that took."""
    file = tempfile.NamedTemporaryFile()  # noqa: SIM115 - who calls closes it
    file.write(b"\0".join(map(os.fsencode, argv)))
    file.flush()
    return file


def _shown(argv: Sequence[str | Path]) -> str:
    """A thousand names are not worth a line each in a message."""
    words = " ".join(map(str, argv))
    return words if len(words) <= _LONGEST else f"{words[:_LONGEST]}..."
