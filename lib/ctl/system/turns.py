"""Turns: of many threads that act on targets side by side, one at a time computes, and the others wait for something.

They would not compute any faster together: each time one of a thousand reads a file, the interpreter's lock goes from
hand to hand, and the kernel is kept busy with who may have it next. A thread without a turn is never held up by this.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

R = TypeVar("R")
_PATIENCE: Final = 0.1  # seconds
_HANGS_AFTER: Final = 1.0  # seconds


class _Turn:
    """One thread's turn, or its place in the queue for one."""

    def __init__(self) -> None:
        self.asked_at = time.monotonic()
        self.has_come = threading.Event()


class _Turns:
    """Handed over in the order in which they are asked for; whoever is in no hurry comes after all who are.

    But not for ever: after a while it is their turn, too, whoever else is waiting. And a thread that hangs in its turn,
    at a file of a dead file server, loses it: it may hold up its own target, and no other.
    """

    def __init__(self) -> None:
        self._changing = threading.Lock()
        self._whose: _Turn | None = None
        self._since = 0.0
        self._waiting: deque[_Turn] = deque()
        self._in_no_hurry: deque[_Turn] = deque()

    def take(self, *, in_no_hurry: bool = False) -> _Turn:
        mine = _Turn()
        with self._changing:
            (self._in_no_hurry if in_no_hurry else self._waiting).append(mine)
            if self._whose is None:
                self._next()
        while not mine.has_come.wait(_HANGS_AFTER):
            with self._changing:
                if time.monotonic() - self._since > _HANGS_AFTER:
                    self._next()
        return mine

    def give_back(self, mine: _Turn) -> None:
        with self._changing:
            if self._whose is mine:  # else it was lost meanwhile
                self._next()

    def _next(self) -> None:
        patient = self._in_no_hurry
        if patient and (not self._waiting or time.monotonic() - patient[0].asked_at > _PATIENCE):
            self._whose = patient.popleft()
        else:
            self._whose = self._waiting.popleft() if self._waiting else None
        self._since = time.monotonic()
        if self._whose is not None:
            self._whose.has_come.set()


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


@contextmanager
def let_others(*, in_no_hurry: bool = False) -> Iterator[None]:
    """Give the turn back for the block, in which this thread waits or the kernel works for it.

    With `in_no_hurry` it then comes after all who have something to compute.
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
        _of_thread.turn = _turns.take(in_no_hurry=in_no_hurry)
