"""What is read without Typer is read as Typer reads it."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from typer.main import get_command

from ctl.model.command_line import FLAGS, VERBS
from ctl.shell.parser import command_line
from ctl.shell.verb import Verb, find

WORDS = [
    *(name for names in FLAGS.values() for name in names),
    *("web", "worker@", "worker@1", "", "-", "--", "a=b", "--help", "-h", "--version"),
    *("--js", "--json=1", "-qv", "-n3", "--no-json", "--grace", "--pid", "--conf", "--for", "-f", "--", "-x"),
]
OF_TARGETS = sorted(set(VERBS) - {"run", "completion"})


def parsed(name: str, words: list[str]) -> dict[str, Any]:
    """What Typer gives the verb. Raises where it gives an error."""
    command: Any = COMMANDS[name]
    given: dict[str, Any] = command.make_context(name, words).params
    return given


COMMANDS = {name: get_command(command_line([name])).commands[name] for name in VERBS}  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", OF_TARGETS)
def test_it_is_understood_as_typer_does(name: str) -> None:
    """All words that there are, and all pairs of them."""
    verb = find(name)
    assert isinstance(verb, Verb)
    defaults = parsed(name, ["web"])
    understood = 0
    for words in ([], *([word] for word in WORDS), *map(list, product(WORDS, repeat=2))):
        if (given := verb.understands(words)) is not None:
            understood += 1
            typers = parsed(name, list(words))
            assert {**defaults, **given} == {**typers, "targets": list(typers["targets"] or ()) or None}, words
    assert understood > 50


@pytest.mark.parametrize("name", ["start", "kill", "restart", "status"])
@pytest.mark.parametrize("flags", [[], ["--json"], ["-q"], ["--verbose"]])
def test_how_it_is_called_most_is_understood(name: str, flags: list[str]) -> None:
    assert find(name).understands(["web", *flags, "worker@1"]) is not None


@pytest.mark.parametrize("name", ["start", "reload", "pause", "resume", "wait", "explain", "logs"])
def test_that_a_target_is_missing_is_left_to_typer(name: str) -> None:
    assert find(name).understands([]) is None
    assert find(name).understands(["--json"]) is None


@pytest.mark.parametrize("name", ["stop", "kill", "restart", "status", "check", "doctor", "events"])
def test_one_that_needs_no_target_is_understood(name: str) -> None:
    """That kill and restart want --all then, they say themselves."""
    assert find(name).understands([]) == {"targets": None}
