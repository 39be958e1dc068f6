"""What several services do, as a table that fits the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rich.cells import cell_len

from ctl.model.outcome import Status
from ctl.model.printable import printable
from ctl.shell import paint
from ctl.shell.paint import cut
from ctl.shell.render import duration, said_of

_GAP = "  "
_NARROWEST = 10  # cells, of a description; with less room there is none


class Column(NamedTuple):
    """A heading, and the cells below it."""

    name: str
    cells: list[str]

    @property
    def width(self) -> int:
        return max(map(cell_len, (self.name, *self.cells)))


def table(statuses: Sequence[Status], width: int, *, coloured: bool) -> list[str]:
    """A line for each, below a heading; none is wider than `width` cells."""
    columns = _fitted(_columns(statuses), width)
    widths = [column.width for column in columns]
    lines = []
    for index, row in enumerate(zip(*((column.name, *column.cells) for column in columns), strict=True)):
        padded = [cell + " " * (size - cell_len(cell)) for cell, size in zip(row, widths, strict=True)]
        padded[-1] = row[-1]
        if coloured and index:
            padded[1] = paint.state(padded[1], statuses[index - 1].state)
        line = _GAP.join(padded).rstrip()
        lines.append(paint.painted(line, "bold") if coloured and not index else line)
    return lines


def _columns(statuses: Sequence[Status]) -> list[Column]:
    def column(name: str, cells: list[str]) -> Column:
        return Column(name, [printable(cell).replace("\t", " ") for cell in cells])

    return [
        column("TARGET", [status.target for status in statuses]),
        column("STATE", [status.state for status in statuses]),
        column("PID", [_text(status.pid) for status in statuses]),
        column("UPTIME", ["" if status.uptime_s is None else duration(status.uptime_s) for status in statuses]),
        column("READY", [{True: "yes", False: "no", None: ""}[status.ready] for status in statuses]),
        column("MEMORY", [_mebibytes(status.rss_bytes) for status in statuses]),
        column("DESCRIPTION", [_description(status) for status in statuses]),
    ]


def _fitted(columns: list[Column], width: int) -> list[Column]:
    """The columns for which there is room: the description gets what is left, the others go from the right.

    Target and state are always there; a long target is cut.
    """
    target, state, *facts, description = columns
    room = min(max(width // 3, 20), width - len(_GAP) - state.width)
    kept = [_cut(target, max(room, 1)), state, *(fact for fact in facts if any(fact.cells))]
    while len(kept) > 2 and _taken(kept) > width:
        kept.pop()
    left = width - _taken(kept) - len(_GAP)
    if left >= _NARROWEST and any(description.cells):
        kept.append(_cut(description, left))
    return kept


def _cut(column: Column, width: int) -> Column:
    return Column(cut(column.name, width), [cut(cell, width) for cell in column.cells])


def _taken(columns: list[Column]) -> int:
    return sum(column.width for column in columns) + len(_GAP) * (len(columns) - 1)


def _text(number: int | None) -> str:
    return "" if number is None else str(number)


def _mebibytes(size: int | None) -> str:
    return "" if size is None else f"{size / 2**20:.1f} MiB"


def _description(status: Status) -> str:
    """Why its state is unknown says more than what it is for."""
    return said_of(status) or status.description
