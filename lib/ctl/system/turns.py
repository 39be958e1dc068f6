"""CPU turns: of many threads that act on targets side by side, one computes at a time, and the others wait.

They exist because a thousand threads that all want the interpreter's lock spend more time on handing it over than on
their work (`bin/bench many`). A thread without a turn is never held up by this.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Final, TypeVar

R = TypeVar("R")
_HANGS_AFTER: Final = 1.0  # seconds


class Hurry(Enum):
    """Who has the next turn."""

    GREAT = "before all others: the fewer starts are half-way, the fewer descriptors each child has to close"
    SOME = "in the order of asking"
    NONE = "after all others, but not for ever"


class _Turn:
    """One thread's turn, or its place in the queue for one."""

    def __init__(self, patience: float) -> None:
        self.due_at = time.monotonic() + patience
        self.to_come = threading.Lock()  # held until it has come; lighter than an Event
        self.to_come.acquire()


class _Turns:
    """Handed over by hurry, and among equals in the order in which they are asked for.

    A thread that hangs in its turn, at a file of a dead file server, loses it: it may hold up its own target, and no
    other.
    """

    def __init__(self) -> None:
        self._changing = threading.Lock()
        self._whose: _Turn | None = None
        self._since = 0.0
        self._waiting: dict[Hurry, deque[_Turn]] = {hurry: deque() for hurry in Hurry}

    def take(self, hurry: Hurry = Hurry.SOME, patience: float = 0.0) -> _Turn:
        mine = _Turn(patience)
        with self._changing:
            self._waiting[hurry].append(mine)
            if self._whose is None:
                self._next()
        while not mine.to_come.acquire(timeout=_HANGS_AFTER):
            with self._changing:
                if time.monotonic() - self._since > _HANGS_AFTER:
                    self._next()
        return mine

    def give_back(self, mine: _Turn) -> None:
        with self._changing:
            if self._whose is mine:  # else it was lost meanwhile
                self._next()

    def _next(self) -> None:
        great, some, none = self._waiting.values()
        is_overdue = bool(none) and time.monotonic() > none[0].due_at
        queue = great or (none if is_overdue else some or none)
        self._whose = queue.popleft() if queue else None
        self._since = time.monotonic()
        if self._whose is not None:
            self._whose.to_come.release()


_turns = _Turns()
_of_thread = threading.local()


def in_turn(function: Callable[[], R]) -> R:
    """What `function` returns, which computes only while it is this thread's turn."""
    _of_thread.turn = _turns.take()
    try:
        return function()
    finally:
        _turns.give_back(_of_thread.turn)
        _of_thread.turn = None


def begin_in_turn(work: Callable[[], None]) -> bool:
    """Have a thread of its own do `work`, begun in turn: a thread that is made takes the interpreter's lock.

    Returns whether one is to be had.
    """
    try:
        in_turn(threading.Thread(target=work, daemon=True).start)
    except RuntimeError:
        return False
    return True


@contextmanager
def let_others(hurry: Hurry = Hurry.SOME, patience: float = 0.0) -> Iterator[None]:
    """Give the turn back for the block, in which this thread waits or the kernel works for it, and then take one.

    Without hurry, all others go first for so many seconds of `patience`.
    """
    mine: _Turn | None = getattr(_of_thread, "turn", None)
    if mine is None:
        yield
        return
    _of_thread.turn = None
    _turns.give_back(mine)
    try:
        yield
    finally:
        _of_thread.turn = _turns.take(hurry, patience)
