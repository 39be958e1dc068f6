"""Searching with a user's pattern in what anybody may have written, in bounded time.

What takes few steps, whatever the text, is done here. All else is done by a helper that can be killed.
"""

from __future__ import annotations

import re
from typing import Final

from ctl.model.match import Found, Unsearched
from ctl.system.wait import Wait, now

BUDGET: Final = 2.0  # seconds for all texts of one scan
_LEAST: Final = 0.02  # seconds, for one text
_TRIFLE: Final = 100_000  # steps
_FEW: Final = 10_000_000  # steps; at most 0.1 s


class Budget:
    """The time that there is for all searches of one scan, of those that take any."""

    def __init__(self, seconds: float = BUDGET) -> None:
        self.left = seconds


class Searcher:
    """One pattern, and the time that there is for its searches."""

    def __init__(self, pattern: re.Pattern[str], name: str, wait: Wait, budget: Budget) -> None:
        """`name` is what the definition calls it."""
        self._pattern = pattern
        self._name = name
        self._wait = wait
        self._budget = budget
        self._trifle = -1  # characters; a text that is no longer is not worth a look at the clock
        self._last: tuple[str, Found | None | Unsearched] | None = None

    def search(self, text: str) -> Found | None:
        """Its first match. Raises Unsearched where there is no time for that; and what the Wait raises."""
        if self._trifle < 0:
            from ctl.model.backtracking import shape_of

            self._trifle = shape_of(self._pattern).length_within(_TRIFLE)
        if len(text) <= self._trifle:
            return self._pattern.search(text)
        if self._last is None or self._last[0] != text:  # who matches is judged twice, and explained
            self._last = text, self._answer(text)
        answer = self._last[1]
        if isinstance(answer, Unsearched):
            raise answer
        return answer

    def _answer(self, text: str) -> Found | None | Unsearched:
        from ctl.model.backtracking import shape_of

        steps = shape_of(self._pattern).steps(text)
        began = now()
        most = self._budget.left / 2  # of what is left, for the text that matters may be the next
        if most < _LEAST:
            return Unsearched(f"there was no time left to search for {self._name}")
        try:
            if steps <= _FEW:
                return self._pattern.search(text)
            from ctl.system.regex_helpers import helpers

            return helpers.search(self._pattern, text, began + most, self._wait)
        except TimeoutError:
            return Unsearched(f"{self._name} took longer than {most:.2g} s")
        except OSError as error:
            return Unsearched(f"{self._name} needs a process of its own here, which cannot be had: {error.strerror}")
        finally:
            self._budget.left -= now() - began
