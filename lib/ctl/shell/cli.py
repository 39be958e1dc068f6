"""The command line: finds the verb that is called, and turns every way in which it can end into an exit status."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from typing import Annotated

import typer
from typer.core import TyperCommand, TyperGroup
from typer.exceptions import TyperException

from ctl.model.errors import CtlError
from ctl.shell.session import Session, interrupts
from ctl.system.environment import variable
from ctl.system.streams import flush_stdout, open_missing, write_err, write_out

# Each is a function of that name in ctl.shell.commands.
VERBS = (
    "start", "run", "stop", "kill", "restart", "reload", "pause", "resume", "status", "wait", "explain", "logs",
    "events", "check", "doctor", "completion",
)  # fmt: skip


def main() -> int:
    """Run ctl on sys.argv. Returns the exit status."""
    open_missing()
    interrupts.install()
    arguments = sys.argv[1:]
    if not arguments and (shell := variable("_CTL_COMPLETE")):
        from ctl.shell.completion import complete

        return _flushed(complete(shell, VERBS, _command))
    try:
        # complete_var: without one, Typer's own completion never answers in the place of a verb.
        code = command_line(arguments)(args=arguments, prog_name="ctl", standalone_mode=False, complete_var="")
    except TyperException as error:
        code = _usage(error, arguments)
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    except Exception as error:  # noqa: BLE001 - the last line of defence: a fault of ours is one line too
        code = _fault(error, arguments)
    return _flushed(int(code or 0))


def command_line(arguments: list[str]) -> typer.Typer:
    """Of its verbs only the one that is called, for building them all takes longer than most do; without one, all."""
    verb = _verb(arguments)
    group, command = (None, None) if verb and not {"-h", "--help"}.intersection(arguments) else _paged()
    app = typer.Typer(
        add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True, cls=group,
        context_settings={"help_option_names": ["-h", "--help"]},
    )  # fmt: skip
    app.callback()(_ctl)
    for name in [verb] if verb else VERBS:
        app.command(name, cls=command)(_command(name))
    return app


def _paged() -> tuple[type[TyperGroup], type[TyperCommand]]:
    """The kinds of command whose --help shows all that there is to say."""
    from ctl.shell.pages import PagedCommand, PagedGroup

    return PagedGroup, PagedCommand


def _command(name: str) -> Callable[..., int]:
    command: Callable[..., int] = getattr(import_module(f"ctl.shell.commands.{name}"), name)
    return command


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
    verb = _verb(arguments)
    what = error.format_message().rstrip(".")
    return _fail(CtlError("usage", what, where=f"see ctl {verb} --help" if verb else "see ctl --help"), arguments)


def _fault(error: Exception, arguments: list[str]) -> int:
    import traceback

    if variable("CTL_DEBUG"):
        traceback.print_exception(error)
    frame = traceback.extract_tb(error.__traceback__)[-1]
    what = f"a fault in ctl itself: {type(error).__name__}: {error}"
    where = f"{frame.filename}:{frame.lineno}; CTL_DEBUG=1 shows the trace"
    return _fail(CtlError("internal", what, where=where), arguments)


def _fail(error: CtlError, arguments: list[str]) -> int:
    as_json = "--json" in arguments
    session = Session(verb=_verb(arguments), conf=None, run_dir=None, as_json=as_json, quiet=False, verbose=False)
    return session.fail(error)


def _verb(arguments: list[str]) -> str:
    return arguments[0] if arguments and arguments[0] in VERBS else ""


def _flushed(code: int) -> int:
    problem = flush_stdout()
    if problem is not None:
        write_err(f"ctl: cannot write the result: {problem}")
        return code or 1
    return code
