"""Processes that satisfy every rule, and run as another user than the one that is taken where match.user is not set."""

from __future__ import annotations

from ctl.model.match import Rules
from ctl.model.service import Service
from ctl.system import procfs
from ctl.system.pidfd import Handle
from ctl.system.procfs import Gone
from ctl.system.trust import user_name
from ctl.system.users import NO_USER


def runs_as(service: Service, rules: Rules, pid: int) -> str:
    """What to say of such a process."""
    default = service.start.user if service.start and service.start.user else user_name(rules.owner or 0)
    return f"satisfies every rule, but runs as {_user(pid)}, not as {default}"


def line_to_add(pid: int) -> str:
    """What proves it to be the service."""
    return f'if it is this service, give it: [match] user = "{_user(pid)}"'


def owner_of(handle: Handle) -> int:
    """Its effective user, a number that nobody has where it has ended."""
    try:
        return procfs.read_owner(handle.pid)
    except Gone:
        return NO_USER


def _user(pid: int) -> str:
    try:
        return user_name(procfs.read_owner(pid))
    except Gone:
        return "another user"
