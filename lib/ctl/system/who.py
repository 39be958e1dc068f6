"""Who is calling: what this host can tell of the person, the unit or the Ansible behind this ctl."""

from __future__ import annotations

import contextlib
import os
from typing import Final

import msgspec

from ctl.system import procfs
from ctl.system.cgroups import unit_of
from ctl.system.environment import variable
from ctl.system.procfs import Gone

_UNSET: Final = 2**32 - 1  # (uid_t) -1: of no login
_COMMANDS: Final = ("ansible", "ansible-console", "ansible-playbook", "ansible-pull")


class Who(msgspec.Struct, frozen=True):
    """As the event has it."""

    uid: int
    sudo_user: str | None
    login_uid: int | None
    unit: str | None
    ansible: str | None


def who() -> Who:
    """Who is calling this very process."""
    return Who(os.geteuid(), variable("SUDO_USER"), _login_uid(), _unit(), _ansible())


def _login_uid() -> int | None:
    """The user who logged in, whom neither su nor sudo changes (pam_loginuid(8))."""
    text = _read("/proc/self/loginuid").strip()
    return int(text) if text.isdigit() and int(text) != _UNSET else None


def _unit() -> str | None:
    """The systemd service that we run in."""
    try:
        unit = unit_of(os.getpid())
    except (Gone, OSError):
        return None
    return None if unit is None else unit.name


def _ansible() -> str | None:
    """The Ansible module that called us, "unknown" where only that it was Ansible can be told.

    Ansible sets nothing in the environment of what it runs on a target. It executes AnsiballZ_MODULE.py there or, with
    pipelining, a bare interpreter through `sh -c`; sudo and su get BECOME-SUCCESS- in their arguments.
    """
    with contextlib.suppress(Gone, OSError):  # no reason to refuse what the caller wants
        for pid in procfs.parents(os.getpid()):
            argv = procfs.read_argv(pid) or []
            for word in argv[:3]:
                name = word.rpartition("/")[2]
                if name.startswith("AnsiballZ_") and name.endswith(".py"):
                    return name.removeprefix("AnsiballZ_").removesuffix(".py")
            if _is_ansible(argv):
                return "unknown"
    return None


def _is_ansible(argv: list[str]) -> bool:
    if any(word.rpartition("/")[2] in _COMMANDS for word in argv[:2]):
        return True
    last = argv[-1] if argv else ""
    if "BECOME-SUCCESS-" in last:
        return True
    # With pipelining the module comes through stdin: all there is to see is the shell that starts an interpreter.
    words = last.split()
    return len(words) > 3 and words[-3:] == ["&&", "sleep", "0"] and words[-4].rpartition("/")[2].startswith("python")


def _read(path: str) -> str:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.read(fd, 4096).decode(errors="backslashreplace")
        finally:
            os.close(fd)
    except OSError:
        return ""
