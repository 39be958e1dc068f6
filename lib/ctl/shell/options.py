"""What the verbs' options are called, and what they take. Each bad value is one line that says what would be right."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from ctl.model.identity import LARGEST_PID
from ctl.model.schedule import LONGEST_WAIT, BadSchedule, Schedule, parse_schedule

_DURATION = r"(?P<number>[0-9]{1,9}(\.[0-9]{1,9})?)(?P<unit>[smhd]?)"  # compiled when it is needed: start-up time
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


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


def _duration(text: str) -> float:
    found = re.fullmatch(_DURATION, text.strip())
    seconds = float(found["number"]) * _UNITS[found["unit"] or "s"] if found else math.nan
    if not 0 < seconds <= LONGEST_WAIT:
        raise typer.BadParameter(f"{text!r} is no duration such as 90s, 10m, 2h or 1d, a week at most")
    return seconds


def _directory(text: str) -> Path:
    if not text:
        raise typer.BadParameter("it is empty, where the path of a directory belongs")
    return Path(text)


Target = Annotated[str, typer.Argument(metavar="TARGET", help="The service, by its name.")]
_NAMES = "Services, by their names: NAME, NAME@ID, or NAME@ for every instance"
Targets = Annotated[list[str], typer.Argument(metavar="TARGET...", help=f"{_NAMES}.")]
AnyTargets = Annotated[list[str] | None, typer.Argument(metavar="[TARGET...]", help=f"{_NAMES}; all if none is named.")]
NamedOrAll = Annotated[list[str] | None, typer.Argument(metavar="TARGET...", help=f"{_NAMES}; or --all.")]
All = Annotated[bool, typer.Option("--all", "-a", help="Every service that runs, but the protected ones.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
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


def require_one_schedule(schedule: Schedule | None, grace: float | None) -> None:
    """--grace is short for a schedule. Raises BadParameter where both are given."""
    if schedule is not None and grace is not None:
        raise typer.BadParameter("--grace and --schedule contradict each other: give one of them")


def require_one(targets: Sequence[str], pid: int | None) -> None:
    """A pid names one process, so it goes with one target. Raises BadParameter."""
    if pid is not None and (len(targets) != 1 or targets[0].endswith("@")):
        raise typer.BadParameter(f"--pid goes with one target, not with {_how_many(targets)}")


def require_targets_or_all(targets: Sequence[str], every: bool, verb: str) -> None:
    """Nothing is done to all that runs by leaving something out. Raises BadParameter."""
    if targets and every:
        raise typer.BadParameter("--all and names of targets contradict each other: give one of them")
    if not targets and not every:
        raise typer.BadParameter(f"name the targets to {verb}, or give --all for every service that runs")


def expected_pids(given: Sequence[str] | None, targets: Sequence[str]) -> dict[str, int]:
    """The pid that --expect-pid expects of each target. Raises BadParameter."""
    expected: dict[str, int] = {}
    for text in given or ():
        target, _, pid = text.rpartition("=")
        if not target and (len(targets) != 1 or targets[0].endswith("@")):
            raise typer.BadParameter(
                f"--expect-pid {text} goes with one target, not with {_how_many(targets)}: write TARGET={text}"
            )
        target = target or targets[0]
        template = target.partition("@")[0]
        if target.endswith("@"):
            raise typer.BadParameter(f"--expect-pid {text}: name the instance, {target}ID={pid}")
        if target not in targets and f"{template}@" not in targets:
            raise typer.BadParameter(f"--expect-pid {text}: {target!r} is none of the targets")
        if not (pid.isascii() and pid.isdigit() and 0 < int(pid) <= LARGEST_PID):
            raise typer.BadParameter(f"--expect-pid {text}: expected a process id from 1 to {LARGEST_PID}")
        if expected.setdefault(target, int(pid)) != int(pid):
            raise typer.BadParameter(f"--expect-pid {text}: another pid is expected of {target!r}, too")
    return expected


def _how_many(targets: Sequence[str]) -> str:
    if len(targets) == 1:
        return f"every instance of {targets[0].removesuffix('@')}"
    return str(len(targets)) if targets else "all"
