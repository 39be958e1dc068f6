"""One run of a service: which process ctl started or adopted as its main process."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

import msgspec

from ctl.model.identity import Identity

# An empty one would be carried by every process that carries none.
RunId = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{32}$")]


class StopCopy(msgspec.Struct, frozen=True, kw_only=True):
    """What stop and kill need of a definition that may be broken or gone by then."""

    schedule: str
    kill_mode: Literal["mixed", "process", "tree"]
    pid_file: str | None = None
    protected: bool = False
    uid: int  # the user that its processes run as


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A claim like any other, but one that names an identity and not a bare pid."""

    target: str
    identity: Identity
    run_id: RunId | None  # public: its processes carry the token that is made of it; None for what was adopted
    key: str | None = None  # which key makes that; None where they carry the id itself, by a ctl without tokens
    since: str  # RFC 3339
    run_began: int = 0  # clock ticks after boot: nothing of the run is older, its main process may be younger
    forking: bool = False  # names the command of a forking service, which is still to hand over to its daemon
    ready: bool | None = False  # its probe has succeeded once; None where nobody has watched it start
    ready_at: str | None = None  # RFC 3339
    adopted: bool = False  # found running, not started by ctl
    leads_session: bool = False  # whether its main process leads a session of its own
    last_seen: int = 0  # clock ticks after boot: the last tick over which the main process was seen alive; 0: unknown
    stop: StopCopy | None = None
    scope: str | None = None  # the transient unit that ctl had made for it
    scope_inode: int | None = None  # of its control group


class RecordOfSchema1(msgspec.Struct, frozen=True, kw_only=True):
    """As ctl wrote it before there was a state file."""

    schema: Literal[1] = 1
    target: str
    identity: Identity
    run_id: RunId | None
    key: str | None = None
    earlier_run_ids: tuple[RunId, ...] = ()
    earlier_bare_ids: tuple[RunId, ...] = ()
    since: str
    run_began: int = 0
    forking: bool = False
    ready: bool | None = False
    adopted: bool = False

    def taken_over(self) -> tuple[Record, tuple[Record, ...]]:
        """The run and the older ones, as they are recorded now. Of those the main processes are not known any more."""
        run = Record(
            target=self.target, identity=self.identity, run_id=self.run_id, key=self.key, since=self.since,
            run_began=self.run_began, forking=self.forking, ready=self.ready, adopted=self.adopted,
        )  # fmt: skip
        older = tuple(
            msgspec.structs.replace(run, run_id=run_id, key=None if run_id in self.earlier_bare_ids else self.key)
            for run_id in self.earlier_run_ids
        )
        return run, older


class Runs(msgspec.Struct, frozen=True):
    """Runs by their public ids."""

    ids: tuple[str, ...] = ()
    bare: tuple[str, ...] = ()  # those whose processes carry the id itself, and no token
    key: str | None = None  # which key makes the tokens of the others

    @property
    def keyed(self) -> tuple[str, ...]:
        return tuple(run_id for run_id in self.ids if run_id not in self.bare)


def ids_of(runs: Iterable[Record]) -> Runs:
    """These runs by their ids, those of the newest one's key, or without any."""
    named = [run for run in runs if run.run_id is not None]
    key = next((run.key for run in named if run.key is not None), None)
    told = [run for run in named if run.key in (None, key)]  # of a key that is lost, no token can be told
    ids = tuple(dict.fromkeys(run.run_id for run in told if run.run_id))
    return Runs(ids, tuple(run.run_id for run in told if run.run_id and run.key is None), key)
