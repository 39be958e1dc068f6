"""What can go wrong, and the exit status each reason ends in."""

from __future__ import annotations

from typing import Final, Literal

Reason = Literal[
    "started",
    "already_running",
    "stopped",
    "already_stopped",
    "killed",
    "escalated",
    "paused",
    "already_paused",
    "resumed",
    "reloaded",
    "forgotten",
    "already_forgotten",
    "planned",
    "skipped",
    "not_running",
    "not_ready",
    "exec_failed",
    "unknown_target",
    "bad_config",
    "identity_mismatch",
    "identity_unknown",
    "unknown",
    "ambiguous",
    "permission_denied",
    "protected",
    "busy",
    "timeout",
    "hook_failed",
    "usage",
    "failed",
    "interrupted",
    "internal",
]

# The codes below 150 are those of the Linux Standard Base (LSB 5.0, "Init Script Actions"), which also keeps
# 150 to 199 for the application. A reason that is not listed is a success, or "skipped", of which others are the cause.
EXIT_CODES: Final[dict[Reason, int]] = {
    "failed": 1,
    "protected": 1,
    "hook_failed": 1,
    "usage": 2,
    "permission_denied": 4,
    "unknown": 4,
    "unknown_target": 5,
    "exec_failed": 5,
    "bad_config": 6,
    "not_running": 7,
    "interrupted": 130,
    "timeout": 150,
    "not_ready": 151,
    "identity_mismatch": 152,
    "identity_unknown": 152,
    "ambiguous": 152,
    "busy": 153,
    "internal": 199,
}

# The same codes, and those of a whole call, in words.
MEANINGS: Final[dict[int, str]] = {
    0: "done, or already so",
    1: "failed, or several targets failed for different reasons",
    2: "usage",
    4: "insufficient privilege; also: cannot tell whether it runs",
    5: "unknown target, or its program is not installed",
    6: "bad configuration",
    7: "not running, where the verb needs it",
    130: "interrupted by INT, which Ctrl-C sends",
    143: "interrupted by TERM",
    150: "still alive after the whole schedule",
    151: "not ready in time, or died while starting",
    152: "identity unknown, mismatched or ambiguous: refused to signal",
    153: "busy: another ctl holds the target",
    199: "a fault in ctl itself, or not set up",
}


def exit_code_of(reason: Reason) -> int:
    """The exit status of an operation on one target that ended for `reason`."""
    return EXIT_CODES.get(reason, 0)


class Message(Exception):
    """What is wrong, in three fields. No code takes one apart or looks for words in it.

    `what` is one line: what is so, and what was expected. `where` names the file and key, option or environment
    variable that set it. `fix` is the exact command, or what to write, that puts it right; None where nobody knows.
    """

    def __init__(self, what: str, *, where: str | None = None, fix: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.fix = fix


class CtlError(Message):
    """A failure that a person can act on.

    `details` are further lines (candidates, the tail of a log). `others` are errors that were found together with it:
    each is told by itself.
    """

    def __init__(
        self,
        reason: Reason,
        what: str,
        *,
        where: str | None = None,
        fix: str | None = None,
        details: tuple[str, ...] = (),
        target: str | None = None,
        others: tuple[CtlError, ...] = (),
    ) -> None:
        super().__init__(what, where=where, fix=fix)
        self.reason: Reason = reason
        self.details = details
        self.target = target
        self.others = others

    def about(self, subject: str) -> CtlError:
        """The same error, which says of whom it is: its own sentence has no subject."""
        return CtlError(
            self.reason, f"{subject} {self.what}", where=self.where, fix=self.fix, details=self.details,
            target=self.target, others=self.others,
        )  # fmt: skip

    @property
    def exit_code(self) -> int:
        return exit_code_of(self.reason)


class Interrupted(CtlError):
    """INT or TERM reached ctl while it was waiting. The exit status is 128 + the signal's number, as a shell's is."""

    def __init__(self, signum: int, what: str = "interrupted") -> None:
        super().__init__("interrupted", what)
        self.signum = signum

    @property
    def exit_code(self) -> int:
        return 128 + self.signum
