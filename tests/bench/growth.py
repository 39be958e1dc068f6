"""Whether a search takes in proportion to what it searches: the same row among more and more processes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise

from bench.pairs import spread
from bench.report import Report, Row

GROUP = "cold discovery, as processes get more"


def growth(found: Mapping[int, Report], what: str) -> Report:
    """ctl's time for each process, beside that among fewer of them: about 1 where it grows linearly, and less where
    what ctl needs to start still shows.
    """
    rows = {size: row for size, report in sorted(found.items()) for row in report.rows if row.what == what}
    return Report(tuple(_beside(what, *fewer, *more) for fewer, more in pairwise(rows.items())))


def _beside(what: str, few: int, before: Row, many: int, after: Row) -> Row:
    return replace(
        after,
        group=GROUP,
        what=f"{what}, for each of {many} processes",
        against=f"for each of {few}",
        unit="x",
        value=spread([(after.own_ms / many) / (before.own_ms / few)]),
        other_ms=before.own_ms,
        other_mib=before.own_mib,
        cpu=spread([0.0]),  # of two runs that are no pair
        peer=False,
        aim=None,
    )
