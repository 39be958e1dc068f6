"""The nearest valid name, for an error that can be mended by retyping one word."""

from __future__ import annotations

from collections.abc import Iterable


def did_you_mean(found: str, valid: Iterable[str]) -> str:
    """`"; did you mean X?"` when one of `valid` is near to `found`, else an empty string."""
    from difflib import get_close_matches  # only an error needs it

    near = get_close_matches(found, list(valid), n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else ""
