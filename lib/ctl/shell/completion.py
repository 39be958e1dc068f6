"""What the shell offers when a person types Tab: quick, without any effect, and silent whatever is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from ctl.model.command_line import VERBS
from ctl.shell.verb import find
from ctl.system.config import load_config
from ctl.system.environment import variable
from ctl.system.names import target_names
from ctl.system.streams import write_out

DIRECTORIES = "/directories"  # no word of ours has a slash: the script asks its shell for directories
_VALUES = {"--conf": (DIRECTORIES,), "--run-dir": (DIRECTORIES,)}


class Word(NamedTuple):
    """What may be typed, and what it means."""

    text: str
    meaning: str = ""


_HELP = Word("--help", "Show this message and exit")
_TOP = [_HELP, Word("--version", "Show the version")]


class Typed(NamedTuple):
    """What stands before the word that is being typed."""

    arguments: list[str]  # that are no options, the verb left out
    options: dict[str, str]  # each with its value, which is empty for one that takes none
    awaited: str  # the option whose value comes next; empty where none does


def script(shell: str) -> str:
    """The script that makes this shell complete ctl's words."""
    return (Path(__file__).parent / "scripts" / f"ctl.{shell}").read_text(encoding="utf-8").rstrip("\n")


def complete(shell: str) -> int:
    """Print the words that fit, for the script of that shell.

    Always returns 0: whatever is wrong, it will be told when the line is executed.
    """
    try:
        line = variable("_CTL_LINE") or ""
        words = _split(line) if shell == "bash" else line.split("\n")
        *before, current = words[1:]
        fitting: list[Word] = []
        if not before:
            fitting = _verbs(shell) if current[:1] != "-" else _TOP
        elif before[0] in VERBS:
            fitting = _words_of(before[1:], current, before[0])
        for word in fitting:
            if word.text == DIRECTORIES or word.text.startswith(current):
                write_out(_shown(word, current, shell))
    except Exception:  # noqa: BLE001 - a person is typing: no trace may get between
        return 0
    return 0


def _split(line: str) -> list[str]:
    """The words of a command line that may end in the middle of one, which is the last; bash gives no better."""
    import shlex

    lexer = shlex.shlex(line, posix=True, punctuation_chars=False)
    lexer.whitespace_split, lexer.commenters = True, ""
    words: list[str] = []
    try:
        words.extend(lexer)
    except ValueError:  # a quote that is not closed yet
        return [*words, lexer.token]
    return [*words, ""] if line[-1:].isspace() else words


def _shown(word: Word, typed: str, shell: str) -> str:
    if shell == "bash":
        # bash replaces only what follows the last character at which it breaks words, such as = and :, and an @ itself:
        # of those characters, readline leaves rl_special_prefixes in the word.
        breaks = (variable("_CTL_BREAKS") or "").translate({ord(quote): None for quote in "\"'"})
        kept = max((typed.rfind(char) + (char not in "@$") for char in breaks if char in typed), default=0)
        return word.text[kept:] if word.text.startswith(typed[:kept]) else word.text
    return f"{word.text}\t{word.meaning}" if word.meaning else word.text


def _verbs(shell: str) -> list[Word]:
    """What each verb does takes importing them all, and bash has no place to show it."""
    return [Word(verb, "" if shell == "bash" else _first_sentence(find(verb).__doc__)) for verb in VERBS]


def _words_of(before: list[str], current: str, verb: str) -> list[Word]:
    """The words that may stand after a verb, in the place of the one that is being typed."""
    command = _click_command(verb)
    options = {name: option for option in command.params if option.param_type_name == "option" for name in option.opts}
    typed = _typed(before, options)
    option, equals, _ = current.partition("=")
    if typed.awaited:
        return _values(typed.awaited, options)
    if equals and option in options:
        words = _values(option, options)
        return [word if word.text == DIRECTORIES else Word(f"{option}={word.text}") for word in words]
    return _options(options, typed) if current.startswith("-") else _arguments(command, typed, current)


def _click_command(verb: str) -> Any:
    import typer

    from ctl.shell.parser import command_of

    app = typer.Typer(add_completion=False)
    app.command()(command_of(find(verb)))
    return typer.main.get_command(app)


def _options(options: dict[str, Any], typed: Typed) -> list[Word]:
    """Those that are not given yet, by their long names."""
    given = {id(options[name]) for name in typed.options}
    left = {id(option): option for option in options.values() if id(option) not in given}
    words = [Word(max(option.opts, key=len), _first_sentence(option.help)) for option in left.values()]
    return [*words, _HELP]


def _typed(before: list[str], options: dict[str, Any]) -> Typed:
    arguments: list[str] = []
    given: dict[str, str] = {}
    awaited = ""
    for word in before:
        if awaited:
            given[awaited] = word
            awaited = ""
            continue
        name, equals, value = word.partition("=")
        if name not in options:
            arguments += [] if word.startswith("-") else [word]
        elif equals or options[name].is_flag:
            given[name] = value
        else:
            awaited = name
    return Typed(arguments, given, awaited)


def _values(option: str, options: dict[str, Any]) -> list[Word]:
    """What can be the value of this option; nothing where it may be anything."""
    choices = getattr(options[option].type, "choices", ()) if option in options else ()
    return [Word(str(getattr(choice, "value", choice))) for choice in _VALUES.get(option, choices)]


def _arguments(command: Any, typed: Typed, current: str) -> list[Word]:
    argument = next((given for given in command.params if given.param_type_name == "argument"), None)
    if argument is None or (argument.nargs != -1 and typed.arguments):
        return []
    choices = getattr(argument.type, "choices", ())
    if choices:
        return [Word(str(getattr(choice, "value", choice))) for choice in choices]
    if "TARGET" not in (argument.metavar or ""):
        return []
    config = load_config(_path(typed, "--conf"), _path(typed, "--run-dir"))
    # A template's name that is there already adds nothing: an instance's follows it.
    done = {*typed.arguments, current if current.endswith("@") else ""}
    return [Word(name) for name in target_names(config) if name not in done]


def _path(typed: Typed, option: str) -> Path | None:
    """The directory, written as for a shell."""
    return Path(typed.options[option]).expanduser() if typed.options.get(option) else None


def _first_sentence(text: str | None) -> str:
    return (text or "").partition(". ")[0].rstrip(".")
