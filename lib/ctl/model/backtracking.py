"""How many steps a backtracking matcher, such as Python's re, takes to search a text for a pattern, at most.

A repeat without an end may stop anywhere, and after each of its ends the rest of the pattern is tried: that costs the
text's length for each repeat, unless a literal behind it tells where it can stop. Where a repeat is within a repeat,
the same text can be divided among them in any number of ways, and there is no such bound; but for one as in
(\\w+\\.)+, where a character that the inner repeat cannot match says where each round ends.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any, Final, NamedTuple

_ONE_CHARACTER: Final = ("LITERAL", "NOT_LITERAL", "ANY", "IN")
_REPEATS: Final = ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT")
_ANYWHERE: Final = ""
_MOST_CHARACTERS: Final = 256  # of a set, to be compared one by one
_ROUND: Final = 16  # steps for each round of a repeated group, beside those for its characters

Item = tuple[object, Any]


class Shape(NamedTuple):
    """What of a pattern decides how long a search takes."""

    ways: float  # in how many ways its parts with an end can match at one place; infinite for nested repeats
    width: int  # characters that these take at most
    # The plain text at its beginning and behind each repeat without an end; "" where there is none: it may be anywhere.
    landmarks: tuple[str, ...]
    anchored: bool  # whether it can only match at the beginning

    @property
    def is_bounded(self) -> bool:
        """Whether some power of the text's length is a bound."""
        return not math.isinf(self.ways)

    def steps(self, text: str) -> float:
        """How many steps a search of this text takes, at most."""
        return self._steps(len(text), [_places(landmark, text) for landmark in self.landmarks])

    def length_within(self, steps: float) -> int:
        """Of what length texts take no more than so many steps whatever they hold; 0 where none are."""
        length = 0
        while self._steps(2 * length + 1, [2 * length + 2] * len(self.landmarks)) <= steps:
            length = 2 * length + 1
        return length

    def _steps(self, length: int, places_of: Sequence[int]) -> float:
        """For a text of that length, with each landmark at so many places."""
        if not self.is_bounded:
            return math.inf
        first, *others = places_of
        places = 1.0 if self.anchored else float(first)
        steps = 0.0
        for found in others:
            steps += places * (length + 1)
            places *= found
        return length + 1 + (steps + places * (self.width + 1)) * self.ways


@lru_cache(maxsize=256)
def shape_of(pattern: re.Pattern[str]) -> Shape:
    """That of a pattern."""
    from re import _parser  # type: ignore[attr-defined]  # re has no public way to look into a pattern

    walk = _Walk(pattern.flags)
    items = _parser.parse(pattern.pattern, pattern.flags & ~re.UNICODE)
    walk.sequence(items)
    begins = [str(value) for operator, value in items[:1] if str(operator) == "AT"]
    anchored = begins == ["AT_BEGINNING_STRING"] or (begins == ["AT_BEGINNING"] and not pattern.flags & re.MULTILINE)
    return Shape(walk.ways, walk.width, tuple(walk.landmarks), anchored)


class _Walk:
    """Goes through a parsed pattern, and counts."""

    def __init__(self, flags: int) -> None:
        self.ways = 1.0
        self.width = 0
        self.landmarks = [_ANYWHERE]
        self._flags = flags
        self._previous: tuple[str, Any] = "", None
        self._is_plain = not flags & re.IGNORECASE  # whether a literal is found as it stands
        self._grows = self._is_plain  # whether the next literal is a part of the last landmark

    def sequence(self, items: Iterable[Item]) -> None:
        for operator, value in items:
            name = str(operator)
            if name == "LITERAL" and self._grows:
                self.landmarks[-1] += chr(value)
            elif name != "SUBPATTERN":
                self._grows = False
            self._item(name, value)
            self._previous = name, value

    def _item(self, name: str, value: Any) -> None:
        if name in _ONE_CHARACTER:
            self.width += 1
        elif name in _REPEATS:
            self._repeat(*value)
        elif name == "SUBPATTERN":
            self._grows = self._grows and not value[1]
            self._is_plain = self._is_plain and not value[1]
            self.sequence(value[3])
        elif name == "ATOMIC_GROUP":
            self.sequence(value)
        elif name == "BRANCH":
            self._alternatives(value[1])
        elif name == "GROUPREF_EXISTS":
            self._alternatives([branch for branch in value[1:] if branch is not None])
        elif name in ("ASSERT", "ASSERT_NOT"):
            self.sequence(value[1])
            self._grows = False
        elif name == "GROUPREF":  # it is compared with as much as the group has matched
            self.landmarks.append(_ANYWHERE)
        elif name != "AT":
            self.ways = math.inf  # what a later Python may add

    def _repeat(self, least: int, most: Any, items: Sequence[Item]) -> None:
        is_endless = str(most) == "MAXREPEAT"
        inner = self._inner(items)
        is_fixed = inner.ways == 1 and len(inner.landmarks) == 1
        if is_endless:
            if not is_fixed and not _is_divided_in_one_way(items, self._flags):
                self.ways = math.inf
            if len(items) > 1 or str(items[0][0]) not in _ONE_CHARACTER:
                self.ways *= _ROUND
            self.width += inner.width * least
            if not self._goes_on(items):
                self.landmarks.append(_ANYWHERE)
            self._grows = self._is_plain
            return
        self.width += inner.width * most
        self.ways *= _power(inner.ways + 1, most) if inner.ways != 1 else most - least + 1
        self.landmarks += [_ANYWHERE] * (len(inner.landmarks) - 1) * min(most, 64)

    def _goes_on(self, items: Sequence[Item]) -> bool:
        """Whether rounds of these can only begin where the repeat before them had to end, as in \\w+(\\.\\w+)*."""
        repeated = _endlessly_repeated(self._previous)
        return repeated is not None and self._is_plain and _differ(repeated, next(iter(_flat(items))))

    def _alternatives(self, branches: Iterable[Iterable[Item]]) -> None:
        inner = [self._inner(branch) for branch in branches]
        self.ways *= sum(branch.ways for branch in inner) + 1
        self.width += max(branch.width for branch in inner)
        self.landmarks += [_ANYWHERE] * (max(len(branch.landmarks) for branch in inner) - 1)

    def _inner(self, items: Iterable[Item]) -> _Walk:
        inner = _Walk(self._flags | re.IGNORECASE)  # where it may be left out, no literal is a landmark
        inner.sequence(items)
        return inner


def _power(base: float, exponent: int) -> float:
    try:
        return base**exponent
    except OverflowError:
        return math.inf


def _places(landmark: str, text: str) -> int:
    """At how many places of the text it may be."""
    if landmark == _ANYWHERE:
        return len(text) + 1
    return text.count(landmark) * (len(landmark) if _overlaps_itself(landmark) else 1)


@lru_cache(maxsize=256)
def _overlaps_itself(landmark: str) -> bool:
    return any(landmark.startswith(landmark[start:]) for start in range(1, len(landmark)))


def _is_divided_in_one_way(items: Sequence[Item], flags: int) -> bool:
    """Whether a text can be divided into rounds of these items in one way only.

    So it is where all are single characters, or endless repeats of one that are followed by a character that they
    cannot match, in the next round if not in this one.
    """
    flat = list(_flat(items))
    if flags & re.IGNORECASE or any(name not in (*_ONE_CHARACTER, *_REPEATS) for name, _ in flat):
        return False
    for item, following in zip(flat, [*flat[1:], *flat[:1]], strict=True):
        repeated = _endlessly_repeated(item)
        if item[0] in _REPEATS and (repeated is None or not _differ(repeated, following)):
            return False
    return True


def _endlessly_repeated(item: tuple[str, Any]) -> tuple[str, Any] | None:
    """The single character that is repeated without end; None where the item is anything else."""
    name, value = item
    if name not in _REPEATS or str(value[1]) != "MAXREPEAT":
        return None
    inner = list(_flat(value[2]))
    return inner[0] if len(inner) == 1 and inner[0][0] in _ONE_CHARACTER else None


def _differ(one: tuple[str, Any], other: tuple[str, Any]) -> bool:
    """Whether both match a single character, and never the same one. No where that cannot be told."""
    for listed, compared in ((one, other), (other, one)):
        characters = _characters(*listed)
        if characters is not None and compared[0] in _ONE_CHARACTER:
            return not any(_matches(compared, character) for character in characters)
    return False


def _flat(items: Iterable[Item]) -> Iterable[tuple[str, Any]]:
    """The items, those of groups that change no flags in the place of these."""
    for operator, value in items:
        if str(operator) == "SUBPATTERN" and not value[1] and not value[2]:
            yield from _flat(value[3])
        else:
            yield str(operator), value


def _characters(name: str, value: Any) -> list[str] | None:
    """All characters that it matches; None where it is none, or where they are not listed one by one."""
    if name == "LITERAL":
        return [chr(value)]
    if name != "IN" or any(str(kind) not in ("LITERAL", "RANGE") for kind, _ in value):
        return None
    ranges = [range(its, its + 1) if str(kind) == "LITERAL" else range(its[0], its[1] + 1) for kind, its in value]
    if sum(map(len, ranges)) > _MOST_CHARACTERS:
        return None
    return [chr(code) for code in chain.from_iterable(ranges)]


def _matches(item: tuple[str, Any], character: str) -> bool:
    """Whether one that matches a single character matches this one; yes where that cannot be told."""
    name, value = item
    if name in ("LITERAL", "NOT_LITERAL"):
        return (chr(value) == character) == (name == "LITERAL")
    if name == "ANY":
        return True
    is_negated = any(str(kind) == "NEGATE" for kind, _ in value)
    found = any(_is_in(str(kind), its, character) for kind, its in value if str(kind) != "NEGATE")
    return found != is_negated


_CATEGORIES: Final = {"DIGIT": r"\d", "SPACE": r"\s", "WORD": r"\w"}


def _is_in(kind: str, its: Any, character: str) -> bool:
    if kind == "LITERAL":
        return chr(its) == character
    if kind == "RANGE":
        return bool(its[0] <= ord(character) <= its[1])
    _, _, category = str(its).partition("CATEGORY_")
    matched = re.match(_CATEGORIES[category.removeprefix("NOT_")], character) is not None
    return matched != category.startswith("NOT_")
