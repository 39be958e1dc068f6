"""The command line as Typer reads it: all that is more than targets and flags, --help, and what is wrong."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.exceptions import TyperException

from ctl.model.command_line import VERBS
from ctl.model.errors import CtlError
from ctl.shell import options
from ctl.shell.options import BadValue, Conf, Json, Quiet, RunDir, Verbose
from ctl.shell.verb import Verb, fail, find, name_in, page_of
from ctl.system.streams import write_err, write_out


def call(arguments: list[str]) -> int:
    """Run the verb that is called with these arguments, or say what is wrong with them. Returns the exit status."""
    try:
        # complete_var: without one, Typer's own completion never answers in the place of a verb.
        code = command_line(arguments)(args=arguments, prog_name="ctl", standalone_mode=False, complete_var="")
    except TyperException as error:
        return _usage(error, arguments)
    except typer.Abort:
        return 130
    return int(code or 0)


def command_line(arguments: Sequence[str]) -> typer.Typer:
    """Of its verbs only the one that is called, for building them all takes longer than most do; without one, all."""
    verb = name_in(arguments)
    group, command = (None, None) if verb and not {"-h", "--help"}.intersection(arguments) else _paged()
    app = typer.Typer(
        add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True, cls=group,
        context_settings={"help_option_names": ["-h", "--help"]},
    )  # fmt: skip
    app.callback()(_ctl)
    for name in [verb] if verb else VERBS:
        app.command(name, cls=command)(command_of(find(name)))
    return app


def command_of(verb: Verb | Callable[..., int]) -> Callable[..., int]:
    """What Typer takes for a command: a function whose signature tells all its options."""
    if not isinstance(verb, Verb):
        return verb

    def command(**given: Any) -> int:
        return verb.run(**given)

    own = inspect.signature(verb.function, eval_str=True, locals=vars(options))
    shared = inspect.signature(_shared, eval_str=True)
    parameters = [*list(own.parameters.values())[1:], *shared.parameters.values()]
    command.__doc__ = verb.__doc__
    command.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command


def _shared(
    *, conf: Conf = None, run_dir: RunDir = None, as_json: Json = False, quiet: Quiet = False, verbose: Verbose = False
) -> None:
    """The options that every verb takes."""


def _paged() -> tuple[type[TyperGroup], type[TyperCommand]]:
    """The kinds of command whose --help shows all that there is to say."""
    from ctl.shell.pages import PagedCommand, PagedGroup

    return PagedGroup, PagedCommand


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        write_out(version("ctl"))
        raise typer.Exit


def _ctl(
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Start, stop and kill services, and never signal the wrong process."""


def _usage(error: TyperException, arguments: list[str]) -> int:
    if type(error).__name__ == "NoArgsIsHelpError":
        write_err(error.format_message())
        return 2
    what = error.format_message().rstrip(".")
    fix = error.fix if isinstance(error, BadValue) else None
    return fail(CtlError("usage", what, where=page_of(name_in(arguments)), fix=fix), arguments)
