"""A report for a person, and for the README: each group as a table, its columns aligned, and what was skipped."""

from __future__ import annotations

from collections.abc import Sequence

from bench.report import Report, Row, Unit

_HEAD = ("measured", "against", "ctl", "other", "result", "quartiles", "processor", "memory, MiB", "aim")
_TO_THE_LEFT = 2  # columns
_LEGEND = (
    "Medians of runs in pairs. x: ctl divided by the other, by the clock and (processor) in processor time; + ms: the\n"
    "difference by the clock, or where it says so in processor time; ms: how long after the instant it was due.\n"
    "lost: the peer did better. Processor and memory: of the command and what it waited for, not of a daemon that it\n"
    "asked; memory at the peak, ctl and the other; -: less than the benchmark's own."
)
_SHOWN: dict[Unit, str] = {
    "x": "{:.2f} x",
    "+ ms": "{:+.1f} ms",
    "+ ms of processor": "{:+.1f} ms of processor",
    "ms late": "{:.1f} ms",
    "/s": "{:.0f}/s",
}


def as_markdown(report: Report, command: str, host: dict[str, str]) -> str:
    lines = [f"`{command}`", "", ", ".join(f"{name} {value}" for name, value in host.items()) + ".", "", _LEGEND]
    groups = [found.group for found in report.rows] + [one.group for one in report.skipped]
    for group in dict.fromkeys(groups):
        rows = [_cells(found) for found in report.rows if found.group == group]
        skipped = [f"- not measured: {one.what}: {one.why}" for one in report.skipped if one.group == group]
        lines += ["", f"### {group}", "", *_table(rows)]
        lines += ["", *skipped] if rows and skipped else skipped
    return "\n".join(lines)


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    if not rows:
        return []
    widths = [max(map(len, column)) for column in zip(_HEAD, *rows, strict=True)]
    rule = ["-" * width if column < _TO_THE_LEFT else "-" * (width - 1) + ":" for column, width in enumerate(widths)]
    return [_aligned(line, widths) for line in (_HEAD, rule, *rows)]


def _cells(found: Row) -> tuple[str, ...]:
    value, shown = found.value, _SHOWN[found.unit].format
    measures_processor = found.cpu.median > 0
    return (
        *(words.replace("|", "\\|") for words in (found.what, found.against)),
        f"{found.own_ms:.1f} ms",
        f"{found.other_ms:.1f} ms",
        shown(value.median) + (", lost" if found.lost else ""),
        f"{shown(value.low).split(' ')[0]} to {shown(value.high)}",
        f"{found.cpu.median:.2f} x" if measures_processor else "",
        f"{_mib(found.own_mib)}, {_mib(found.other_mib)}" if measures_processor else "",
        "; ".join(_verdicts(found)),
    )


def _mib(measured: float) -> str:
    return f"{measured:.0f}" if measured else "-"


def _verdicts(found: Row) -> list[str]:
    bound = "at least" if found.unit == "/s" else "at most"
    judged = ((bound, found.aim, "", found.met), ("at most", found.aim_mib, " MiB", found.met_mib))
    return [
        f"{bound} {_number(aim)}{unit}: {'met' if met else 'MISSED'}"
        for bound, aim, unit, met in judged
        if aim is not None
    ]


def _number(aim: float) -> str:
    """As people write it: two decimals at most, and none that say nothing."""
    return f"{aim:.2f}".rstrip("0").rstrip(".")


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [
        f"{cell:<{width}}" if column < _TO_THE_LEFT else f"{cell:>{width}}"
        for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return f"| {' | '.join(padded)} |"
