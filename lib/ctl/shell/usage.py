"""What may be given together on the command line. Each contradiction is one line that says what would be right."""

from __future__ import annotations

from collections.abc import Sequence

from ctl.model.errors import CtlError
from ctl.model.identity import LARGEST_PID


def bad_usage(what: str, fix: str | None = None) -> CtlError:
    """The error of a value, or of several that do not go together; which page to read is told where it is caught."""
    return CtlError("usage", f"Invalid value: {what}", fix=fix)


def require_one(targets: Sequence[str], pid: int | None) -> None:
    """A pid names one process, so it goes with one target. Raises CtlError (usage)."""
    if pid is not None and (len(targets) != 1 or targets[0].endswith("@")):
        raise bad_usage(f"--pid goes with one target, not with {_how_many(targets)}")


def require_targets_or_all(targets: Sequence[str], every: bool, verb: str) -> None:
    """Nothing is done to all that runs by leaving something out. Raises CtlError (usage)."""
    if targets and every:
        raise bad_usage("--all and names of targets contradict each other", "give one of them")
    if not targets and not every:
        raise bad_usage(f"name the targets to {verb}, or give --all for every service that runs")


def require_one_schedule(schedule: object, grace: float | None) -> None:
    """--grace is short for a schedule. Raises CtlError (usage) where both are given."""
    if schedule is not None and grace is not None:
        raise bad_usage("--grace and --schedule contradict each other", "give one of them")


def expected_pids(given: Sequence[str] | None, targets: Sequence[str]) -> dict[str, int]:
    """The pid that --expect-pid expects of each target. Raises CtlError (usage)."""
    expected: dict[str, int] = {}
    for text in given or ():
        target, _, pid = text.rpartition("=")
        if not target and (len(targets) != 1 or targets[0].endswith("@")):
            what = f"--expect-pid {text} goes with one target, not with {_how_many(targets)}"
            raise bad_usage(what, f"write TARGET={text}")
        target = target or targets[0]
        template = target.partition("@")[0]
        if target.endswith("@"):
            raise bad_usage(f"--expect-pid {text} names no instance", f"name the instance, {target}ID={pid}")
        if target not in targets and f"{template}@" not in targets:
            raise bad_usage(f"--expect-pid {text}: {target!r} is none of the targets")
        if not (pid.isascii() and pid.isdigit() and 0 < int(pid) <= LARGEST_PID):
            raise bad_usage(f"--expect-pid {text}: expected a process id from 1 to {LARGEST_PID}")
        if expected.setdefault(target, int(pid)) != int(pid):
            raise bad_usage(f"--expect-pid {text}: another pid is expected of {target!r}, too")
    return expected


def _how_many(targets: Sequence[str]) -> str:
    if len(targets) == 1:
        return f"every instance of {targets[0].removesuffix('@')}"
    return str(len(targets)) if targets else "all"
