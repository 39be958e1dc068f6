"""A process that nobody may signal, and the proof that nobody did."""

from __future__ import annotations

import signal
from collections.abc import Sequence

from support import proc
from support.reaper import Process, Reaper

PROBE = signal.SIGRTMAX


def assert_untouched(recorder: Process) -> None:
    """A started `recorder` program has got no signal at all since it was started, or since the last call.

    It takes pending signals lowest number first, so once it has written down the probe, none is on its way.
    """
    assert recorder.out, "its stdout is not a pipe"
    assert recorder.alive(), f"it was killed: {recorder.wait()}"
    assert proc.state(recorder.pid) != "T", "it was stopped"
    seen = len(recorder.out.seen)
    recorder.signal(PROBE)
    recorder.out.wait("got RTMAX")
    assert [line.split(" from ")[0] for line in recorder.out.seen[seen:]] == ["got RTMAX"], recorder.out.seen


def start_bystander(reaper: Reaper, recorder: Sequence[str], user: int | None = None) -> Process:
    """Starts a `recorder` (`programs("recorder", "-", "words that a rule matches")`) for `assert_untouched`."""
    return reaper.start(recorder, user=user)
