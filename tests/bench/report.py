"""What the benchmark found: one row per comparison, as Markdown tables or as one JSON document."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from bench.pairs import Pairs, Spread, Took, spread

# ctl's time divided by the other's; the difference of the two, and of their processor time; ctl's own time past an
# instant; ctl's number a second.
Unit = Literal["x", "+ ms", "+ ms of processor", "ms late", "/s"]


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
    own_mib: float  # at its peak; 0: not measured
    other_mib: float
    cpu: Spread  # ctl's processor time divided by the other's; 0: not measured
    pairs: int
    aim: float | None = None

    @property
    def met(self) -> bool | None:
        if self.aim is None:
            return None
        return self.value.median >= self.aim if self.unit == "/s" else self.value.median <= self.aim


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


def row(
    group: str, what: str, against: str, pairs: Pairs, *, unit: Unit = "x", aim: float | None = None, count: int = 1
) -> Row:
    """`count`: of how many things a run is, for a number a second."""
    values: dict[Unit, Callable[[], Spread]] = {
        "x": pairs.ratio,
        "+ ms": lambda: _scaled(pairs.difference(), 1000),
        "+ ms of processor": lambda: _scaled(pairs.cpu_difference(), 1000),
        "ms late": lambda: _median_of(pairs.own, lambda took: took.wall * 1000),
        "/s": lambda: _median_of(pairs.own, lambda took: count / took.wall),
    }
    own, other = (_median_of(runs, lambda took: took.wall * 1000).median for runs in (pairs.own, pairs.other))
    own_mib, other_mib = (_median_of(runs, lambda took: took.peak).median for runs in (pairs.own, pairs.other))
    return Row(
        group,
        what,
        against,
        unit,
        values[unit](),
        own,
        other,
        own_mib,
        other_mib,
        pairs.cpu_ratio(),
        len(pairs.own),
        aim,
    )


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


def as_markdown(report: Report, host: dict[str, str]) -> str:
    """For a person and for the README: each group as a table, its columns aligned, and what was skipped."""
    lines = [", ".join(f"{name} {value}" for name, value in host.items()) + ".", _LEGEND]
    groups = [found.group for found in report.rows] + [one.group for one in report.skipped]
    for group in dict.fromkeys(groups):
        cells: list[Sequence[str]] = [_HEAD, *(_cells(found) for found in report.rows if found.group == group)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        rule = [
            ("-" * width if column < _TO_THE_LEFT else "-" * (width - 1) + ":") for column, width in enumerate(widths)
        ]
        lines += ["", f"### {group}", ""]
        if len(cells) > 1:
            lines += [
                _aligned(cells[0], widths),
                _aligned(rule, widths),
                *(_aligned(line, widths) for line in cells[1:]),
            ]
        skipped = [f"- not measured: {one.what}: {one.why}" for one in report.skipped if one.group == group]
        lines += ["", *skipped] if skipped and len(cells) > 2 else skipped
    return "\n".join(lines)


_HEAD = ("measured", "against", "ctl", "other", "result", "quartiles", "processor", "memory, MiB", "aim")
_TO_THE_LEFT = 2  # columns
_LEGEND = (
    "Medians of runs in pairs. x: ctl divided by the other, by the clock and (processor) in processor time; + ms: the\n"
    "difference by the clock; ms late: how long after the instant it was due. Memory: at the\n"
    "peak, ctl and the other; -: less than the benchmark's own."
)
_SHOWN = {
    "x": "{:.2f} x",
    "+ ms": "{:+.1f} ms",
    "+ ms of processor": "{:+.1f} ms",
    "ms late": "{:.1f} ms",
    "/s": "{:.0f}/s",
}


def _cells(found: Row) -> tuple[str, ...]:
    value, shown = found.value, _SHOWN[found.unit].format
    measures_processor = found.cpu.median > 0
    return (
        found.what,
        found.against,
        f"{found.own_ms:.1f} ms",
        f"{found.other_ms:.1f} ms",
        shown(value.median) + (", lost" if found.unit == "x" and value.median > 1 and found.aim is None else ""),
        f"{shown(value.low).split(' ')[0]} to {shown(value.high)}",
        f"{found.cpu.median:.2f} x" if measures_processor else "",
        ", ".join(f"{mib:.0f}" if mib else "-" for mib in (found.own_mib, found.other_mib))
        if measures_processor
        else "",
        _verdict(found),
    )


def _mib(measured: float) -> str:
    return f"{measured:.0f}" if measured else "-"


def _verdict(found: Row) -> str:
    if found.aim is None:
        return ""
    bound = "at least" if found.unit == "/s" else "at most"
    return f"{bound} {found.aim:g}: {'met' if found.met else 'MISSED'}"


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [
        f"{cell:<{width}}" if column < _TO_THE_LEFT else f"{cell:>{width}}"
        for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return f"| {' | '.join(padded)} |"


def _median_of(runs: Sequence[Took], measure: Callable[[Took], float]) -> Spread:
    return spread([measure(took) for took in runs])


def _scaled(value: Spread, factor: float) -> Spread:
    return Spread(value.median * factor, value.low * factor, value.high * factor)
