"""What --dry-run shows of a stop or kill: who, by which steps, for how long at most, and what is left to remove."""

from __future__ import annotations

import shlex

import msgspec

from ctl.model.outcome import Plan
from ctl.model.schedule import Schedule
from ctl.model.service import Hook, Hooks, Service
from ctl.system.host import Host
from ctl.system.pidfd import Handle
from ctl.system.portrait import seen
from ctl.verbs.drain import longest
from ctl.verbs.ending import KillMode
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
    main_pids = ", ".join(str(main.pid) for main in mains)
    everyone = ", ".join(str(handle.pid) for handle in (*mains, *members))
    whom = everyone if mode == "tree" or not mains else main_pids
    steps = [
        f"{step.signal} to {whom}, then wait up to {step.wait:g} s" if step.signal else f"wait up to {step.wait:g} s"
        for step in schedule.steps
    ]
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
