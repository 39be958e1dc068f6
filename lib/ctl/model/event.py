"""One line of the journal: what a ctl did, to which process, and who asked for it."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from ctl.model.errors import Reason
from ctl.model.outcome import Result

Kind = Literal["spawned", "ready", "adopted", "run", "signal", "done", "failed", "refused", "ended", "crashed"]

# Nothing was begun for one of these; an operation that ends for another reason has failed on its way.
_REFUSALS: Final[frozenset[Reason]] = frozenset(
    {
        "not_running", "unknown_target", "bad_config", "identity_mismatch", "identity_unknown", "ambiguous",
        "permission_denied", "protected", "busy", "skipped",
    }
)  # fmt: skip


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Flat, and in the order in which it is read raw: when, what, to whom, why, by whom. The unknown is left out."""

    time: str  # RFC 3339, with milliseconds and offset
    target: str
    verb: str
    event: str  # a Kind; a newer ctl may write others
    signal: str | None = None  # without SIG
    pid: int | None = None  # the process it is about
    start_ticks: int | None = None  # with pid it tells one process of this boot, see Identity
    pidfd_inode: int | None = None
    reason: str | None = None  # of what came to its end
    changed: bool | None = None
    before: str | None = None
    after: str | None = None
    duration_s: float | None = None
    what: str | None = None  # what went wrong, or how it ended
    uid: int
    user: str
    sudo_user: str | None = None  # who called sudo
    login_uid: int | None = None  # who logged in, however often they became another user since
    unit: str | None = None  # the systemd service that ctl ran in
    ansible: str | None = None  # the module that called ctl, as far as can be told
    ctl_pid: int
    run_dir: str


def kind_of(result: Result) -> Kind:
    """What a result is as an event."""
    if result.ok:
        return "done"
    nothing_done = not result.changed and not result.signals
    return "refused" if nothing_done and result.reason in _REFUSALS else "failed"


def is_about(event: Event, targets: tuple[str, ...]) -> bool:
    """Whether one of `targets` names the event's target, NAME@ all instances of NAME; without any, every event is."""
    target = event.target
    return not targets or any(target == name or (name.endswith("@") and target.startswith(name)) for name in targets)
