"""Keeps the tests off this machine's own ctl: its directories are watched, and the environment points elsewhere."""

from __future__ import annotations

import os
from pathlib import Path

_HOME = Path(os.environ.get("HOME", "/root"))
REAL = (
    Path("/run/ctl"),
    Path("/etc/ctl"),
    Path("/var/log/ctl"),
    _HOME / ".local/state/ctl",
    Path(os.environ.get("XDG_RUNTIME_DIR", f"/run/user/{os.getuid()}")) / "ctl",
)

Snapshot = dict[str, tuple[int, int, int]]


def snapshot(roots: tuple[Path, ...] = REAL) -> Snapshot:
    """Every real path of ctl's that exists, with what changes when it is touched."""
    paths = [path for root in roots if root.exists() for path in (root, *root.rglob("*"))]
    return {str(path): _status(path) for path in paths}


def _status(path: Path) -> tuple[int, int, int]:
    status = path.lstat()
    return status.st_ino, status.st_mtime_ns, status.st_size


def changed(before: Snapshot, after: Snapshot) -> list[str]:
    return sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))


def environment(elsewhere: Path) -> dict[str, str]:
    """What makes any ctl that a test starts, or any of its code that a test calls, end up in `elsewhere`."""
    names = {"HOME": "home", "XDG_RUNTIME_DIR": "xdg", "CTL_CONF": "conf", "CTL_RUN_DIR": "run"}
    for directory in names.values():
        (elsewhere / directory).mkdir(parents=True, exist_ok=True)
    return {name: str(elsewhere / directory) for name, directory in names.items()}
