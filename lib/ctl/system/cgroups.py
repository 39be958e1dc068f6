"""Control groups, cgroups(7): in which unit, login or container a process is, by the paths that /proc shows."""

from __future__ import annotations

import os
from typing import Final

import msgspec

from ctl.system import procfs
from ctl.system.procfs import Gone

_HEX: Final = frozenset("0123456789abcdef")
_RUNTIMES: Final = ("kubepods", "docker", "libpod")


class ServiceUnit(msgspec.Struct, frozen=True):
    """A service unit of systemd."""

    name: str
    user: int | None = None  # whose own manager it belongs to; None for that of the system

    @property
    def stopped_by(self) -> str:
        """The command that stops it."""
        if self.user is None:
            return f"systemctl stop {self.name}"
        whose = "" if self.user == os.geteuid() else f" --machine={self.user}@.host"
        return f"systemctl --user{whose} stop {self.name}"


def unit_of(pid: int) -> ServiceUnit | None:
    """The innermost service unit of its control group, systemd.unit(5). Raises Gone."""
    return unit_of_path(_path_of(pid))


def unit_of_path(path: str) -> ServiceUnit | None:
    """The same by the path of the control group. A scope below a service, such as a login, is in no service."""
    parts = path.split("/")
    units = [part for part in parts if part.endswith((".service", ".scope"))]
    if not units or not units[-1].endswith(".service") or _user_of(units[-1]) is not None:
        return None
    return ServiceUnit(units[-1], next((uid for part in parts if (uid := _user_of(part)) is not None), None))


def session_of(pid: int) -> str | None:
    """The scope of the login session that it is in, pam_systemd(8). Raises Gone."""
    parts = _path_of(pid).split("/")
    return next((part for part in parts if part.startswith("session-") and part.endswith(".scope")), None)


def container_of(pid: int) -> str | None:
    """The first twelve digits of the container's id as docker, podman and Kubernetes put it into the control group."""
    try:
        found = container_of_paths(procfs.read_cgroups(pid))
    except Gone:
        return None
    return None if found is None else found[1]


def is_in_another_container(pid: int) -> bool:
    """Whether it is in a container, and ctl is not in the same one: it may have all namespaces of the host."""
    return (container := container_of(pid)) is not None and container != container_of(os.getpid())


def container_of_paths(paths: list[str]) -> tuple[str, str] | None:
    """The runtime, "container" where that is none we know, and the first twelve digits of its id."""
    for path in paths:
        for part in reversed(path.split("/")):
            name = part.removesuffix(".scope").rpartition("-")[2].rpartition(":")[2]
            if len(name) == 64 and _HEX.issuperset(name):
                runtime = next((runtime for runtime in _RUNTIMES if runtime in path), "container")
                return {"kubepods": "kubernetes", "libpod": "podman"}.get(runtime, runtime), name[:12]
    return None


def _path_of(pid: int) -> str:
    return next(iter(procfs.read_cgroups(pid)), "")


def _user_of(unit: str) -> int | None:
    """Whose manager user@UID.service is."""
    uid = unit.removeprefix("user@").removesuffix(".service")
    return int(uid) if unit.startswith("user@") and uid.isdecimal() else None
