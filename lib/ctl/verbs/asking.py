"""Asking a probe, for no longer than it may take and no longer than there is somebody to ask about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ctl.model.verdict import NO, UNKNOWN
from ctl.system.hooks import Answer
from ctl.system.host import Host
from ctl.system.pidfd import Handle
from ctl.system.probe import Probe
from ctl.system.wait import now

if TYPE_CHECKING:
    from ctl.system.listening import Listening

_SHORTEST_PAUSE = 0.005  # seconds
_LONGEST_PAUSE = 0.25
_GROWTH = 0.005  # seconds after a second of waiting, and four times as many after two
_REST = 4.0  # times as long as the last question took
_BY_THE_CLOCK = 0.05  # seconds, until it is worth the 5 ms of processor that it takes to be told what listens
_SELDOM = 15.0  # seconds between two questions then: what is behind a port of this machine may be on another
_LAST = 0.25  # seconds before the time is over, when it is asked once more


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
    def why(self) -> str:
        """The last one, and the last that told something where a deadline cut that question short."""
        if self.refusal is None or self.refusal is self._last:
            return self._last.why
        return f"{self._last.why}; before that: {self.refusal.why}"


class PortWatch:
    """When to ask a port again that nobody listens on: once something begins to listen, where the kernel tells that."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._began = now()
        self._may_be_told = not host.acts_on_many  # of many that wait, each would be woken by every other one
        self._listening: Listening | None = None

    def rest(self, answer: Answer, soon: float, deadline: float) -> tuple[list[int], float] | None:
        """What to poll until the next question, and for how many seconds; None where it is to be asked by the clock.

        What has just been told of may accept connections only a moment later: then it is asked once more, `soon`.
        However seldom it is asked else, it is once more shortly before the deadline.
        """
        left = deadline - _LAST - now()
        is_early = now() - self._began < _BY_THE_CLOCK
        if is_early or left <= 0 or not (answer.nobody_listens and self._may_be_told):
            return None
        if self._listening is None:
            self._listening = self._host.watch_listening()
            self._may_be_told = self._listening is not None
            return ([], soon) if self._may_be_told else None  # what began before that is asked about
        return ([], soon) if self._listening.heard() else ([self._listening.fd], min(_SELDOM, left))

    def close(self) -> None:
        if self._listening is not None:
            self._listening.close()


def ask(host: Host, probe: Probe, seconds: float, mains: Sequence[Handle] = ()) -> Answer:
    """The probe's answer; unknown when its time is over or the service has ended meanwhile. Raises Interrupted."""
    alive = still_there(mains)
    if mains and not alive:
        return Answer(UNKNOWN, "it has ended")
    attempt = probe(seconds)
    try:
        if not attempt.is_over:
            host.pause([attempt.fd, *alive], attempt.until)
    finally:
        answer = attempt.close()
    return answer


def still_there(mains: Sequence[Handle]) -> list[int]:
    """What to poll to notice the end of those that have not ended."""
    return [main.fd for main in mains if not main.is_gone]


def pause_after(began: float, asked: float, *, announced: bool = False) -> float:
    """Seconds until the next question, where the first was asked at `began` and the last at `asked`.

    What is quick is noticed soon, what is not is left in peace: no asking takes more than a fifth of the time, and
    hardly anything of a long one, but where something has `announced` that the answer may be another now.
    """
    waited, took = now() - began, now() - asked
    grown = 0.0 if announced else waited**2 * _GROWTH
    return min(max(_SHORTEST_PAUSE, grown, took * _REST), _LONGEST_PAUSE)
