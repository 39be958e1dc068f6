"""RUN_DIR/TARGET.paused: that ctl holds a service, and until when. Whether it is held, only its processes tell."""

from __future__ import annotations

from typing import Literal

import msgspec

from ctl.model.identity import Identity
from ctl.model.record import RunId


class Pause(msgspec.Struct, frozen=True, kw_only=True):
    """One pause of one run. Of another main process than the one it names it says nothing."""

    schema: Literal[1] = 1
    target: str
    id: RunId  # tells this pause from every other
    identity: Identity  # of the main process
    since: str  # RFC 3339
    until: str | None = None  # RFC 3339; None: until somebody resumes it
    due: float | None = None  # the same in seconds of this boot's CLOCK_MONOTONIC: time asleep is not counted
