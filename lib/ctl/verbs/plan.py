"""What --dry-run shows of a stop or kill: who, by which steps, for how long at most, and what is left to remove."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

import msgspec

from ctl.model.outcome import Plan
from ctl.model.schedule import PASSED_ON_AFTER, Schedule, Step
from ctl.model.service import Hook, Hooks, Service
from ctl.system.host import Host
from ctl.system.pidfd import Handle
from ctl.system.portrait import seen
from ctl.verbs.drain import longest
from ctl.verbs.ending import KillMode
from ctl.verbs.escalation import children_of, ignoring
from ctl.verbs.locate import Located


def with_cleaning(service: Service, host: Host, located: Located, plan: Plan) -> Plan:
    """The same plan, with what is left of processes that are gone: stop and kill remove that, too."""
    left = [
        f"the stale {claim.source}"
        for claim in located.claims
        if claim.verdict == "stale" and claim.source in ("record", "pid file") and claim.pid is not None
    ]
    if not located.mains and host.records.read_pause(service.name) is not None:
        left.append("what is on record of its pause")
    steps = (*plan.steps, f"remove {' and '.join(left)}") if left else plan.steps
    return msgspec.structs.replace(plan, steps=steps, after="stopped")


def with_surroundings(service: Service, plan: Plan) -> Plan:
    """The same plan with the hooks and the drain around it."""

    def named(key: str, hooks: Hooks) -> tuple[str, ...]:
        return tuple(f"{key}: {shlex.join(hook.command if isinstance(hook, Hook) else hook)}" for hook in hooks)

    drained = (f"drain, at most {service.drain.timeout:g} s",) if service.drain is not None else ()
    steps = (
        *named("stop.before", service.stop.before),
        *drained,
        *plan.steps,
        *named("stop.after", service.stop.after),
    )
    total = None if plan.longest_s is None else plan.longest_s + longest(service)
    return msgspec.structs.replace(plan, steps=steps, longest_s=total)


def schedule_plan(schedule: Schedule, mode: KillMode, mains: list[Handle], members: list[Handle]) -> Plan:
    """What carrying out the schedule would do, and to whom."""
    steps = [_step(step, mode, mains, members) for step in schedule.joined().steps]
    if mode == "mixed" and mains:
        steps.append("then to what outlives it: TERM, what is left of the grace, KILL")
    if not (mains or members):
        return Plan()
    longest = schedule.longest
    return Plan(
        steps=tuple(steps),
        processes=tuple(seen(handle) for handle in (*mains, *members)),
        longest_s=None if longest == float("inf") else longest,
    )


def _step(step: Step, mode: KillMode, mains: list[Handle], members: list[Handle]) -> str:
    waits = f"wait up to {step.wait:g} s"
    if step.signal is None:
        return waits
    at_once, later = (mains, []) if mains else (members, [])
    deaf = []
    if mode == "tree":
        at_once = [*mains, *members]
    elif mode == "mixed" and mains:
        deaf = ignoring(mains, step.signal)
        told = children_of(deaf, mains, members)
        at_once, later = [*mains, *told], [member for member in members if member not in told]
    ignored = f" (ignored by {_pids(deaf)})" if deaf else ""
    passed_on = f"; after {step.wait * PASSED_ON_AFTER:g} s also to {_pids(later)}" if later else ""
    return f"{step.signal} to {_pids(at_once)}{ignored}, then {waits}{passed_on}"


def _pids(handles: Sequence[Handle]) -> str:
    return ", ".join(str(handle.pid) for handle in handles)
