"""What a verb returns: plain values, the same for a person and for --json."""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from ctl.model.errors import CtlError, Reason
from ctl.model.state import End, Wanted
from ctl.model.supervisor import Supervisor

State = Literal[
    "stopped", "starting", "running", "ready", "paused", "stopping", "ended", "crashed", "stale", "unknown"
]  # fmt: skip
Goal = Literal["running", "ready", "stopped"]  # what one may wait for
ClaimVerdict = Literal["holds", "stale", "refused", "unknown"]


class Signalled(msgspec.Struct, frozen=True):
    """A signal that was delivered, `at_s` seconds after the operation began.

    The CONT that follows every catchable signal, so that a stopped process can act on it, is not listed.
    """

    pid: int
    signal: str
    at_s: float


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """A process as a person must see it to tell it from another."""

    pid: int
    state: str  # one letter, see proc_pid_stat(5)
    user: str
    since: str  # RFC 3339
    command: str


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """What one pid file, record or option says, and whether it holds."""

    source: str  # record, pid file, stop.pid_file, --pid, $MAINPID
    where: str | None
    pid: int | None
    verdict: ClaimVerdict
    why: str
    doubt: Reason | None = None  # of one that is unknown: as what kind of doubt it counts
    fix: str | None = None  # what makes it believable, or tells whether it holds

    @property
    def says_it_runs(self) -> bool:
        """Whether it is a file that is left of a process that is not there: LSB's "dead, but its pid file remains"."""
        return self.verdict in ("stale", "refused") and self.source in ("record", "pid file", "stop.pid_file")


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """Something that went wrong, with its context. An outcome can be ok and still hold some."""

    reason: Reason
    what: str
    where: str | None = None  # the file and key, option or environment variable that set it
    fix: str | None = None  # the exact command, or what to write, that puts it right
    details: tuple[str, ...] = ()
    target: str | None = None  # where it is not an outcome's own

    @classmethod
    def of(cls, error: CtlError) -> Fault:
        """It alone, without those that were found together with it."""
        return cls(
            reason=error.reason, what=error.what, where=error.where, fix=error.fix, details=error.details,
            target=error.target,
        )  # fmt: skip

    @classmethod
    def each_of(cls, error: CtlError) -> list[Fault]:
        """It, and each of those that were found together with it."""
        return [cls.of(one) for one in (error, *error.others)]


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What --dry-run answers: who, by which steps, for how long at most (None: without end), and the state after them.

    Where there is no step, nothing would be changed.
    """

    steps: tuple[str, ...] = ()
    processes: tuple[Seen, ...] = ()
    longest_s: float | None = 0.0
    after: State | None = None  # None where it would not be done


class Result(msgspec.Struct, kw_only=True):
    """What became of one target."""

    target: str
    ok: bool
    changed: bool
    before: State
    after: State
    reason: Reason
    pid: int | None = None
    escalated: bool = False
    drained: bool | None = None
    duration_s: float = 0.0
    signals: list[Signalled] = []
    survivors: list[Seen] = []
    left_over: list[Seen] = []  # what belongs to runs that are over, and was left alone
    errors: list[Fault] = []
    claims: list[Claim] = []
    plan: Plan | UnsetType = UNSET
    paused_until: str | UnsetType = UNSET  # RFC 3339: when a pause is over by itself
    supervisor: Supervisor | UnsetType = UNSET  # who else has the process in their care
    exit_code: int = 0  # follows from the reason, unless a signal interrupted ctl

    def fail(self, error: CtlError) -> None:
        """The operation ended in this error."""
        self.ok, self.reason, self.exit_code = False, error.reason, error.exit_code
        self.errors = [*self.errors, *Fault.each_of(error)]


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """What a service is doing now."""

    target: str
    state: State
    description: str = ""
    pid: int | None = None
    since: str | None = None
    uptime_s: float | None = None
    user: str | None = None
    command: str | None = None
    cpu_percent: float | None = None
    rss_bytes: int | None = None
    threads: int | None = None
    children: int | None = None
    ready: bool | None = None
    paused_since: str | None = None  # RFC 3339; of a pause by ctl
    paused_until: str | None = None  # when it is resumed by itself
    left_over: list[Seen] = []  # what belongs to runs whose main process has ended
    wanted: Wanted | None = None  # what was asked for last
    last_end: End | None = None  # how its main process ended last
    last_words: tuple[str, ...] = ()  # the last lines of its log, of one that ended though nobody asked for that
    claim: list[Claim] = []
    errors: list[Fault] = []

    @property
    def exit_code(self) -> int:
        """LSB 5.0: 0 running, 1 dead (ended, crashed, or its pid file remains), 3 not running, 4 unknown."""
        return {"stopped": 3, "ended": 1, "crashed": 1, "stale": 1, "unknown": 4}.get(self.state, 0)

    @property
    def is_as_wanted(self) -> bool:
        """Whether it is up where that is wanted; one that nobody has asked for anything is as it is wanted."""
        if self.state in ("ended", "crashed"):
            return False
        return self.state not in ("stopped", "stale") or self.wanted is None or self.wanted.state == "down"
