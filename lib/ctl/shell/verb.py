"""What all verbs share on the command line: five options, and one place where an error ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from ctl.model.command_line import FLAGS, VERBS
from ctl.model.errors import CtlError
from ctl.shell.session import Session


class Verb:
    """A function that acts for a Session, its first parameter, and returns the exit status."""

    def __init__(self, function: Callable[..., int]) -> None:
        self.function = function
        self.name = function.__name__
        self.__doc__ = function.__doc__

    def run(
        self,
        *,
        conf: Path | None = None,
        run_dir: Path | None = None,
        as_json: bool = False,
        quiet: bool = False,
        verbose: bool = False,
        **given: Any,
    ) -> int:
        """With the options that every verb takes in the place of the Session. Returns the exit status."""
        session = Session(
            verb=self.name, conf=conf, run_dir=run_dir, as_json=as_json, quiet=quiet, verbose=verbose,
            dry_run=given.get("dry_run", False),
        )  # fmt: skip
        try:
            return self.function(session, **given)
        except CtlError as error:
            if error.reason == "usage" and error.where is None:
                error.where = page_of(self.name)
            return session.fail(error)

    def understands(self, words: Sequence[str]) -> dict[str, Any] | None:
        """What `run` is to be given for these words, where they are but targets and flags; None for all else.

        This fast path exists because importing Typer takes longer than most calls do (`bin/bench startup`).
        """
        code = self.function.__code__
        parameters = code.co_varnames[1 : code.co_argcount]
        if parameters[:1] != ("targets",):
            return None
        known = {name: flag for flag in (*OF_EVERY_VERB, *parameters) for name in FLAGS.get(flag, ())}
        given: dict[str, Any] = {known[word]: True for word in words if word in known}
        targets = [word for word in words if word not in known]
        if any(word.startswith("-") for word in targets):
            return None
        has_default = len(self.function.__defaults__ or ()) == len(parameters)
        if not targets and not has_default:
            return None
        return given | {"targets": targets or None}


OF_EVERY_VERB: Final = tuple(Verb.run.__kwdefaults__ or ())  # conf, run_dir, as_json, quiet, verbose


def verb(function: Callable[..., int]) -> Verb:
    return Verb(function)


def find(name: str) -> Any:
    """The Verb of that name; completion, which takes none of the options, is but a function."""
    return getattr(import_module(f"ctl.shell.commands.{name}"), name)


def name_in(arguments: Sequence[str]) -> str:
    """The verb that these arguments begin with; empty where they begin with none."""
    return arguments[0] if arguments and arguments[0] in VERBS else ""


def page_of(name: str) -> str:
    """Where it is told how a verb is called."""
    return f"see ctl {name} --help" if name else "see ctl --help"


def fail(error: CtlError, arguments: Sequence[str]) -> int:
    """Tell of an error for which there is no Session yet. Returns the exit status."""
    as_json = "--json" in arguments
    session = Session(verb=name_in(arguments), conf=None, run_dir=None, as_json=as_json, quiet=False, verbose=False)
    return session.fail(error)
