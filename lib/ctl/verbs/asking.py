"""Asking a probe, for no longer than it may take and no longer than there is somebody to ask about."""

from __future__ import annotations

from collections.abc import Sequence

from ctl.model.answer import Answer
from ctl.model.verdict import NO, UNKNOWN
from ctl.system.host import Host
from ctl.system.pidfd import Handle
from ctl.system.probe import Probe
from ctl.system.wait import now

_SHORTEST_PAUSE = 0.005  # seconds
_LONGEST_PAUSE = 0.1
_GROWTH = 0.005  # seconds after a second of waiting, and four times as many after two
_REST = 4.0  # times as long as the last question took
_LONGEST_REST = 0.25  # seconds


class Answers:
    """What a probe has answered so far, none of it a yes."""

    def __init__(self) -> None:
        self.refusal: Answer | None = None  # the last no
        self._last = Answer(UNKNOWN, "there was no time to ask")

    def add(self, answer: Answer) -> None:
        self._last = answer
        if answer.verdict == NO:
            self.refusal = answer

    @property
    def text(self) -> str:
        """The last one, and the last that told something where a deadline cut that question short."""
        return self._last.text + self._before

    def why_of(self, asked: str) -> str:
        """`text` for whoever knows that it is `asked`."""
        return (self._last.why if self._last.asked == asked else self._last.text) + self._before

    @property
    def _before(self) -> str:
        return "" if self.refusal in (None, self._last) else f"; before that: {self.refusal.text}"


def ask(host: Host, probe: Probe, seconds: float, mains: Sequence[Handle] = ()) -> Answer:
    """The probe's answer; unknown when its time is over or the service has ended meanwhile. Raises Interrupted."""
    alive = still_there(mains)
    if mains and not alive:
        return Answer(UNKNOWN, "it has ended")
    attempt = probe(seconds)
    try:
        host.pause([attempt.fd, *alive], attempt.until)
    finally:
        answer = attempt.close()
    return answer


def still_there(mains: Sequence[Handle]) -> list[int]:
    """What to poll to notice the end of those that have not ended."""
    return [main.fd for main in mains if not main.is_gone]


def pause_after(began: float, asked: float) -> float:
    """Seconds until the next question, where the first was asked at `began` and the last at `asked`.

    It grows from 5 ms to 100 ms, so that a quick start is noticed at once and a slow one costs little. Asking takes at
    most a fifth of the time.
    """
    waited, took = now() - began, now() - asked
    grown = min(waited**2 * _GROWTH, _LONGEST_PAUSE)
    return min(max(_SHORTEST_PAUSE, grown, took * _REST), _LONGEST_REST)
