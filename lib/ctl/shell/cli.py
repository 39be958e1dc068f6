"""The command line: turns arguments into explicit parameters of the verbs, and their outcomes into an exit status."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from typer.exceptions import TyperException

from ctl.model.errors import CtlError
from ctl.shell.options import (
    AnyTargets,
    Conf,
    DryRun,
    ExpectPid,
    Grace,
    Json,
    LockTimeout,
    Pid,
    Quiet,
    RunDir,
    ScheduleOption,
    Target,
    Targets,
    Timeout,
    Verbose,
)
from ctl.shell.session import Session, resolve
from ctl.system.environment import variable
from ctl.system.interrupts import Interrupts
from ctl.system.streams import flush_stdout, open_missing, write_err, write_out

interrupts = Interrupts()


def start(
    targets: Targets, timeout: Timeout = None, dry_run: DryRun = False, lock_timeout: LockTimeout = 60.0,
    conf: Conf = None, run_dir: RunDir = None, as_json: Json = False, quiet: Quiet = False, verbose: Verbose = False,
) -> int:  # fmt: skip
    """Start services, and wait until they are ready. One that runs already is left alone."""
    from ctl.verbs.start import StartOptions
    from ctl.verbs.start import start as verb

    options = StartOptions(timeout=timeout, lock_timeout=lock_timeout, dry_run=dry_run)
    session = _session("start", conf, run_dir, as_json, quiet, verbose)
    return _answer(session, lambda: session.act(targets, lambda host: lambda service: verb(service, host, options)))


def run(
    target: Target,
    lock_timeout: LockTimeout = 60.0,
    conf: Conf = None, run_dir: RunDir = None, as_json: Json = False, quiet: Quiet = False, verbose: Verbose = False,
) -> int:  # fmt: skip
    """Start a service in the foreground. This process becomes it: for containers and for units of Type=exec."""
    from ctl.verbs.run import run as verb

    session = _session("run", conf, run_dir, as_json, quiet, verbose)

    def become() -> int:
        host = session.host()
        try:
            verb(resolve(host, [target])[0], host, lock_timeout)
        except CtlError as error:
            error.target = target
            raise

    return _answer(session, become)


def stop(
    targets: Targets, schedule: ScheduleOption = None, grace: Grace = None, pid: Pid = None,
    expect_pid: ExpectPid = None, dry_run: DryRun = False, lock_timeout: LockTimeout = 60.0,
    conf: Conf = None, run_dir: RunDir = None, as_json: Json = False, quiet: Quiet = False, verbose: Verbose = False,
) -> int:  # fmt: skip
    """Stop services, and wait until they are gone. Each by its own schedule; one that does not run is left alone."""
    from ctl.verbs.stop import StopOptions
    from ctl.verbs.stop import stop as verb

    options = StopOptions(
        schedule=schedule, grace=grace, pid=pid, expect_pid=expect_pid, lock_timeout=lock_timeout, dry_run=dry_run
    )
    _require_one(targets, pid, expect_pid)
    session = _session("stop", conf, run_dir, as_json, quiet, verbose)
    return _answer(session, lambda: session.act(targets, lambda host: lambda service: verb(service, host, options)))


def kill(
    targets: Targets, pid: Pid = None, expect_pid: ExpectPid = None, dry_run: DryRun = False,
    conf: Conf = None, run_dir: RunDir = None, as_json: Json = False, quiet: Quiet = False, verbose: Verbose = False,
) -> int:  # fmt: skip
    """Kill services and all their processes at once. It waits for no other ctl, and cuts its work short."""
    from ctl.verbs.stop import StopOptions
    from ctl.verbs.stop import kill as verb

    options = StopOptions(pid=pid, expect_pid=expect_pid, dry_run=dry_run)
    _require_one(targets, pid, expect_pid)
    session = _session("kill", conf, run_dir, as_json, quiet, verbose)
    return _answer(session, lambda: session.act(targets, lambda host: lambda service: verb(service, host, options)))


def restart(
    targets: Targets, schedule: ScheduleOption = None, grace: Grace = None, timeout: Timeout = None,
    expect_pid: ExpectPid = None, dry_run: DryRun = False, lock_timeout: LockTimeout = 60.0,
    conf: Conf = None, run_dir: RunDir = None, as_json: Json = False, quiet: Quiet = False, verbose: Verbose = False,
) -> int:  # fmt: skip
    """Stop services that run, and start them. What could not be started is not stopped."""
    from ctl.verbs.restart import restart as verb
    from ctl.verbs.start import StartOptions
    from ctl.verbs.stop import StopOptions

    stopping = StopOptions(
        schedule=schedule, grace=grace, expect_pid=expect_pid, lock_timeout=lock_timeout, dry_run=dry_run
    )
    starting = StartOptions(timeout=timeout, lock_timeout=lock_timeout)
    _require_one(targets, None, expect_pid)
    session = _session("restart", conf, run_dir, as_json, quiet, verbose)
    return _answer(
        session, lambda: session.act(targets, lambda host: lambda service: verb(service, host, stopping, starting))
    )


def status(
    targets: AnyTargets = None, pid: Pid = None,
    conf: Conf = None, run_dir: RunDir = None, as_json: Json = False, quiet: Quiet = False, verbose: Verbose = False,
) -> int:  # fmt: skip
    """Show what services are doing. Exits with 0 running, 1 dead but its pid file remains, 3 not running, 4 unknown."""
    from ctl.verbs.status import status_of_all, status_of_each

    _require_one(targets or [], pid, None)
    session = _session("status", conf, run_dir, as_json, quiet, verbose)

    def show() -> int:
        host = session.host()
        if not targets:
            statuses = status_of_all(host)
            session.show(statuses, one_line_each=True)
            return 4 if any(status.state == "unknown" for status in statuses) else 0
        try:
            services = resolve(host, targets)
        except CtlError as error:
            session.fail(error)
            return 4  # LSB: its status is unknown
        statuses = status_of_each(services, host, pid)
        session.show(statuses, one_line_each=len(statuses) > 1)
        return max(status.exit_code for status in statuses)

    return _answer(session, show)


_VERBS: dict[str, Callable[..., int]] = {
    "start": start,
    "run": run,
    "stop": stop,
    "kill": kill,
    "restart": restart,
    "status": status,
}


def main() -> int:
    """Run ctl on sys.argv. Returns the exit status."""
    open_missing()
    interrupts.install()
    arguments = sys.argv[1:]
    try:
        code = _app(arguments)(args=arguments, prog_name="ctl", standalone_mode=False)
    except TyperException as error:
        code = _usage(error, arguments)
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    except Exception as error:  # noqa: BLE001 - the last line of defence: a fault of ours is one line too
        code = _fault(error)
    return _flushed(int(code or 0))


def _app(arguments: list[str]) -> typer.Typer:
    """The command line; of its verbs only the one that is called, for building them all takes longer than most do."""
    app = typer.Typer(
        add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"]},
    )  # fmt: skip
    app.callback()(_ctl)
    called = [arguments[0]] if arguments and arguments[0] in _VERBS else list(_VERBS)
    for name in called:
        app.command(name)(_VERBS[name])
    return app


def _ctl(
    show_version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
) -> None:
    """Start, stop and kill services, and never signal the wrong process.

    Exit status: 0 done, or already so; 1 failed; 2 usage; 4 insufficient privilege; 5 unknown target, or its program
    is not installed; 6 bad configuration; 7 not running; 130, 143 interrupted; 150 still alive after the whole
    schedule; 151 not ready in time, or died while starting; 152 identity unknown, mismatched or ambiguous; 153 busy;
    199 a fault in ctl itself.
    """
    if show_version:
        from importlib.metadata import version

        write_out(version("ctl"))
        raise typer.Exit


def _session(verb: str, conf: Path | None, run_dir: Path | None, as_json: bool, quiet: bool, verbose: bool) -> Session:
    return Session(
        verb=verb, interrupts=interrupts, conf=conf, run_dir=run_dir, as_json=as_json, quiet=quiet, verbose=verbose
    )


def _answer(session: Session, work: Callable[[], int]) -> int:
    try:
        return work()
    except CtlError as error:
        return session.fail(error)


def _require_one(targets: list[str], pid: int | None, expect_pid: int | None) -> None:
    """A pid names one process, so it goes with one target."""
    for option, value in (("--pid", pid), ("--expect-pid", expect_pid)):
        if value is not None and len(targets) != 1:
            raise typer.BadParameter(f"{option} goes with one target, not with {len(targets)}")


def _usage(error: TyperException, arguments: list[str]) -> int:
    verb = arguments[0] if arguments and arguments[0] in _VERBS else None
    if type(error).__name__ == "NoArgsIsHelpError":
        write_err(error.format_message())
        return 2
    fault = CtlError(
        "usage", error.format_message().rstrip("."), where=f"see ctl {verb} --help" if verb else "see ctl --help"
    )
    return _session(verb or "", None, None, "--json" in arguments, False, False).fail(fault)


def _fault(error: Exception) -> int:
    import traceback

    if variable("CTL_DEBUG"):
        traceback.print_exception(error)
    frame = traceback.extract_tb(error.__traceback__)[-1]
    write_err(
        f"ctl: a fault in ctl itself: {type(error).__name__}: {error} "
        f"({frame.filename}:{frame.lineno}; with CTL_DEBUG=1 the whole trace is shown)"
    )
    return 199


def _flushed(code: int) -> int:
    problem = flush_stdout()
    if problem is not None:
        write_err(f"ctl: cannot write the result: {problem}")
        return code or 1
    return code
