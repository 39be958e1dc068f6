"""What the verbs' options are called, and what they take. Each bad value is one line that says what would be right."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from ctl.model.identity import LARGEST_PID
from ctl.model.schedule import LONGEST_WAIT, BadSchedule, Schedule, parse_schedule


def _schedule(text: str) -> Schedule:
    try:
        return parse_schedule(text)
    except BadSchedule as error:
        raise typer.BadParameter(f"{text!r} {error}") from None


def _seconds(text: str | float) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= LONGEST_WAIT:
        raise typer.BadParameter(f"{text!r} is no number of seconds from 0 to {LONGEST_WAIT:.0f}, which is a week")
    return seconds


def _directory(text: str) -> Path:
    if not text:
        raise typer.BadParameter("it is empty, where the path of a directory belongs")
    return Path(text)


Target = Annotated[str, typer.Argument(metavar="TARGET", help="The service, by its name.")]
Targets = Annotated[list[str], typer.Argument(metavar="TARGET...", help="Services, by their names.")]
AnyTargets = Annotated[
    list[str] | None, typer.Argument(metavar="[TARGET...]", help="Services, by their names; all if none is named.")
]
Conf = Annotated[
    Path | None,
    typer.Option("--conf", metavar="DIR", parser=_directory, help="Conf directory. [$CTL_CONF, /etc/ctl]"),
]
RunDir = Annotated[
    Path | None,
    typer.Option("--run-dir", metavar="DIR", parser=_directory, help="Run directory. [$CTL_RUN_DIR, /run/ctl]"),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print no results; only what went wrong.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say what is being done.")]
DryRun = Annotated[bool, typer.Option("--dry-run", "-n", help="Show the whole plan; do nothing.")]
LockTimeout = Annotated[
    float,
    typer.Option(
        "--lock-timeout", metavar="S", parser=_seconds, help="Seconds to wait for another ctl on the same target."
    ),
]
ExpectPid = Annotated[
    int | None,
    typer.Option("--expect-pid", metavar="PID", min=1, max=LARGEST_PID, help="Refuse unless this is the main process."),
]
Pid = Annotated[
    int | None,
    typer.Option("--pid", metavar="PID", min=2, max=LARGEST_PID, help="This process, if it proves to be the service."),
]
Grace = Annotated[
    float | None,
    typer.Option("--grace", metavar="S", parser=_seconds, help="Seconds after the first signal before KILL."),
]
Timeout = Annotated[
    float | None,
    typer.Option("--timeout", metavar="S", parser=_seconds, help="Seconds to become ready. [ready.timeout]"),
]
WaitTimeout = Annotated[
    float | None,
    typer.Option("--timeout", metavar="S", parser=_seconds, help="Seconds to wait. [no limit]"),
]
ScheduleOption = Annotated[
    Schedule | None,
    typer.Option("--schedule", metavar="SPEC", parser=_schedule, help="Signals and seconds: TERM/30/KILL/5."),
]
Rolling = Annotated[
    int | None,
    typer.Option("--rolling", metavar="N", min=1, help="N at a time, in the order given. [all at once]"),
]
MaxFailures = Annotated[
    int | None,
    typer.Option("--max-failures", metavar="M", min=1, help="With --rolling: after M failures begin no more. [1]"),
]


def require_one_schedule(schedule: Schedule | None, grace: float | None) -> None:
    """--grace is short for a schedule. Raises BadParameter where both are given."""
    if schedule is not None and grace is not None:
        raise typer.BadParameter("--grace and --schedule contradict each other: give one of them")


def require_one(targets: list[str], pid: int | None, expect_pid: int | None) -> None:
    """A pid names one process, so it goes with one target. Raises BadParameter."""
    for option, value in (("--pid", pid), ("--expect-pid", expect_pid)):
        if value is not None and len(targets) != 1:
            raise typer.BadParameter(f"{option} goes with one target, not with {len(targets)}")
