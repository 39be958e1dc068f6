"""Waiting: one poll(2) on pidfds and on what interrupts it. Nothing here sleeps."""

from __future__ import annotations

import math
import select
import time
from collections.abc import Callable, Iterable

from ctl.system.interrupts import Patience
from ctl.system.turns import let_others

# Returns those of the descriptors that have become readable, none where that instant has come first. It may raise, to
# end what is being waited for.
Wait = Callable[[Iterable[int], float], set[int]]


def now() -> float:
    """Seconds on the clock that no one sets and that every deadline is measured by: CLOCK_MONOTONIC."""
    return time.monotonic()


def until_readable(fds: Iterable[int], until: float) -> set[int]:
    """The Wait of who hears no interrupts."""
    poll = select.poll()
    for fd in fds:
        poll.register(fd, select.POLLIN)
    with let_others():
        return {fd for fd, _ in poll.poll(max(0.0, until - now()) * 1000)}


def readable(fds: Iterable[int], deadline: float, patience: Patience) -> set[int]:
    """Those of `fds` that have become readable: the first of them, or none when `deadline` has passed.

    Raises Interrupted.
    """
    poll = select.poll()
    for fd in (*fds, *patience.fds):
        poll.register(fd, select.POLLIN)
    while True:
        patience.check()
        left = deadline - now()
        # Rounded up, as poll counts in milliseconds: one that returns early would spin.
        timeout = None if math.isinf(left) else max(0, min(math.ceil(left * 1000), 2**31 - 1))
        if timeout == 0:
            polled = poll.poll(0)
        else:
            with let_others():
                polled = poll.poll(timeout)
        ready = {fd for fd, _ in polled}
        patience.heard(ready)
        ready.difference_update(patience.fds)
        if ready or left <= 0:
            return ready


def all_ended(pidfds: Iterable[int], deadline: float, patience: Patience) -> bool:
    """Wait until every one of these processes has ended: False where `deadline` passed first. Raises Interrupted."""
    waiting = set(pidfds)
    while waiting:
        ended = readable(waiting, deadline, patience)
        if not ended:
            return False
        waiting -= ended
    return True


def wall_clock() -> float:
    """Seconds since the epoch, for what a person reads; never for a deadline."""
    return time.time()  # noqa: TID251 - it is the wall clock that is asked for
