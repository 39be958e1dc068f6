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


class _Turns:
    """Handed over in the order in which they are asked for; whoever is in no hurry comes after all who are.

    But not for ever: after a while it is their turn, too, whoever else is waiting.
    """

    def __init__(self) -> None:
        self._changing = threading.Lock()
        self._taken = False
        self._waiting: deque[threading.Lock] = deque()
        self._in_no_hurry: deque[tuple[threading.Lock, float]] = deque()  # and since when

    def take(self, *, in_no_hurry: bool = False) -> None:
        with self._changing:
            if not self._taken:
                self._taken = True
                return
            mine = threading.Lock()
            mine.acquire()
            if in_no_hurry:
                self._in_no_hurry.append((mine, time.monotonic()))
            else:
                self._waiting.append(mine)
        mine.acquire()

    def give_back(self) -> None:
        with self._changing:
            patient = self._in_no_hurry
            if patient and (not self._waiting or time.monotonic() - patient[0][1] > _PATIENCE):
                patient.popleft()[0].release()
            elif self._waiting:
                self._waiting.popleft().release()
            else:
                self._taken = False


_turns = _Turns()
_of_thread = threading.local()


def in_turn(function: Callable[[], R]) -> R:
    """What `function` returns, which computes only while it is this thread's turn."""
    _turns.take()
    _of_thread.has_one = True
    try:
        return function()
    finally:
        _of_thread.has_one = False
        _turns.give_back()


@contextmanager
def let_others(*, in_no_hurry: bool = False) -> Iterator[None]:
    """Give the turn back for the block, in which this thread waits or the kernel works for it.

    With `in_no_hurry` it then comes after all who have something to compute.
    """
    if not getattr(_of_thread, "has_one", False):
        yield
        return
    _of_thread.has_one = False
    _turns.give_back()
    try:
        yield
    finally:
        _turns.take(in_no_hurry=in_no_hurry)
        _of_thread.has_one = True
