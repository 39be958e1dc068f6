"""What services do, on a terminal: in colours, and no wider than it is."""

from __future__ import annotations

from collections.abc import Sequence

from ctl.model.outcome import Status
from ctl.shell import paint
from ctl.shell.render import status_block
from ctl.system.terminal import has_colours, size


def lines_of(statuses: Sequence[Status], *, one_line_each: bool) -> list[str]:
    """A table, or a block for each."""
    coloured = has_colours(1)
    if not one_line_each:
        return [line for status in statuses for line in _block(status, coloured=coloured)]
    from ctl.shell.status_table import table

    return table(statuses, size(1)[0], coloured=coloured)


def _block(status: Status, *, coloured: bool) -> list[str]:
    if not coloured:
        return status_block(status)
    return status_block(status, paint.painted(status.target, "bold"), paint.state(status.state, status.state))
