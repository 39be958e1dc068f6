"""What all verbs share on the command line: five options, and one place where an error ends."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

from ctl.model.errors import CtlError
from ctl.shell.options import Conf, Json, Quiet, RunDir, Verbose
from ctl.shell.session import Session


def verb(function: Callable[..., int]) -> Callable[..., int]:
    """A command for Typer from a function whose first parameter is its Session.

    The command has the options that every verb takes in the place of that parameter. It returns the exit status.
    """

    @wraps(function)
    def command(
        *arguments: Any,
        conf: Path | None,
        run_dir: Path | None,
        as_json: bool,
        quiet: bool,
        verbose: bool,
        **given: Any,
    ) -> int:
        session = Session(
            verb=function.__name__,
            conf=conf,
            run_dir=run_dir,
            as_json=as_json,
            quiet=quiet,
            verbose=verbose,
            dry_run=given.get("dry_run", False),
        )
        try:
            return function(session, *arguments, **given)
        except CtlError as error:
            return session.fail(error)

    own = inspect.signature(function, eval_str=True)
    shared = inspect.signature(_shared, eval_str=True)
    parameters = [*list(own.parameters.values())[1:], *shared.parameters.values()]
    command.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command


def _shared(
    *, conf: Conf = None, run_dir: RunDir = None, as_json: Json = False, quiet: Quiet = False, verbose: Verbose = False
) -> None:
    """The options that every verb takes."""
