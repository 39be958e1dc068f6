"""One costly look at the host that answers everybody who was waiting for one when it began."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from ctl.system.turns import Hurry, let_others

T = TypeVar("T")
_PATIENCE: Final = 0.1  # seconds, at the least
_OTHERS: Final = 4  # times as long as the last look


class Shared(Generic[T]):
    """A thousand threads that each want to know how the host looks now need one look, not a thousand.

    What `get` returns was looked at after it was called: nobody is ever answered by an older look.
    """

    def __init__(self, look: Callable[[T | None, bool], T]) -> None:
        """`look` is given what was seen the last time, None at first, and whether anybody wants a thorough look."""
        self._look = look
        self._changed = threading.Condition()
        self._begun = 0
        self._done = 0
        self._looking = False
        self._thoroughly = False
        self._patience = _PATIENCE
        self._seen: T | None = None

    def get(self, *, thorough: bool = True) -> T:
        with self._changed:
            self._thoroughly = self._thoroughly or thorough
            wanted = self._begun + 1
        while True:
            # One look for all who are going to ask: it begins when nobody has anything else to do, or when the others
            # have had four times as long as it takes. So no more than a fifth of the time goes to looks.
            with let_others(Hurry.NONE, self._patience), self._changed:
                while self._done < wanted and self._looking:
                    self._changed.wait()
            with self._changed:
                if self._done >= wanted:
                    assert self._seen is not None  # noqa: S101 - for mypy: there has been a look
                    return self._seen
                if not self._looking:
                    self._look_now()

    def _look_now(self) -> None:
        """Look while nobody is held up, and wake up all who wait."""
        self._looking = True
        self._begun += 1
        thoroughly, self._thoroughly = self._thoroughly, False
        self._changed.release()
        seen = None
        began = time.monotonic()
        try:
            seen = self._look(self._seen, thoroughly)
        finally:
            self._changed.acquire()
            self._patience = max(_PATIENCE, _OTHERS * (time.monotonic() - began))
            self._looking = False
            self._changed.notify_all()
        self._seen, self._done = seen, self._begun
