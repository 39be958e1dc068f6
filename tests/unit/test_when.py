"""Points in time as an operator writes them at night."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime

import pytest

from ctl.system.when import parse_when


@pytest.fixture(autouse=True)
def _in_berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


NOW = "2026-11-21T02:00:00+01:00"


@pytest.mark.parametrize(
    ("text", "instant"),
    [("90s", "2026-11-21T01:58:30+01:00"), ("10m", "2026-11-21T01:50:00+01:00"), ("2h", "2026-11-21T00:00:00+01:00"),
     ("3d", "2026-11-18T02:00:00+01:00"), ("1w", "2026-11-14T02:00:00+01:00"),
     ("01:30", "2026-11-21T01:30:00+01:00"), ("14:30", "2026-11-20T14:30:00+01:00"),  # not what is still to come
     ("23:59:30", "2026-11-20T23:59:30+01:00"), ("2026-11-20", "2026-11-20T00:00:00+01:00"),
     ("2026-07-01", "2026-07-01T00:00:00+02:00"), ("2026-11-20T14:30:00Z", "2026-11-20T15:30:00+01:00"),
     ("2026-11-20T14:30:00.250-05:00", "2026-11-20T20:30:00.250+01:00"),
     ("2026-11-20 14:30", "2026-11-20T14:30:00+01:00")],
)  # fmt: skip
def test_what_it_means(text: str, instant: str) -> None:
    now = datetime.fromisoformat(NOW).timestamp()
    assert parse_when(text, now) == datetime.fromisoformat(instant).timestamp()


@pytest.mark.parametrize(
    "text", ["", "10", "m", "10y", "-5m", "99999999m", "25:00", "ab:cd", "yesterday", "2026-13-01"]
)
def test_what_means_nothing(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        parse_when(text, datetime.fromisoformat(NOW).timestamp())
