"""How much this run of the tests tries, and how long it waits: `bin/test --soak` and `bin/test --kernel` set both.

Read as this is imported: the tests clear their environment of ctl's variables.
"""

from __future__ import annotations

import os
import time
from typing import TypeVar

T = TypeVar("T")
_SOAK, _TIME_FACTOR = "CTL_TEST_SOAK", "CTL_TEST_TIME_FACTOR"
SOAK = float(os.environ.get(_SOAK) or 0)  # 0: the short run; 1: the long one; 12: twelve times as long
TIME_FACTOR = float(os.environ.get(_TIME_FACTOR) or 1)  # of every bound of the tests' own, on a slow host


def choose(short: T, long: T) -> T:
    """What a test marked `soak` tries: `short` in every run of the suite, `long` with --soak."""
    return long if SOAK else short


def deadline(timeout: float) -> float:
    """The monotonic time at which a test gives up that may wait `timeout` seconds on a quick host."""
    return time.monotonic() + timeout * TIME_FACTOR


def environment() -> dict[str, str]:
    """For a process of the tests that is to go at the same pace."""
    return {_SOAK: f"{SOAK:g}", _TIME_FACTOR: f"{TIME_FACTOR:g}"}
