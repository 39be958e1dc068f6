"""RUN_DIR/TARGET.json: which process ctl started or adopted as a service's main process."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from ctl.model.identity import Identity

# An empty one would be carried by every process that carries none.
RunId = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{32}$")]


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A claim like any other, but one that names an identity and not a bare pid."""

    schema: Literal[1] = 1
    target: str
    identity: Identity
    run_id: RunId | None  # public: its processes carry the token that is made of it; None for what was adopted
    key: str | None = None  # which key makes that; None where they carry the id itself, by a ctl without tokens
    earlier_run_ids: tuple[RunId, ...] = ()  # runs of which processes were left when this one began
    earlier_bare_ids: tuple[RunId, ...] = ()  # those among them whose processes carry the id itself
    since: str  # RFC 3339
    run_began: int = 0  # clock ticks after boot: nothing of the run is older, its main process may be younger
    forking: bool = False  # names the command of a forking service, which is still to hand over to its daemon
    ready: bool | None = False  # its probe has succeeded once; None where nobody has watched it start
    adopted: bool = False  # found running, not started by ctl


class Runs(msgspec.Struct, frozen=True):
    """Runs by their public ids."""

    ids: tuple[str, ...] = ()
    bare: tuple[str, ...] = ()  # those whose processes carry the id itself, and no token
    key: str | None = None  # which key makes the tokens of the others

    @property
    def keyed(self) -> tuple[str, ...]:
        return tuple(run_id for run_id in self.ids if run_id not in self.bare)


def runs_on_record(record: Record | None) -> Runs:
    """That of a record, and those before it."""
    if record is None:
        return Runs()
    own = (record.run_id,) if record.run_id else ()
    bare = own if record.key is None else ()
    return Runs(own + record.earlier_run_ids, bare + record.earlier_bare_ids, record.key)
