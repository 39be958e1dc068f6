"""Which services are meant: every instance of a template, or every service that is at work."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import msgspec

from ctl.model.errors import CtlError
from ctl.model.outcome import Result
from ctl.model.service import Service
from ctl.model.target import Target, parse_target
from ctl.system import table
from ctl.system.failure import as_ctl_error
from ctl.system.host import Host
from ctl.verbs.locate import locate
from ctl.verbs.many import failed


class AtWork(msgspec.Struct, frozen=True, kw_only=True):
    """Every service that is not plainly stopped, and which process is its main one."""

    services: dict[str, Service]
    pids: dict[str, int | None]
    protected: tuple[str, ...]  # of which nobody is to touch any who did not name it
    unusable: list[Result]  # whose definition cannot be used


class _Look(msgspec.Struct, frozen=True):
    service: Service
    pid: int | None


def instances(host: Host, templates: Iterable[str]) -> list[Target]:
    """Every known instance of these templates: those with a record or pid file, and those that are running without.

    Raises CtlError: bad_config, identity_unknown, Interrupted.
    """
    found, missed = _instances(host, {template: host.config.instance_pattern(template) for template in templates})
    for error in missed.values():
        raise error
    return found


def _instances(host: Host, patterns: Mapping[str, re.Pattern[str] | None]) -> tuple[list[Target], dict[str, CtlError]]:
    """The instances of the templates whose command lines these patterns find, and of which some may be missing."""
    recorded = {name for name in host.records.names() if name.partition("@")[0] in patterns and "@" in name}
    if not patterns:
        return [], {}
    found = table.instances(patterns, host.marked_run_dir, host.pause)
    claimed = found.claimed - recorded
    host.prepare_to_look_at(len(claimed))
    targets = [_instance(host, name, is_recorded=name in recorded) for name in sorted(recorded | claimed)]
    missed = {f"{template}@": _missed(host, template, why) for template, why in found.unsearched.items()}
    return sorted((target for target in targets if target is not None), key=_in_order), missed


def _missed(host: Host, template: str, why: str) -> CtlError:
    file = str(host.config.service_dir / f"{template}@.toml")
    what = f"cannot tell whether an instance without a record is running: {why}"
    return CtlError("identity_unknown", what, where=file, target=f"{template}@")


def every_target(host: Host) -> tuple[list[Target], dict[str, CtlError]]:
    """Every plain service and every known instance, and which templates cannot be used. Raises CtlError."""
    patterns: dict[str, re.Pattern[str] | None] = {}
    unusable: dict[str, CtlError] = {}
    for template in host.config.templates():
        try:
            patterns[template] = host.config.instance_pattern(template)
        except CtlError as error:
            unusable[f"{template}@"] = error
    found, missed = _instances(host, patterns)
    return [*map(Target, host.config.service_names()), *found], unusable | missed


def at_work(host: Host, *, undefined_too: bool = False) -> AtWork:
    """Every service of this host but those that are stopped for certain: in doubt, the verb itself has to tell.

    `undefined_too`: those, too, that have no usable definition, but a state file. Raises CtlError where the service
    directory cannot be read.
    """
    targets, faulty = every_target(host)
    undefined: list[Target] = []
    if undefined_too:
        from ctl.verbs.undefined import undefined_targets

        undefined = undefined_targets(host, targets)
        targets += undefined
    unusable = [failed(name, error) for name, error in faulty.items()]
    host.prepare_to_look_at(len(targets))
    services: dict[str, Service] = {}
    pids: dict[str, int | None] = {}
    protected: list[str] = []
    for target, look in ((target, _look_at(host, target, undefined_too=undefined_too)) for target in targets):
        if isinstance(look, CtlError) and target in undefined:
            continue  # it is nothing but a stray file
        if isinstance(look, CtlError):
            unusable.append(failed(str(target), look))
        elif look is not None and look.service.stop.protected:
            protected.append(look.service.name)
        elif look is not None:
            services[look.service.name] = look.service
            pids[look.service.name] = look.pid
    return AtWork(services=services, pids=pids, protected=tuple(protected), unusable=unusable)


def _look_at(host: Host, target: Target, *, undefined_too: bool = False) -> _Look | CtlError | None:
    """The service with its main process; None where it is stopped, an error where its definition says nothing."""
    try:
        service = _usable(host, target) if undefined_too else host.service(target)
    except Exception as error:  # noqa: BLE001 - what one definition does to ctl must not keep the others from being stopped
        return as_ctl_error(error)
    try:
        located = locate(service, host)
    except CtlError:
        return _Look(service, None)
    try:
        if located.mains or located.doubt is not None or located.is_stale or located.runs:
            return _Look(service, located.mains[0].pid if located.mains else None)
        # What its rules would have found without a record, cannot be told.
        return service.fault if service.fault is not None and service.fault.reason == "bad_config" else None
    finally:
        located.close()


def _usable(host: Host, target: Target) -> Service:
    from ctl.verbs.undefined import service_or_copy

    return service_or_copy(target, host)


def _instance(host: Host, name: str, *, is_recorded: bool) -> Target | None:
    """The target of that name, unless it could never be one or no process proves to be it."""
    try:
        target = parse_target(name)
    except CtlError:
        return None
    look = None if is_recorded else _look_at(host, target)
    return target if is_recorded or look is not None else None


def _in_order(target: Target) -> tuple[str, int, str]:
    """worker@2 before worker@10."""
    instance = target.instance or ""
    return target.name, int(instance) if instance.isascii() and instance.isdigit() else -1, instance
