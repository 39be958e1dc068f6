"""Asking a probe, for no longer than it may take and no longer than there is somebody to ask about."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ctl.model.verdict import UNKNOWN
from ctl.system.hooks import Answer
from ctl.system.host import Host
from ctl.system.pidfd import Handle
from ctl.system.probe import Attempt, Probe
from ctl.system.wait import now

_FIRST_PAUSE = 0.02  # seconds, doubled up to
_LONGEST_PAUSE = 0.25


def ask(host: Host, probe: Probe, seconds: float, mains: Sequence[Handle] = ()) -> Answer:
    """The probe's answer; unknown when its time is over or the service has ended meanwhile. Raises Interrupted."""
    alive = still_there(mains)
    if mains and not alive:
        return Answer(UNKNOWN, "it has ended")
    attempt = Attempt(probe, seconds)
    try:
        host.pause([attempt.fd, *alive], now() + seconds)
    finally:
        attempt.close()
    return attempt.answer


def still_there(mains: Sequence[Handle]) -> list[int]:
    """What to poll to notice the end of those that have not ended."""
    return [main.fd for main in mains if not main.is_gone]


def pauses() -> Iterator[float]:
    """Seconds between one question and the next: what is quick is noticed soon, and what is not is left in peace."""
    pause = _FIRST_PAUSE
    while True:
        yield pause
        pause = min(pause * 2, _LONGEST_PAUSE)
