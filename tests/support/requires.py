"""Skips with a reason what this machine cannot show."""

from __future__ import annotations

import functools
import os
import shutil
from pathlib import Path

import pytest
import sh


def requires_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")


def requires(*commands: str) -> None:
    """Programs on the PATH: requires("strace", "jps")."""
    if missing := [name for name in commands if not shutil.which(name)]:
        pytest.skip(f"needs {', '.join(missing)}")


def requires_systemd() -> None:
    """systemd's own program, to be PID 1 of a throw-away host."""
    requires_root()
    if not Path("/lib/systemd/systemd").exists():
        pytest.skip("needs systemd")


def requires_namespaces() -> None:
    requires("unshare")
    if not _can_unshare():
        pytest.skip("needs the right to make pid and mount namespaces")


def requires_mounts() -> None:
    requires_root()
    requires_namespaces()


def requires_strace() -> None:
    requires("strace")
    if not _can_trace():
        pytest.skip("needs the right to trace processes")


def has_pidfd_inodes() -> bool:
    """Linux 6.9 and newer give each process's pidfd an inode of its own."""
    release = tuple(map(int, os.uname().release.split("-")[0].split(".")[:2]))
    return release >= (6, 9)


def requires_pidfd_inodes() -> None:
    if not has_pidfd_inodes():
        pytest.skip("needs Linux 6.9: pidfds with inodes of their own")


@functools.cache
def _can_unshare() -> bool:
    return _succeeds("unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "true")


@functools.cache
def _can_trace() -> bool:
    return _succeeds("strace", "-o", "/dev/null", "true")


def _succeeds(program: str, *arguments: str) -> bool:
    try:
        sh.Command(program)(*arguments)
    except sh.ErrorReturnCode:
        return False
    return True
