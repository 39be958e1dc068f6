"""Restart: stop, then start, with nobody in between."""

from __future__ import annotations

import msgspec

from ctl.model.errors import CtlError
from ctl.model.outcome import Plan, Result
from ctl.model.service import Service
from ctl.system.files.ours import Refused, Unreadable
from ctl.system.host import Host
from ctl.system.pidfd import boot_id
from ctl.system.wait import now
from ctl.verbs.start import StartOptions, plan_of, require_loggable, require_startable, start_locked
from ctl.verbs.stop import StopOptions, stop_locked


def restart(service: Service, host: Host, stopping: StopOptions, starting: StartOptions) -> Result:
    """Stop the service where it runs, and start it; both under one lock.

    What would not start anyway is not stopped: its program and log are looked at first. Raises CtlError as stop and
    start do.
    """
    began = now()
    require_startable(service, host)
    stopping = msgspec.structs.replace(stopping, must_run=True, to_restart=True)
    if stopping.dry_run:
        require_loggable(service, host)
        return _planned(service, host, stop_locked(service, host, stopping, began), starting)
    with host.locked_to_start(service.name, "restart", stopping.lock_timeout):
        require_loggable(service, host)
        host.want(service.name, "up", None)
        stopped = stop_locked(service, host, stopping, began)
        if not stopped.ok and stopped.reason != "hook_failed":
            return stopped
        if _is_unwanted(service, host):
            stopped.fail(CtlError("not_ready", "was killed while it was being restarted, and is not started again"))
            return stopped
        started = start_locked(service, host, msgspec.structs.replace(starting, is_wanted=True), began)
    both = msgspec.structs.replace(
        started,
        before=stopped.before,
        changed=True,
        escalated=stopped.escalated,
        drained=stopped.drained,
        signals=stopped.signals,
        errors=[*stopped.errors, *started.errors],
        claims=stopped.claims,
        supervisor=stopped.supervisor,
    )
    if started.ok and not stopped.ok:
        both.ok, both.reason, both.exit_code = False, stopped.reason, stopped.exit_code
    return both


def _is_unwanted(service: Service, host: Host) -> bool:
    """Whether a kill, which waits for no lock, has asked for it to be down meanwhile."""
    try:
        state = host.records.read_state(service.name)
    except (Refused, Unreadable):
        return False
    wanted = None if state is None else state.wanted_since(boot_id())
    return wanted is not None and wanted.state == "down"


def _planned(service: Service, host: Host, stopping: Result, starting: StartOptions) -> Result:
    """The plan of the stop, and of the start after it."""
    if not stopping.ok:
        return stopping
    stop_plan, start_plan = stopping.plan or Plan(), plan_of(service, host, starting)
    longest = None if stop_plan.longest_s is None else stop_plan.longest_s + (start_plan.longest_s or 0.0)
    stopping.plan = Plan(
        steps=stop_plan.steps + start_plan.steps,
        processes=stop_plan.processes,
        longest_s=longest,
        after=start_plan.after,
    )
    stopping.reason = "planned"
    return stopping
