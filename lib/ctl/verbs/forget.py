"""Forget: remove all that ctl keeps of a service that does not run."""

from __future__ import annotations

import msgspec

from ctl.model.errors import CtlError
from ctl.model.outcome import Fault, Plan, Result
from ctl.model.service import Service
from ctl.system.host import Host
from ctl.system.portrait import describe
from ctl.system.wait import now
from ctl.verbs.locate import Located, locate
from ctl.verbs.status import left_over_of
from ctl.verbs.stop import state_before


class ForgetOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line may say."""

    lock_timeout: float = 60.0  # seconds
    dry_run: bool = False


def forget(service: Service, host: Host, options: ForgetOptions) -> Result:
    """Remove its state file, pid file, pause and locks: what was wanted of it and how it ended is not known after that.

    Raises CtlError (failed) where it runs or something of it is left over, which nobody would find again, and where
    that cannot be told.
    """
    began = now()
    if options.dry_run:
        return _forget(service, host, began, dry_run=True)
    with host.locked(service.name, "forget", options.lock_timeout):
        return _forget(service, host, began, dry_run=False)


def _forget(service: Service, host: Host, began: float, *, dry_run: bool) -> Result:
    located = locate(service, host)
    try:
        _require_nothing_there(service, host, located)
        before = state_before(located)
    finally:
        located.close()
    files = host.records.files_of(service.name, with_locks=dry_run)  # one is there now since this ctl holds it
    result = Result(
        target=service.name, ok=True, changed=False, before=before, after="stopped", reason="already_forgotten"
    )
    if dry_run:
        result.after = before
        result.plan = Plan(steps=tuple(f"remove {file}" for file in files), after="stopped")
        result.reason = "planned" if files else "already_forgotten"
    else:
        host.records.forget(service.name)
        result.changed, result.reason = bool(files), "forgotten" if files else "already_forgotten"
    result.duration_s = round(now() - began, 3)
    return result


def _require_nothing_there(service: Service, host: Host, located: Located) -> None:
    """Raises CtlError."""
    if located.mains:
        what = f"it runs as pid {located.mains[0].pid}: only what is stopped can be forgotten"
        raise CtlError("failed", what, fix=f"ctl stop {service.name}")
    if located.doubt is not None:
        raise located.doubt
    left, faults = left_over_of(service, host, located)
    if left:
        what = f"{len(left)} left over of it: nobody would find that again"
        raise CtlError("failed", what, fix=f"ctl kill {service.name}", details=tuple(map(describe, left)))
    if faults:
        raise _as_error(faults[0])


def _as_error(fault: Fault) -> CtlError:
    return CtlError(fault.reason, fault.what, where=fault.where, fix=fault.fix, details=fault.details)
