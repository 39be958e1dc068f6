"""What explain returns: everything from which locate, stop and kill draw their conclusions, and these."""

from __future__ import annotations

from typing import Literal

import msgspec

from ctl.model.errors import Reason
from ctl.model.outcome import Claim, Fault, Plan, Seen, State
from ctl.model.record import Record
from ctl.model.supervisor import Supervisor
from ctl.model.verdict import Verdict

# Why a process is not, or may not be, a main process of the service.
Ground = Literal[
    "main",  # it is
    "rules",  # a rule says no
    "unknown",  # a rule cannot be judged
    "default_user",  # it satisfies every rule, but runs as another user than the service, and match.user is not set
    "other_claim",  # it satisfies every rule, and another process is named by a claim that is asked first
    "too_many",  # it satisfies every rule, and so do more than match.max
    "descendant",  # it satisfies every rule, and so does a process that it descends from
    "survivor",  # it carries the service's marker, and is left of a main process that has ended
    "others_main",  # another service's record names it
    "ctl_itself",
    "caller",  # an ancestor of this ctl
    "caller_of_ctl",  # an ancestor of another ctl, with the arguments of that in its own
    "another_ctl",
    "gated",  # a child of ctl's that has not executed its program yet
    "service_manager",  # systemd, or one of its helpers
    "init",
    "kernel_thread",
    "zombie",
    "other_pid_namespace",
    "container",  # by its control group
    "login",  # what a login leaves in the list of processes: an agent with keys, sshd
    "another_user",  # by what the kernel lets us signal, where /proc does not tell
    "passing",  # it came, went or changed while it was looked at
]


class RuleAnswer(msgspec.Struct, frozen=True):
    """What one rule says of one process: what was found, against what is wanted."""

    verdict: Verdict
    why: str


class ExplainedClaim(Claim, frozen=True, kw_only=True):
    """A claim, judged also where nobody needs to ask it: an earlier one holds."""

    asked: bool = True


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """A process that is the service, could be taken for it, or comes near. None for what may not be read."""

    pid: int
    verdict: Verdict  # whether it is a main process
    ground: Ground
    why: str
    rules: dict[str, RuleAnswer]
    ppid: int | None = None
    user: str | None = None
    since: str | None = None  # RFC 3339
    state: str | None = None  # one letter, see proc_pid_stat(5)
    command: str | None = None


class Omitted(msgspec.Struct, frozen=True, kw_only=True):
    """How many candidates are not listed, by kind."""

    matching: int = 0
    passed_over: int = 0
    unknown: int = 0
    near: int = 0


class Member(Seen, frozen=True, kw_only=True):
    """Another process of the service, and how it is known: parent, session, run id."""

    ppid: int
    known_by: list[str]


class Intent(Plan, frozen=True, kw_only=True):
    """What a verb would do now, as its --dry-run tells it: `says` in one sentence."""

    says: str
    fix: str | None = None  # where it would refuse or fail: what puts that right
    reason: Reason  # planned, already_stopped, or why it would refuse or fail
    exit_code: int


class Intents(msgspec.Struct, frozen=True, kw_only=True):
    """What each verb would do."""

    stop: Intent
    kill: Intent


class Defined(msgspec.Struct, frozen=True, kw_only=True):
    """What the definition says, with its placeholders filled in. The probes are named, and not asked."""

    file: str
    description: str
    command: tuple[str, ...]
    type: str | None
    user: str  # as whom it runs
    ready: str
    drain: str | None
    schedule: str
    kill_mode: str
    protected: bool
    pid_file: str | None
    max: int


class LockHolder(msgspec.Struct, frozen=True, kw_only=True):
    """Another ctl that is at work on the target."""

    verb: str | None  # None where this user may not know
    pid: int


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """All of it, for one target. `ok` where it could be told whether it runs, and which process it is."""

    target: str
    ok: bool
    state: State
    answer: str  # one line
    exit_code: int
    given_pid: int | None = None  # --pid: the plans are those of stop and kill with the same
    pids: list[int] = []  # of the main processes
    paused_since: str | None = None  # RFC 3339; of a pause by ctl
    paused_until: str | None = None  # when it is resumed by itself
    proved_by: str | None = None  # record, pid file, stop.pid_file, --pid, $MAINPID or table
    defined: Defined | None = None
    rules: dict[str, str] = {}
    record: Record | None = None
    older: tuple[Record, ...] = ()  # runs of which something may be left
    claims: list[ExplainedClaim] = []
    candidates: list[Candidate] = []
    omitted: Omitted = Omitted()
    hidden: bool = False  # whether /proc does not even list the processes of other users
    members: list[Member] = []
    plans: Intents | None = None
    lock: LockHolder | None = None
    supervisor: Supervisor | None = None
    errors: list[Fault] = []
