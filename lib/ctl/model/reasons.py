"""Why a rule says what it says of a process, in words; and how near a process comes that no rule fits."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from ctl.model.explanation import RuleAnswer
from ctl.model.match import Found, Look, Marker, Rules, Unsearched, java_main
from ctl.model.service import Service
from ctl.model.verdict import NO, UNKNOWN, YES, Verdict

_READ_OF: Final = {
    "cmdline": "cmdline",
    "java_main": "cmdline",
    "executable": "exe",
    "marker": "environ",
    "user": "status",
}
_WORD: Final = re.compile(r"[A-Za-z0-9_]+(?:[.:@-][A-Za-z0-9_]+)*")
_LOOKED_AT: Final = 4096  # characters of a command line, when it is only a question of what comes near
_SHORTEST: Final = 4  # characters: what is shorter is near to everything
_LONGEST: Final = 80
_MOST: Final = 0.6  # of the words of the rules, which are in its arguments
_SHOWN: Final = 60
# What runs programs of every kind says nothing about which one it runs.
_INTERPRETERS: Final = re.compile(r"(env|sh|bash|dash|python[0-9.]*|perl|ruby|node|java|setpriv|su|sudo|nice|nohup)")


def answers(
    rules: Rules, look: Look, pid: int, wanted: Mapping[str, str], name_of: Callable[[int], str]
) -> dict[str, RuleAnswer]:
    """What each rule says and why. `wanted` is each rule as text; `name_of` knows the names of users."""
    found = _Found(rules, look, wanted, name_of)
    said: dict[str, RuleAnswer] = {}
    for name, verdict in rules.each(look).items():
        if verdict == UNKNOWN and name == "cmdline" and (unsearched := rules.why_unsearched(look)) is not None:
            why = unsearched
        elif verdict == UNKNOWN:
            is_blank = look.is_overwritten if name == "marker" else look.command_line == ""
            why = f"not allowed to read /proc/{pid}/{_READ_OF[name]}; try as root"
            why = "it has overwritten that" if is_blank and name != "user" else why
        else:
            why = getattr(found, name)(verdict == YES)
        said[name] = RuleAnswer(verdict, why)
    return said


class _Found:
    """What was found, rule by rule, in words."""

    def __init__(self, rules: Rules, look: Look, wanted: Mapping[str, str], name_of: Callable[[int], str]) -> None:
        self._rules, self._look, self._wanted, self._name_of = rules, look, wanted, name_of

    def user(self, holds: bool) -> str:
        name = self._name_of(self._look.uid or 0)
        return f"is {name}" if holds else f"is {name}, must be {self._name_of(self._rules.owner or 0)}"

    def cmdline(self, holds: bool) -> str:
        line = self._look.command_line or ""
        if holds and (found := self._found(line)) is not None:
            return f"finds {_quoted(found[0])}"
        if not line:
            return "it has no arguments"
        words = words_of_pattern(self._wanted["cmdline"])
        missing = [word for word in words if word not in line]
        if missing:
            return f"{_quoted(missing[0])} is not in its arguments"
        return "finds nothing in its arguments" + (", although its words are there" if words else "")

    def _found(self, line: str) -> Found | None:
        try:
            return self._rules.cmdline.search(line) if self._rules.cmdline is not None else None
        except Unsearched:
            return None

    def java_main(self, holds: bool) -> str:
        argv = self._look.argv or ()
        main = java_main(argv)
        if main is not None:
            return f"is {main}" if holds else f"its main class is {main}, must be {self._wanted['java_main']}"
        if argv and argv[0].rpartition("/")[2] == "java":
            return "its arguments name no main class (an @file may)"
        return "it is no JVM"

    def executable(self, holds: bool) -> str:
        path = self._look.executable
        return (
            f"is {path}"
            if path and holds
            else f"is {path}, must be {self._wanted['executable']}"
            if path
            else "it has none"
        )

    def marker(self, holds: bool) -> str:
        marker = self._look.marker or Marker()
        if not marker.target:
            return "has no CTL_TARGET in its environment"
        has = f"has CTL_TARGET={marker.target} CTL_RUN_DIR={marker.run_dir}"
        return has if holds else f"{has}, must be {self._wanted['marker']}"


def first_broken(said: Mapping[str, RuleAnswer], verdict: Verdict) -> str:
    """Which rules give this verdict, in words."""
    names = [name for name, answer in said.items() if answer.verdict == verdict]
    if verdict == NO:
        return f"{_listed(names)} {'say' if len(names) > 1 else 'says'} no"
    return f"{_listed(names)} cannot be judged"


# -- near misses


class Words(NamedTuple):
    """The words by which a process that no rule fits may still be known as the one that was meant."""

    program: frozenset[str]  # what start executes; one of them is enough
    rules: frozenset[str]  # what the rules hold; most of them must be there


def near_words(service: Service) -> Words:
    """Those of a service."""
    match = service.match
    words = set(words_of_pattern(match.cmdline)) if match.cmdline else set()
    if match.java_main:
        words.add(match.java_main)
    if match.executable:
        words |= set(_WORD.findall(match.executable.rpartition("/")[2]))
    programs = _programs(service.start.command) if service.start is not None else set()
    return Words(_useful(programs), _useful(words))


def nearness(said: Mapping[str, Verdict], words: Words, line: str) -> float:
    """How near a process comes: first how many rules say yes, other than that of the user, then what it is called.

    0.0 for one that has nothing in common with the service.
    """
    holding = sum(verdict == YES for name, verdict in said.items() if name != "user")
    near = holding * 4.0
    line = line[:_LOOKED_AT]
    if any(word in line for word in words.program):
        near += 1.5
    there = sum(word in line for word in words.rules) / (len(words.rules) or 1)
    if there >= _MOST:
        near += there * 2
    return near + (said.get("user") == YES) * 0.5 if near else 0.0


def words_of_pattern(pattern: str) -> list[str]:
    """The plain words in a regular expression."""
    plain = re.sub(r"\\([^A-Za-z0-9])", r"\1", pattern)
    plain = re.sub(r"\(\?<?[=!][^)]*\)|\(\?P<\w+>|\(\?[a-zA-Z-]*:?|\[[^\]]*\]|\\[A-Za-z0-9]|[*+?|(){}^$]", " ", plain)
    return [word for word in _WORD.findall(plain) if len(word) >= _SHORTEST]


def _useful(words: Iterable[str]) -> frozenset[str]:
    return frozenset(word for word in words if _SHORTEST <= len(word) <= _LONGEST)


def _programs(command: Sequence[str]) -> set[str]:
    """What is executed: the program, or what an interpreter was told to run."""
    paths = [word.rpartition("/")[2] for word in command if "/" in word] or list(command[:1])
    named = [path for path in paths if not _INTERPRETERS.fullmatch(path)]
    main = java_main(command)
    return {*named[:1], *([main] if main else [])}


def _quoted(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "...")


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else "a rule"
