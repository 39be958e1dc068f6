"""The command line: finds the verb that is called, and turns every way in which it can end into an exit status."""

from __future__ import annotations

import sys

from ctl.shell.session import interrupts
from ctl.shell.verb import Verb, fail, find, name_in
from ctl.system.environment import variable
from ctl.system.streams import flush_stdout, open_missing, write_err


def main() -> int:
    """Run ctl on sys.argv. Returns the exit status."""
    arguments = sys.argv[1:]
    try:
        open_missing()
        interrupts.install()
        if not arguments and (shell := variable("_CTL_COMPLETE")):
            from ctl.shell.completion import complete

            return _flushed(complete(shell))
        code = _call(arguments)
    except KeyboardInterrupt:
        code = 130
    except ImportError:  # who has launched ctl knows what fixes that
        raise
    except Exception as error:  # noqa: BLE001 - the last line of defence: a fault of ours is one line too
        from ctl.system.failure import as_ctl_error

        code = fail(as_ctl_error(error), arguments)
    return _flushed(code)


def _call(arguments: list[str]) -> int:
    """By Typer only where it is needed: importing it takes longer than most verbs do."""
    if name := name_in(arguments):
        verb = find(name)
        if isinstance(verb, Verb) and (given := verb.understands(arguments[1:])) is not None:
            return verb.run(**given)
    from ctl.shell.parser import call

    return call(arguments)


def _flushed(code: int) -> int:
    problem = flush_stdout()
    if problem is not None:
        write_err(f"ctl: cannot write the result: {problem}")
        return code or 1
    return code
