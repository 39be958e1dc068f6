"""What an error shows: the value that was found, and the nearest valid name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def did_you_mean(found: str, valid: Iterable[str]) -> str:
    """`"; did you mean X?"` when one of `valid` is near to `found`, else an empty string."""
    from difflib import get_close_matches  # only an error needs it

    near = get_close_matches(found, list(valid), n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else ""


def shown(value: Any) -> str:
    """The value as written in Python, shortened to fit a line."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
