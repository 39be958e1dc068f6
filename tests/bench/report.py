"""What the benchmark found: one row per comparison, as a table or as one JSON document."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from bench.pairs import Pairs, Spread, spread

Unit = Literal["x", "ms"]  # ctl's time divided by the other's, or the difference of the two


@dataclass(frozen=True)
class Row:
    """One comparison. `aim` is the largest `value` that is wanted."""

    group: str
    what: str
    against: str
    unit: Unit
    value: Spread
    own_ms: float
    other_ms: float
    cpu: Spread  # ctl's processor time divided by the other's
    pairs: int
    aim: float | None = None

    @property
    def met(self) -> bool | None:
        return None if self.aim is None else self.value.median <= self.aim


@dataclass(frozen=True)
class Skipped:
    """A comparison that this machine cannot make."""

    group: str
    what: str
    why: str


@dataclass(frozen=True)
class Report:
    rows: tuple[Row, ...]
    skipped: tuple[Skipped, ...]

    def __add__(self, other: Report) -> Report:
        return Report(self.rows + other.rows, self.skipped + other.skipped)


def row(group: str, what: str, against: str, pairs: Pairs, *, unit: Unit = "x", aim: float | None = None) -> Row:
    value = pairs.ratio() if unit == "x" else _milliseconds(pairs.difference())
    own, other = (spread([took.wall for took in runs]).median * 1000 for runs in (pairs.own, pairs.other))
    return Row(group, what, against, unit, value, own, other, pairs.cpu_ratio(), len(pairs.own), aim)


def dump(report: Report) -> dict[str, Any]:
    return {
        "rows": [{**asdict(found), "met": found.met} for found in report.rows],
        "skipped": [asdict(skipped) for skipped in report.skipped],
    }


def load(document: dict[str, Any]) -> Report:
    """The inverse of `dump`."""
    rows = []
    for found in document["rows"]:
        fields = {name: value for name, value in found.items() if name != "met"}
        spreads = {name: Spread(**fields[name]) for name in ("value", "cpu")}
        rows.append(Row(**{**fields, **spreads}))
    return Report(tuple(rows), tuple(Skipped(**skipped) for skipped in document["skipped"]))


def as_json(report: Report, host: dict[str, str]) -> str:
    return json.dumps({"schema": 1, "host": host, **dump(report)}, indent=2)


def as_table(report: Report, host: dict[str, str]) -> str:
    """For a person: each group with its rows, the figures aligned, and what was skipped."""
    lines = ["  ".join(f"{name}: {value}" for name, value in host.items())]
    cells = [(found.group, _cells(found)) for found in report.rows]
    widths = [max(map(len, column)) for column in zip(_HEAD, *(line for _, line in cells), strict=True)]
    groups = [found.group for found in report.rows] + [one.group for one in report.skipped]
    for group in dict.fromkeys(groups):
        lines += ["", group, _aligned(_HEAD, widths)]
        lines += [_aligned(line, widths) for its_group, line in cells if its_group == group]
        lines += [f"  skipped: {one.what}: {one.why}" for one in report.skipped if one.group == group]
    return "\n".join([*lines, "", _LEGEND])


_HEAD = ("measured", "against", "ctl", "other", "result", "", "cpu", "aim", "")
_LEGEND = (
    "Medians of paired runs, quartiles in brackets. x: ctl divided by the other, by the clock and (cpu) in processor\n"
    "time; ms: the difference by the clock, which a busy machine (see load) makes worthless first."
)
_TO_THE_LEFT = (0, 1, 5, 7, 8)


def _cells(found: Row) -> tuple[str, ...]:
    value, unit = found.value, found.unit
    aim = "" if found.aim is None else f"<= {found.aim:g} {unit}"
    return (
        found.what,
        found.against,
        f"{found.own_ms:.1f} ms",
        f"{found.other_ms:.1f} ms",
        f"{_figure(value.median, unit)} {unit}",
        f"[{_figure(value.low, unit)} {_figure(value.high, unit)}]",
        f"{found.cpu.median:.2f} x",
        aim,
        {True: "met", False: "MISSED", None: ""}[found.met],
    )


def _figure(value: float, unit: Unit) -> str:
    return f"{value:.2f}" if unit == "x" else f"{value:.1f}"


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [
        f"{cell:<{width}}" if column in _TO_THE_LEFT else f"{cell:>{width}}"
        for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return ("  " + "  ".join(padded)).rstrip()


def _milliseconds(value: Spread) -> Spread:
    return Spread(value.median * 1000, value.low * 1000, value.high * 1000)
