"""What the benchmark found: one row per comparison, and as one JSON document."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypedDict, Unpack

from bench.pairs import Pairs, Spread, Took, spread

# ctl's time divided by the other's; the difference of the two, and of their processor time; ctl's own time past an
# instant; ctl's number a second.
Unit = Literal["x", "+ ms", "+ ms of processor", "ms late", "/s"]


class Terms(TypedDict, total=False):
    """How a row is judged."""

    unit: Unit  # "x" without one
    aim: float | None
    aim_mib: float | None
    peer: bool  # whether the other could be used in the place of ctl, as it can without this; else ctl cannot lose
    count: int  # of how many things a run is, for a number a second


@dataclass(frozen=True)
class Row:
    """One comparison. `aim` is the largest `value` that is wanted, of a number a second the smallest."""

    group: str
    what: str
    against: str
    unit: Unit
    value: Spread
    own_ms: float
    other_ms: float
    own_mib: float  # at its peak; 0: not measured, or less than the benchmark's own
    other_mib: float
    cpu: Spread  # ctl's processor time divided by the other's; 0: not measured
    pairs: int
    peer: bool = True
    aim: float | None = None
    aim_mib: float | None = None

    @property
    def met(self) -> bool | None:
        if self.aim is None:
            return None
        return self.value.median >= self.aim if self.unit == "/s" else self.value.median <= self.aim

    @property
    def met_mib(self) -> bool | None:
        return None if self.aim_mib is None else self.own_mib <= self.aim_mib

    @property
    def lost(self) -> bool | None:
        """Whether the peer did better, whatever was aimed at; None where the other is ctl itself, or a yardstick."""
        if not self.peer:
            return None
        worse: dict[Unit, bool] = {
            "x": self.value.median > 1,
            "+ ms": self.value.median > 0,
            "+ ms of processor": self.value.median > 0,
            "ms late": abs(self.own_ms) > abs(self.other_ms),  # too early is no better than too late
            "/s": self.own_ms > self.other_ms,
        }
        return worse[self.unit]


@dataclass(frozen=True)
class Skipped:
    """A comparison that this machine cannot make."""

    group: str
    what: str
    why: str


@dataclass(frozen=True)
class Report:
    rows: tuple[Row, ...] = ()
    skipped: tuple[Skipped, ...] = ()

    def __add__(self, other: Report) -> Report:
        return Report(self.rows + other.rows, self.skipped + other.skipped)


def row(group: str, what: str, against: str, pairs: Pairs, **terms: Unpack[Terms]) -> Row:
    unit, count = terms.get("unit", "x"), terms.get("count", 1)
    values: dict[Unit, Callable[[], Spread]] = {
        "x": pairs.ratio,
        "+ ms": lambda: _scaled(pairs.difference(), 1000),
        "+ ms of processor": lambda: _scaled(pairs.cpu_difference(), 1000),
        "ms late": lambda: _median_of(pairs.own, lambda took: took.wall * 1000),
        "/s": lambda: _median_of(pairs.own, lambda took: count / took.wall),
    }
    own_ms, other_ms = (_median_of(runs, lambda took: took.wall * 1000).median for runs in (pairs.own, pairs.other))
    own_mib, other_mib = (_median_of(runs, lambda took: took.peak).median for runs in (pairs.own, pairs.other))
    return Row(
        group,
        what,
        against,
        unit,
        value=values[unit](),
        own_ms=own_ms,
        other_ms=other_ms,
        own_mib=own_mib,
        other_mib=other_mib,
        cpu=pairs.cpu_ratio(),
        pairs=len(pairs.own),
        peer=terms.get("peer", True),
        aim=terms.get("aim"),
        aim_mib=terms.get("aim_mib"),
    )


def dump(report: Report) -> dict[str, Any]:
    return {
        "rows": [{**asdict(found), **{name: getattr(found, name) for name in _JUDGED}} for found in report.rows],
        "skipped": [asdict(skipped) for skipped in report.skipped],
    }


def load(document: dict[str, Any]) -> Report:
    """The inverse of `dump`."""
    rows = []
    for found in document["rows"]:
        fields = {name: value for name, value in found.items() if name not in _JUDGED}
        spreads = {name: Spread(**fields[name]) for name in ("value", "cpu")}
        rows.append(Row(**{**fields, **spreads}))
    return Report(tuple(rows), tuple(Skipped(**skipped) for skipped in document["skipped"]))


def as_json(report: Report, command: str, host: dict[str, str]) -> str:
    return json.dumps({"schema": 1, "command": command, "host": host, **dump(report)}, indent=2)


_JUDGED = ("met", "met_mib", "lost")


def _median_of(runs: Sequence[Took], measure: Callable[[Took], float]) -> Spread:
    return spread([measure(took) for took in runs])


def _scaled(value: Spread, factor: float) -> Spread:
    return Spread(value.median * factor, value.low * factor, value.high * factor)
