"""Sessions that the recorded main processes of a service lead, or have led until they ended."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

import msgspec

from ctl.system.pidfd import Handle
from ctl.system.procfs import Stat, ticks_now


class Led(msgspec.Struct, frozen=True):
    """A session by its leader, and the last clock tick that ended while that was alive."""

    start_ticks: int
    last_seen: int


class Sessions:
    """Which processes are in one of these sessions.

    A session keeps its leader's pid from being used again for as long as anyone is in it (credentials(7)), and nobody
    joins one but by being born into it. So a process that was there before the leader was last seen alive is in that
    very session, and while it lives, so is everyone who has the session's number. Who else started later may be in
    another session that got the same number.
    """

    def __init__(self, led: Mapping[int, Led]) -> None:
        """`led` is by the pid of the leader, as it was written down."""
        self._led = dict(led)

    def __contains__(self, number: int) -> bool:
        return number in self._led

    @property
    def numbers(self) -> Iterable[int]:
        return self._led.keys()

    def note(self, mains: Iterable[Handle]) -> None:
        """Have those of the main processes that live, and lead a session, seen alive now."""
        for main in mains:
            tick = int(ticks_now())
            if main.stat.session == main.pid and not main.is_gone:
                self._led[main.pid] = Led(main.stat.start_ticks, tick)

    def forget_reused(self, stats: Mapping[int, Stat]) -> None:
        """A living process that has a leader's pid, and started at another time, shows that the session is over."""
        for number, led in list(self._led.items()):
            stat = stats.get(number)
            if stat is not None and stat.start_ticks != led.start_ticks:
                del self._led[number]

    def prove(self, stat: Stat, known: Iterable[Handle]) -> bool:
        """Whether a process with this stat is in one; `known` are members found before."""
        led = self._led.get(stat.session)
        if led is None:
            return False
        return stat.start_ticks < led.last_seen or any(
            handle.stat.session == stat.session and handle.stat.start_ticks < led.last_seen and not handle.is_gone
            for handle in known
        )


def leads_session(pid: int) -> bool:
    """Whether this living process leads a session, setsid(2)."""
    return os.getsid(pid) == pid
