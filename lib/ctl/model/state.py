"""RUN_DIR/TARGET.json: all that ctl knows of one service, for as long as the host is up."""

from __future__ import annotations

from typing import Literal

import msgspec

from ctl.model.record import Record

MOST_OLDER = 16  # runs of which a process still lives; a start of one more is refused
Want = Literal["up", "down", "paused"]
How = Literal["exited", "signal", "oom", "unknown"]
Whose = Literal["ctl", "itself", "kernel", "unknown"]


class Caller(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who called ctl, as far as this host can tell."""

    verb: str
    uid: int
    user: str = ""
    sudo_user: str | None = None
    login_uid: int | None = None
    unit: str | None = None
    ansible: str | None = None

    def __str__(self) -> str:
        who = self.user or f"uid {self.uid}"
        by = f" for {self.sudo_user}" if self.sudo_user else ""
        via = f" in {self.unit}" if self.unit else " by Ansible" if self.ansible else ""
        return f"ctl {self.verb}, {who}{by}{via}"


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for last."""

    state: Want
    since: str  # RFC 3339
    by: Caller
    boot_id: str = ""  # what was wanted before a reboot is not wanted any more


class End(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a main process ended. Its time is `at`, or between `after` and `before` where nobody saw it."""

    pid: int
    at: str | None = None  # RFC 3339
    after: str | None = None
    before: str | None = None
    how: How = "unknown"
    status: int | None = None  # of one that exited
    signal: str | None = None  # without SIG
    ran_s: float | None = None  # seconds; None where its end is not known to the minute
    by: Whose = "unknown"
    caller: Caller | None = None  # where ctl ended it

    @property
    def is_failure(self) -> bool:
        """Whether it is known to have failed: with a status other than 0, or by a signal that ctl has not sent."""
        if self.by == "ctl":
            return False
        return self.how in ("signal", "oom") or (self.how == "exited" and self.status != 0)


class State(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one target. `run` is there from its start until ctl has found that it is over."""

    schema: Literal[2] = 2
    target: str
    wanted: Wanted | None = None
    run: Record | None = None
    older: tuple[Record, ...] = ()  # runs whose main process has ended, of which something may be left
    last_end: End | None = None
    restarts: int = 0  # by ctl watch, since it was last started by somebody

    @property
    def runs(self) -> tuple[Record, ...]:
        """Every run of which a process may live, the newest first."""
        return (*((self.run,) if self.run is not None else ()), *self.older)

    def wanted_since(self, boot_id: str) -> Wanted | None:
        """What was asked for last since this boot, None where nothing was."""
        return self.wanted if self.wanted is not None and self.wanted.boot_id == boot_id else None

    def is_unasked_end(self, boot_id: str) -> bool:
        """Whether its main process, where it is gone, has ended though nobody asked for that.

        That is so while its run is on record, and after that by its last end, until it is stopped or started.
        """
        wanted = self.wanted_since(boot_id)
        if wanted is not None and wanted.state == "down":
            return False
        if self.run is not None:
            return self.run.identity.boot_id == boot_id
        return wanted is not None and self.last_end is not None and self.last_end.by != "ctl"
