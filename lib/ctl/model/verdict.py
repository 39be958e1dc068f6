"""Yes, no or unknown: what a rule, a claim or a scan of the process table can say."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal

Verdict = Literal["yes", "no", "unknown"]
YES: Final = "yes"
NO: Final = "no"
UNKNOWN: Final = "unknown"


def all_of(verdicts: Iterable[Verdict]) -> Verdict:
    """No if any says no; else unknown if any is unknown; else yes. Stops at the first no."""
    result: Verdict = YES
    for verdict in verdicts:
        if verdict == NO:
            return NO
        if verdict == UNKNOWN:
            result = UNKNOWN
    return result


def verdict_of(holds: bool | None) -> Verdict:
    """None stands for what could not be read."""
    return UNKNOWN if holds is None else YES if holds else NO
