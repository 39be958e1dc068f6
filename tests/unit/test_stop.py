"""What stop and kill say of how a schedule has ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import pytest

from ctl.model.outcome import Fault, Result, Seen, Signalled
from ctl.verbs.ending import KillMode
from ctl.verbs.stop import _carry_out


@dataclass
class Ended:
    """A schedule that has been carried out."""

    gave_up: bool
    left: list[Seen] = field(default_factory=list)
    signals: list[Signalled] = field(default_factory=lambda: [Signalled(7, "TERM", 0.0)])
    faults: list[Fault] = field(default_factory=list)
    escalated: bool = False

    def carry_out(self, _mode: KillMode) -> list[Seen]:
        return self.left


@pytest.mark.parametrize("done", ["stopped", "killed"])
@pytest.mark.parametrize(
    ("mode", "gave_up", "exit_code"), [("mixed", False, 0), ("mixed", True, 4), ("tree", True, 4), ("process", True, 0)]
)
def test_what_comes_and_goes_too_fast_to_be_told_is_unknown(
    mode: KillMode, gave_up: bool, exit_code: int, done: Literal["stopped", "killed"]
) -> None:
    """Unknown is not stopped. Whoever ends the main process alone need not know of others."""
    result = Result(target="web", ok=True, changed=False, before="running", after="stopped", reason="already_stopped")
    _carry_out(Ended(gave_up), mode, result, done)  # type: ignore[arg-type]
    assert (result.exit_code, result.ok, result.changed) == (exit_code, exit_code == 0, True)
    assert (result.reason, result.after) == (("unknown", "unknown") if exit_code else (done, "stopped"))
