"""What the manual says, taken from the command line itself: each verb with its usage, page and options."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

from typer.main import get_command

from ctl.model.command_line import VERBS
from ctl.shell.pages import Page, page_of
from ctl.shell.parser import command_line
from ctl.shell.verb import OF_EVERY_VERB


class Option(NamedTuple):
    """An option or argument as it is written, `-n, --dry-run` or `[TARGET...]`, and what it means."""

    written: str
    meaning: str


class Chapter(NamedTuple):
    """All there is to say of a verb."""

    verb: str
    usage: str
    page: Page
    arguments: list[Option]
    options: list[Option]  # its own
    shared: list[Option]  # those of every verb that it takes, too


@cache
def chapters() -> list[Chapter]:
    """One for each verb, in the order of --help."""
    command: Any = get_command(command_line([]))
    above = command.make_context("ctl", [], resilient_parsing=True)
    return [_chapter(verb, command.commands[verb], above) for verb in VERBS]


def shared_options() -> list[Option]:
    """What every verb takes."""
    return max((chapter.shared for chapter in chapters()), key=len)


def _chapter(verb: str, own: Any, above: Any) -> Chapter:
    context = own.make_context(verb, [], parent=above, resilient_parsing=True)
    options: list[Option] = []
    shared: list[Option] = []
    arguments: list[Option] = []
    for parameter in own.get_params(context):
        record = parameter.get_help_record(context)
        if record is None:
            continue
        option = Option(record[0], " ".join(record[1].replace("[required]", "").split()))
        if parameter.param_type_name == "argument":
            arguments.append(option)
        else:
            (shared if parameter.name in (*OF_EVERY_VERB, "help") else options).append(option)
    usage = " ".join(["ctl", verb, *(piece.strip("{}") for piece in own.collect_usage_pieces(context))])
    return Chapter(verb, usage, _page_of(verb, own.callback.__doc__), arguments, options, shared)


def _page_of(verb: str, docstring: str | None) -> Page:
    try:
        return page_of(docstring)
    except (KeyError, ValueError) as error:
        raise ValueError(f"the exit codes in the docstring of {verb} cannot be read: {error}") from None
