"""Asking systemd about its units, by systemctl(1): it answers every user, and never for longer than it may take."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from typing import Final

from ctl.system.environment import DEFAULT_PATH, variable
from ctl.system.turns import let_others

Properties = dict[str, list[str]]  # by name; Exec*= has a value for each of its lines, the others have one

_BOOTED: Final = "/run/systemd/system"  # sd_booted(3)


def is_booted() -> bool:
    """Whether systemd is this host's init system."""
    return os.path.isdir(_BOOTED)


def show(
    units: Sequence[str], names: Sequence[str], seconds: float, *, of_user: bool = False
) -> dict[str, Properties] | None:
    """These properties of each of these units; of one that there is not, LoadState says so.

    `of_user` asks the manager of this user. None where systemd does not answer within so many seconds.
    """
    answer = call("show", f"--property={','.join(names)}", "--", *units, seconds=seconds, of_user=of_user)
    if answer is None:
        return None
    shown = [_properties(block) for block in answer.strip("\n").split("\n\n")]
    return dict(zip(units, shown, strict=True)) if len(units) == len(shown) else None


def call(*arguments: str, seconds: float, of_user: bool = False, program: str = "systemctl") -> str | None:
    """What the program prints; None where it fails, is not there, or does not answer within so many seconds."""
    import subprocess

    environment = {"PATH": DEFAULT_PATH, "LC_ALL": "C.UTF-8", "SYSTEMD_PAGER": "", "SYSTEMD_COLORS": "0"}
    if runtime := variable("XDG_RUNTIME_DIR"):
        environment["XDG_RUNTIME_DIR"] = runtime
    with contextlib.suppress(OSError, subprocess.SubprocessError), let_others():
        done = subprocess.run(
            [program, *(["--user"] if of_user else []), *arguments],
            env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            timeout=seconds, check=True,
        )  # fmt: skip
        return done.stdout.decode(errors="backslashreplace")
    return None


def _properties(block: str) -> Properties:
    found: Properties = {}
    for line in block.splitlines():
        name, _, value = line.partition("=")
        found.setdefault(name, []).append(value)
    return found
