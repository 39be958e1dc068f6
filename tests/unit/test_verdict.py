"""Yes, no, unknown: how they add up."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ctl.model.verdict import NO, UNKNOWN, YES, Verdict, all_of, verdict_of


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ((), YES),
        ((YES,), YES),
        ((NO,), NO),
        ((UNKNOWN,), UNKNOWN),
        ((YES, YES), YES),
        ((YES, UNKNOWN), UNKNOWN),
        ((UNKNOWN, YES), UNKNOWN),
        ((UNKNOWN, NO), NO),
        ((NO, UNKNOWN), NO),
        ((YES, NO), NO),
        ((YES, UNKNOWN, YES, NO), NO),
    ],
)
def test_all_of(verdicts: tuple[Verdict, ...], expected: Verdict) -> None:
    assert all_of(verdicts) == expected


def test_the_first_no_ends_it() -> None:
    def asked() -> Iterator[Verdict]:
        yield UNKNOWN
        yield NO
        raise AssertionError("asked on after a no")

    assert all_of(asked()) == NO


@pytest.mark.parametrize(("holds", "expected"), [(True, YES), (False, NO), (None, UNKNOWN)])
def test_verdict_of(holds: bool | None, expected: Verdict) -> None:
    assert verdict_of(holds) == expected
