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
    run_id: RunId | None  # CTL_RUN_ID in its environment; None for what was adopted without one
    earlier_run_ids: tuple[RunId, ...] = ()  # runs of which processes were left when this one began
    since: str  # RFC 3339
    run_began: int = 0  # clock ticks after boot: nothing of the run is older, its main process may be younger
    forking: bool = False  # names the command of a forking service, which is still to hand over to its daemon
    ready: bool | None = False  # its probe has succeeded once; None where nobody has watched it start
    adopted: bool = False  # found running, not started by ctl

    @property
    def run_ids(self) -> tuple[str, ...]:
        return ((self.run_id,) if self.run_id else ()) + self.earlier_run_ids
