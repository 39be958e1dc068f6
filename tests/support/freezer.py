"""A process that no signal can end for a while: one frozen by a cgroup v1 freezer. It shows state D."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.requires import requires_root
from support.waiting import wait_until

FREEZER = Path("/sys/fs/cgroup/freezer")


def requires_freezer() -> None:
    requires_root()
    if not (FREEZER / "cgroup.procs").exists() or not os.access(FREEZER, os.W_OK):
        pytest.skip(f"needs a cgroup v1 freezer at {FREEZER}")


@contextmanager
def frozen(*pids: int) -> Iterator[None]:
    """Inside, they are frozen; afterwards thawed, so that what was sent to them takes effect."""
    requires_freezer()
    group = FREEZER / f"ctl-test-{uuid.uuid4().hex[:12]}"
    group.mkdir()
    try:
        for pid in pids:
            (group / "cgroup.procs").write_text(str(pid), encoding="ascii")
        (group / "freezer.state").write_text("FROZEN", encoding="ascii")
        wait_until(lambda: _state(group) == "FROZEN", "frozen")
        yield
    finally:
        (group / "freezer.state").write_text("THAWED", encoding="ascii")
        wait_until(lambda: _emptied(group), f"{group} is empty")
        group.rmdir()


def _state(group: Path) -> str:
    return (group / "freezer.state").read_text(encoding="ascii").strip()


def _emptied(group: Path) -> bool:
    """Moves back what lives; what was killed while frozen leaves by itself."""
    for pid in (group / "cgroup.procs").read_text(encoding="ascii").split():
        try:
            (FREEZER / "cgroup.procs").write_text(pid, encoding="ascii")
        except ProcessLookupError:
            continue
    return not (group / "cgroup.procs").read_text(encoding="ascii").split()
