"""What an error shows: the value that was found, and the nearest valid name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def nearest(found: str, valid: Iterable[str]) -> str | None:
    """The one of `valid` that is near to `found`, None where none is."""
    from difflib import get_close_matches  # only an error needs it

    return next(iter(get_close_matches(found, list(valid), n=1, cutoff=0.6)), None)


def instead(found: str, valid: Iterable[str]) -> str | None:
    """The fix of a name that is none of `valid`: to write the nearest, None where none is near."""
    near = nearest(found, valid)
    return None if near is None else f"write {near} instead"


def shown(value: Any) -> str:
    """The value as written in Python, shortened to fit a line."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
