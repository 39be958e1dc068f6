"""Who may start a process again once it has ended: the systemd unit or the supervisor that /proc shows it under."""

from __future__ import annotations

import os
import re
from typing import Final

from ctl.model.explanation import Supervisor
from ctl.system import procfs
from ctl.system.procfs import Forbidden, Gone

_CONTAINER: Final = re.compile(r"[0-9a-f]{64}")
_USERS_MANAGER: Final = re.compile(r"user@[0-9]+\.service")


def supervisor_of(pid: int) -> Supervisor | None:
    """The supervisor with the command that keeps the process from coming back, None where none is seen.

    A unit in which ctl itself runs says nothing: what ctl starts stays in the unit of whoever called it.
    """
    try:
        unit = _unit_of(pid)
        if unit is not None and unit != _unit_of(os.getpid()):
            name, command = unit
            return Supervisor(kind="systemd", name=name, command=f"{command} {name}")
        return _parent_of(pid)
    except (Gone, Forbidden):
        return None


def container_of(pid: int) -> str | None:
    """The first twelve digits of the container's id as docker, podman and Kubernetes put it into the control group."""
    try:
        found = [_CONTAINER.search(path) for path in procfs.read_cgroups(pid)]
    except Gone:
        return None
    return next((match[0][:12] for match in found if match), None)


def _unit_of(pid: int) -> tuple[str, str] | None:
    """The innermost service unit of its control group, systemd.unit(5), and the command that stops such a one."""
    path = next(iter(procfs.read_cgroups(pid)), "")
    parts = path.split("/")
    units = [part for part in parts if part.endswith((".service", ".scope"))]
    if not units or not units[-1].endswith(".service") or _USERS_MANAGER.fullmatch(units[-1]):
        return None
    of_user = any(_USERS_MANAGER.fullmatch(part) for part in parts)
    return units[-1], "systemctl --user stop" if of_user else "systemctl stop"


def _parent_of(pid: int) -> Supervisor | None:
    parent = procfs.read_stat(pid).ppid
    if parent < 1:
        return None
    argv = procfs.read_argv(parent) or []
    name = argv[1] if len(argv) > 1 else None
    kind = procfs.read_stat(parent).comm
    if kind == "runsv" and name:
        return Supervisor(kind="runit", name=name, command=f"sv down {name}")
    if kind == "s6-supervise" and name:
        return Supervisor(kind="s6", name=name, command=f"s6-svc -d {name} (in its scan directory)")
    if kind == "supervisord":
        return Supervisor(kind="supervisord", name=None, command="supervisorctl stop NAME")
    return None
