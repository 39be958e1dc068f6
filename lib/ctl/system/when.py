"""Points in time as people write them, and as they read them."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from typing import Final

_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def parse_when(text: str, now: float) -> float:
    """Seconds since the epoch of what `text` says, seen from `now`. Raises ValueError.

    10m, 2h, 3d: so long ago. 14:30: the last time that a clock here showed it. 2026-11-20: when that day began here.
    Anything else is RFC 3339; without an offset it is local time.
    """
    count, unit = text[:-1], text[-1:]
    if count.isascii() and count.isdigit() and len(count) <= 6 and unit in _UNITS:
        return now - timedelta(**{_UNITS[unit]: int(count)}).total_seconds()
    here = datetime.fromtimestamp(now).astimezone()
    if len(text) in (5, 8) and text[2] == ":":
        that_time = time.fromisoformat(text)
        today = datetime.combine(here.date(), that_time)
        found = today.astimezone()
        return (found if found <= here else (today - timedelta(days=1)).astimezone()).timestamp()
    return datetime.fromisoformat(text).astimezone().timestamp()


def instant_of(rfc3339: str) -> float:
    """Seconds since the epoch. Raises ValueError."""
    return datetime.fromisoformat(rfc3339).timestamp()


def day_and_time(rfc3339: str) -> tuple[str, str]:
    """The day and the time that a clock here showed then, to the second. Raises ValueError."""
    local = datetime.fromisoformat(rfc3339).astimezone()
    return local.strftime("%Y-%m-%d"), local.strftime("%H:%M:%S")


def today() -> str:
    """The day that it is here."""
    return date.today().isoformat()  # noqa: DTZ011 - the day of a person who reads it here
