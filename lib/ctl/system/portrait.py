"""What a person reads about a process."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime

import msgspec

from ctl.model.outcome import Seen
from ctl.system import procfs
from ctl.system.pidfd import Handle
from ctl.system.procfs import Gone
from ctl.system.trust import user_name
from ctl.system.wait import wall_clock

_SHOWN = 160  # characters


class Vitals(msgspec.Struct, frozen=True):
    """What psutil tells of a process; None for what may not be read."""

    cpu_percent: float | None  # of one processor, over its whole life, as ps(1) counts it
    rss_bytes: int | None
    threads: int | None
    children: int | None


def seen(handle: Handle) -> Seen:
    """A line about the process: pid, state, user, start, argv."""
    pid = handle.pid
    try:
        user = user_name(procfs.read_owner(pid))
        command = procfs.read_command_line(pid) or f"[{handle.stat.comm}]"
    except Gone:
        user, command = "?", f"[{handle.stat.comm}]"
    return Seen(pid=pid, state=handle.state(), user=user, since=rfc3339(started(handle)), command=command)


def describe(process: Seen) -> str:
    """The line as text."""
    command = shortened(process.command)
    return f"pid {process.pid}, {process.user}, since {process.since}, state {process.state}: {command}"


def shortened(command: str) -> str:
    """A command line that fits a few lines of a terminal; a JVM's has kilobytes."""
    return command if len(command) <= _SHOWN else command[: _SHOWN - 3] + "..."


def started(handle: Handle) -> float:
    """When it started, in seconds since the epoch, exact to a clock tick."""
    return epoch_of(handle.stat.start_ticks)


def epoch_of(ticks: int) -> float:
    """The instant that many clock ticks after boot, in seconds since the epoch as the clock is set now."""
    since_boot = time.clock_gettime(time.CLOCK_BOOTTIME)
    return wall_clock() - since_boot + ticks / procfs.TICKS_PER_SECOND


def rfc3339(instant: float, precision: str = "seconds") -> str:
    """Local time with its offset, to the second or as `precision` says in the words of datetime.isoformat()."""
    return datetime.fromtimestamp(instant).astimezone().isoformat(timespec=precision)


def rfc3339_now() -> str:
    return rfc3339(wall_clock())


def vitals(handle: Handle, is_anothers: Callable[[int], bool]) -> Vitals:
    """How it fares. What `is_anothers` says yes of is none of its children."""
    import psutil

    try:
        process = psutil.Process(handle.pid)
        children = procfs.descendants(handle.pid, is_anothers)
        with process.oneshot():
            cpu = process.cpu_times()
            lived = max(wall_clock() - process.create_time(), 0.01)
            return Vitals(
                cpu_percent=round((cpu.user + cpu.system) / lived * 100, 1),
                rss_bytes=process.memory_info().rss,
                threads=process.num_threads(),
                children=len(process.children(recursive=True) if children is None else children),
            )
    except psutil.Error:
        return Vitals(None, None, None, None)
