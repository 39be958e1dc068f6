"""A service whose definition is broken or gone: what its state file says is enough to end it and to tell of it."""

from __future__ import annotations

from collections.abc import Iterable

from ctl.model.errors import CtlError
from ctl.model.outcome import Fault
from ctl.model.record import StopCopy
from ctl.model.schedule import DEFAULT, parse_schedule
from ctl.model.service import Match, Ready, Service, Stop
from ctl.model.target import Target, is_target, parse_target
from ctl.system.files.ours import Refused, Unreadable
from ctl.system.host import Host

_GONE = "its definition is gone"
_INSTEAD = "hooks and drain are skipped, the rest is done as its state file says"


def service_or_copy(target: Target, host: Host) -> Service:
    """The service by its definition, which wins; else by its state file. Raises CtlError where there is none either."""
    try:
        return host.service(target)
    except CtlError as error:
        service = _by_state_file(target, host, error) if error.reason in ("bad_config", "unknown_target") else None
        if service is None:
            raise
        return service


def told_of(service: Service) -> list[Fault]:
    """What is to be said of one that is acted on without its definition."""
    error = service.fault
    if error is None:
        return []
    is_gone = error.reason == "unknown_target"
    what = f"{_GONE}: {_INSTEAD}" if is_gone else f"its definition cannot be used ({error.what}): {_INSTEAD}"
    return [Fault(reason=error.reason, what=what, where=error.where, fix=None if is_gone else error.fix)]


def why_undefined(service: Service) -> list[Fault]:
    """Why there is no definition of it that can be used; nothing where there is one."""
    error = service.fault
    if error is None:
        return []
    if error.reason == "unknown_target":
        return [Fault(reason=error.reason, what=_GONE, where=error.where)]
    return Fault.each_of(error)


def undefined_targets(host: Host, known: Iterable[Target]) -> list[Target]:
    """Those of which there is a state file or pid file, and which are none of the known ones, sorted."""
    defined = {str(target) for target in known}
    names = sorted(name for name in host.records.names() - defined if is_target(name))
    return [parse_target(name) for name in names]


def recorded_instances(host: Host, template: str) -> list[Target]:
    """The instances of which there is a state file or pid file."""
    return [target for target in undefined_targets(host, ()) if target.name == template and target.instance]


def _by_state_file(target: Target, host: Host, error: CtlError) -> Service | None:
    name = str(target)
    try:
        state = host.records.read_state(name)
    except (Refused, Unreadable):
        return None
    if state is None:
        return None
    copies = [run.stop for run in state.runs if run.stop is not None]
    copy = copies[0] if copies else StopCopy(schedule=DEFAULT, kill_mode="mixed", uid=host.run_dir_owner)
    return Service(
        target=target,
        file=str(host.records.record_file(name)),
        description="",
        start=None,
        ready=Ready(),
        match=Match(),
        stop=Stop(
            schedule=copy.schedule, kill_mode=copy.kill_mode, protected=copy.protected, pid_file=copy.pid_file
        ),
        reload=None,
        drain=None,
        schedule=parse_schedule(copy.schedule),
        cmdline=None,
        ready_log=None,
        uid=copy.uid,
        fault=error,
    )  # fmt: skip
