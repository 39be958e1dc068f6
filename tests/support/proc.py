"""What /proc says of a process, read by the tests' own code: ctl's reading is what they judge."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from support.mark import MARK, SESSION

GONE = ""  # the state of a process that no longer has an entry


def stat(pid: int) -> list[str]:
    """Fields 3 (state) and on of /proc/PID/stat; none when it is gone. The comm before them may hold ") S 1"."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def state(pid: int) -> str:
    """R, S, D, T, Z... or GONE."""
    return next(iter(stat(pid)), GONE)


def alive(pid: int) -> bool:
    """Whether it runs: neither gone nor a zombie."""
    return state(pid) not in {GONE, "Z", "X"}


def alive_for_psutil(pid: int) -> bool:
    """The second opinion, by code that shares nothing with ctl or with this file."""
    import psutil  # here, since bats reaps with whatever python3 there is

    try:
        return psutil.Process(pid).status() not in {psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD}
    except psutil.NoSuchProcess:
        return False


def start_time(pid: int) -> int:
    """Kernel ticks since boot."""
    return int(stat(pid)[19])


def parent(pid: int) -> int:
    return int(stat(pid)[1])


def session(pid: int) -> int:
    return int(stat(pid)[3])


def argv(pid: int) -> list[str]:
    raw = Path(f"/proc/{pid}/cmdline").read_bytes().removesuffix(b"\0")
    return os.fsdecode(raw).split("\0")


def environment(pid: int) -> dict[str, str]:
    """The environment the process was started with; empty when it is gone or may not be read."""
    try:
        raw = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return {}
    return dict(os.fsdecode(item).split("=", 1) for item in raw.split(b"\0") if b"=" in item)


def pids() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdigit())


def children(pid: int) -> list[int]:
    return [other for other in pids() if (fields := stat(other)) and int(fields[1]) == pid]


def with_environment(name: str, value: str) -> list[int]:
    """Every running process whose environment holds name=value; a value that ends in "*" is a prefix."""
    found = []
    for pid in pids():
        held = environment(pid).get(name, "")
        if (held == value or (value.endswith("*") and held.startswith(value[:-1]))) and alive(pid):
            found.append(pid)
    return found


def services(target: str) -> list[int]:
    """Every running process that these tests' ctl started for `target`, and what those have forked, by CTL_TARGET.

    Services of that name of other tests, which run beside these, are not among them.
    """
    return [pid for pid in with_environment("CTL_TARGET", target) if environment(pid).get(MARK, "").startswith(SESSION)]


def pidfd_inode(pidfd: int) -> int:
    """Unique for the boot on Linux 6.9 and newer."""
    return os.fstat(pidfd).st_ino
