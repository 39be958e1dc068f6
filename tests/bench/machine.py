"""The machine that the figures are of, and what of ctl was measured."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from pathlib import Path

import sh

from support.sandbox import ROOT


def describe() -> dict[str, str]:
    """To be asked before anything is measured: the load is that of the others."""
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "commit": _commit(),
        "processor": _field("/proc/cpuinfo", "model name") or platform.machine(),
        "processors": str(len(os.sched_getaffinity(0))),
        "memory": _memory(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load before": " ".join(f"{load:.1f}" for load in os.getloadavg()),
    }


def _commit() -> str:
    """With "-dirty" where files were changed since."""
    if not (ROOT / ".git").exists():
        return "unknown, not a git checkout"
    try:
        return str(sh.git("-C", ROOT, "describe", "--always", "--dirty", _tty_out=False)).strip()
    except (sh.CommandNotFound, sh.ErrorReturnCode):
        return "unknown to git"


def _memory() -> str:
    kib = int((_field("/proc/meminfo", "MemTotal") or "0").split()[0])
    return f"{kib / 1024**2:.1f} GiB"


def _field(file: str, name: str) -> str | None:
    for line in Path(file).read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return None
