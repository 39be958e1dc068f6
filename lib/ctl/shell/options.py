"""What the verbs' options are called, and what they take. Each bad value is one line that says what would be right.

Only Typer needs to know them, so whoever calls for nothing but targets and flags does not wait for this to be imported.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Annotated

import typer

from ctl.model.command_line import FLAGS
from ctl.model.identity import LARGEST_PID
from ctl.model.outcome import Goal
from ctl.model.schedule import LONGEST_WAIT, BadSchedule, Schedule, parse_schedule
from ctl.system.wait import wall_clock
from ctl.system.when import parse_when

_DURATION = r"(?P<number>[0-9]{1,9}(\.[0-9]{1,9})?)(?P<unit>[smhd]?)"  # compiled when it is needed: start-up time
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class BadValue(typer.BadParameter):
    """A value that an option does not take, and what to write."""

    def __init__(self, what: str, fix: str | None) -> None:
        super().__init__(what)
        self.fix = fix


def _schedule(text: str) -> Schedule:
    try:
        return parse_schedule(text)
    except BadSchedule as error:
        what = str(error)  # of a schedule of one step it begins with that
        raise BadValue(what if what.startswith(f"{text!r} ") else f"{text!r} {what}", error.fix) from None


def _seconds(text: str | float) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= LONGEST_WAIT:
        raise typer.BadParameter(f"{text!r} is no number of seconds from 0 to {LONGEST_WAIT:.0f}, which is a week")
    return seconds


def _duration(text: str) -> float:
    found = re.fullmatch(_DURATION, text.strip())
    seconds = float(found["number"]) * _UNITS[found["unit"] or "s"] if found else math.nan
    if not 0 < seconds <= LONGEST_WAIT:
        raise typer.BadParameter(f"{text!r} is no duration such as 90s, 10m, 2h or 1d, a week at most")
    return seconds


def _when(text: str) -> float:
    try:
        return parse_when(text, wall_clock())
    except (ValueError, OverflowError):
        fix = "write 10m, 2h, 3d, 14:30, 2026-11-20 or 2026-11-20T14:30:00+01:00"
        raise BadValue(f"{text!r} is no time", fix) from None


def _directory(text: str) -> Path:
    if not text:
        raise typer.BadParameter("it is empty, where the path of a directory belongs")
    return Path(text)


Target = Annotated[str, typer.Argument(metavar="TARGET", help="The service, by its name.")]
_NAMES = "Services, by their names: NAME, NAME@ID, or NAME@ for every instance"
Targets = Annotated[list[str], typer.Argument(metavar="TARGET...", help=f"{_NAMES}.")]
AnyTargets = Annotated[list[str] | None, typer.Argument(metavar="[TARGET...]", help=f"{_NAMES}; all if none is named.")]
NamedOrAll = Annotated[list[str] | None, typer.Argument(metavar="TARGET...", help=f"{_NAMES}; or --all.")]
All = Annotated[bool, typer.Option(*FLAGS["every"], help="Every service that runs, but the protected ones.")]
Yes = Annotated[bool, typer.Option(*FLAGS["yes"], help="Do not ask.")]
Conf = Annotated[
    Path | None,
    typer.Option("--conf", metavar="DIR", parser=_directory, help="Conf directory. [$CTL_CONF, /etc/ctl]"),
]
RunDir = Annotated[
    Path | None,
    typer.Option("--run-dir", metavar="DIR", parser=_directory, help="Run directory. [$CTL_RUN_DIR, /run/ctl]"),
]
Json = Annotated[bool, typer.Option(*FLAGS["as_json"], help="Print one JSON document.")]
Quiet = Annotated[bool, typer.Option(*FLAGS["quiet"], help="Print no results; only what went wrong.")]
Verbose = Annotated[bool, typer.Option(*FLAGS["verbose"], help="Say what is being done.")]
DryRun = Annotated[bool, typer.Option(*FLAGS["dry_run"], help="Show the whole plan; do nothing.")]
LockTimeout = Annotated[
    float,
    typer.Option(
        "--lock-timeout", metavar="S", parser=_seconds, help="Seconds to wait for another ctl on the same target."
    ),
]
ExpectPid = Annotated[
    list[str] | None,
    typer.Option(
        "--expect-pid",
        metavar="[TARGET=]PID",
        help="Refuse unless this is the main process. With several targets once for each: web=4711.",
    ),
]
Pid = Annotated[
    int | None,
    typer.Option("--pid", metavar="PID", min=2, max=LARGEST_PID, help="This process, if it proves to be the service."),
]
OnlyReady = Annotated[bool, typer.Option(*FLAGS["ready"], help="Succeed only if they are ready.")]
Grace = Annotated[
    float | None,
    typer.Option("--grace", metavar="S", parser=_seconds, help="Seconds after the first signal before KILL."),
]
For = Annotated[
    float | None,
    typer.Option("--for", metavar="TIME", parser=_duration, help="Resume it after this time: 90s, 10m, 2h, 1d."),
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
LineCount = Annotated[int, typer.Option("--lines", "-n", metavar="N", min=0, help="The last N; 0 for none.")]
Follow = Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes, until Ctrl-C.")]
Since = Annotated[
    float | None,
    typer.Option("--since", metavar="WHEN", parser=_when, help="Only from then on: 10m, 2h, 3d, 14:30, a date."),
]
WaitFor = Annotated[Goal, typer.Option("--for", help="What they are to be.")]
# How ctl pause --for calls the ctl that it leaves behind.
Due = Annotated[str | None, typer.Option("--due", metavar="ID", hidden=True)]
Schema = Annotated[bool, typer.Option("--schema", help="Print the JSON Schema of a definition, for editors.")]
Proposed = Annotated[
    Path | None,
    typer.Option("--file", metavar="FILE", help="Read this file as the definition of TARGET, which it is to become."),
]
AnyNames = Annotated[
    list[str] | None,
    typer.Argument(metavar="[TARGET...]", help="Any names, also of services that are gone; NAME@ for all instances."),
]
AnySubjects = Annotated[
    list[str] | None,
    typer.Argument(metavar="[TARGET|UNIT...]", help="Services of ctl, or units of systemd: NAME.service; else all."),
]
