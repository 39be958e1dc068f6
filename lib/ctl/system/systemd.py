"""Asking systemd about its units, by systemctl(1), which answers every user.

A stop asks it too, and from many threads: so this is subprocess, with a time for each question, and not `sh`.
"""

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
    return parse_shown(units, call(*show_arguments(units, names), seconds=seconds, of_user=of_user))


def show_arguments(units: Sequence[str], names: Sequence[str]) -> list[str]:
    """Those of a systemctl whose answer `parse_shown` reads."""
    return ["show", f"--property={','.join(names)}", "--", *units]


def parse_shown(units: Sequence[str], answer: str | None) -> dict[str, Properties] | None:
    """The properties of each unit, in the order in which systemctl was asked for them."""
    if answer is None:
        return None
    shown = [_properties(block) for block in answer.strip("\n").split("\n\n")]
    return dict(zip(units, shown, strict=True)) if len(units) == len(shown) else None


def call(*arguments: str, seconds: float, of_user: bool = False) -> str | None:
    """What systemctl prints; None where it fails, is not there, or does not answer within so many seconds."""
    import subprocess

    with contextlib.suppress(OSError, subprocess.SubprocessError), let_others():
        done = subprocess.run(
            ["systemctl", *(["--user"] if of_user else []), *arguments],
            env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            timeout=seconds, check=True,
        )  # fmt: skip
        return done.stdout.decode(errors="backslashreplace")
    return None


def environment() -> dict[str, str]:
    """That of a program which asks systemd: nothing else of ours reaches it."""
    asking = {"PATH": DEFAULT_PATH, "LC_ALL": "C.UTF-8", "TZ": "UTC", "SYSTEMD_PAGER": "", "SYSTEMD_COLORS": "0"}
    if runtime := variable("XDG_RUNTIME_DIR"):
        asking["XDG_RUNTIME_DIR"] = runtime
    return asking


def _properties(block: str) -> Properties:
    found: Properties = {}
    for line in block.splitlines():
        name, _, value = line.partition("=")
        found.setdefault(name, []).append(value)
    return found
