"""Other supervisors: in whose care a service's main process is, and whether they undo what ctl does to it."""

from __future__ import annotations

from collections.abc import Sequence

from ctl.model.outcome import Result
from ctl.model.supervisor import Means, Supervisor
from ctl.system.pidfd import Handle
from ctl.system.supervisor import care_of, supervisor_of


class Supervision:
    """What /proc shows of it when this is made, which is before anything is done. Nothing here ever fails."""

    def __init__(self, target: str, mains: Sequence[Handle]) -> None:
        self._care = next((care for main in mains if (care := care_of(main.pid, target)) is not None), None)

    def by(self, means: Means) -> Supervisor | None:
        """Who undoes an end, or a pause, by these means; None where the process is in nobody's care but ctl's."""
        return supervisor_of(self._care, means)

    def tell_end(self, result: Result, *, killed: bool) -> None:
        """Note it in the result of a stop or kill that did something, or would."""
        if result.signals or result.plan:
            killed = killed or any(sent.signal == "KILL" and sent.pid == result.pid for sent in result.signals)
            self._note(result, "kill" if killed else "stop")

    def tell_pause(self, result: Result) -> None:
        """Note it in the result of a pause."""
        self._note(result, "pause")

    def _note(self, result: Result, means: Means) -> None:
        if (supervisor := self.by(means)) is not None:
            result.supervisor = supervisor
