"""Pause: hold every process of a service with SIGSTOP, all of them or none."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from ctl.model.errors import CtlError
from ctl.model.identity import Identity
from ctl.model.outcome import Fault, Plan, Result
from ctl.model.pause import Pause
from ctl.model.service import Service
from ctl.system.environment import new_run_id
from ctl.system.host import Host
from ctl.system.members import Members
from ctl.system.pidfd import Handle
from ctl.system.portrait import rfc3339, rfc3339_now, seen
from ctl.system.wait import now, wall_clock
from ctl.verbs.holding import WITHIN, Options, await_all, forget, on_main, pids_of, send_all
from ctl.verbs.locate import Located
from ctl.verbs.runs import members_of
from ctl.verbs.stop import command_program, state_before
from ctl.verbs.supervision import Supervision


class PauseOptions(Options, frozen=True, kw_only=True):
    """What the command line may add to the definition."""

    seconds: float | None = None  # after which it is resumed; None: when somebody does
    id: str = ""  # of this pause, by which whoever is to resume it knows it


def pause(service: Service, host: Host, options: PauseOptions) -> Result:
    """Drain, then STOP to every process of the service, the main process first, and see that all have stopped.

    Either all of it is paused in the end or none: where one cannot be stopped, the others go on. What is paused already
    stays so, for as long as this pause says and no longer as an earlier one did. Raises CtlError: not_running, and
    where it cannot be told whether it runs.
    """
    return on_main(
        service, host, "pause", options, lambda located, result: _pause(service, host, options, located, result)
    )


def _pause(service: Service, host: Host, options: PauseOptions, located: Located, result: Result) -> None:
    members = members_of(located, service, host)
    supervision = Supervision(service.name, located.mains)
    try:
        everyone = [*located.mains, *members.refresh(to_the_last=True)]
        already = not members.gave_up and all(handle.is_stopped for handle in everyone)
        if options.dry_run:
            result.plan = (
                _longer_plan(service, host, options, located) if already else _pause_plan(service, everyone, options)
            )
            result.reason = "already_paused" if already else "planned"
        elif already:
            result.reason = "already_paused"
            if _lasts_otherwise(service, host, options, located):
                _write_down(host, service, options, located.mains[0], result)
                result.changed = True
        else:
            _drain(service, host, located, result)
            _hold(service, host, options, located, members, result)
        supervision.tell_pause(result)
    finally:
        members.close()


def _lasts_otherwise(service: Service, host: Host, options: PauseOptions, located: Located) -> bool:
    """Whether what is paused already is to stay so until another time than the one on record."""
    earlier = host.pause_of(service, located.mains[0])
    return options.seconds is not None or (earlier is not None and earlier.until is not None)


def _drain(service: Service, host: Host, located: Located, result: Result) -> None:
    program = command_program(service, host, located, result) if service.drain is not None else None
    if program is not None and result.before != "paused":
        from ctl.verbs.drain import drain

        result.drained, faults = drain(service, host, located.mains, program)
        result.errors += faults


def _hold(
    service: Service, host: Host, options: PauseOptions, located: Located, members: Members, result: Result
) -> None:
    """STOP everyone. What is written down comes first: whoever finds it half done, can undo it."""
    was_paused = host.pause_of(service, located.mains[0])
    try:
        _write_down(host, service, options, located.mains[0], result)
    except CtlError as error:
        if options.seconds is not None:
            raise
        result.errors.append(Fault.of(error))
    try:
        _stop_everyone(host, located.mains, members, result)
    except BaseException:  # whatever it is, even a fault of ours: none of it is left held
        _let_go_on([*located.mains, *members.known()], result)
        if was_paused is None or result.signals:
            forget(host, service, result)
        else:
            host.records.write_pause(was_paused)
        is_gone = all(main.is_gone for main in located.mains)
        result.changed, result.after = False, "stopped" if is_gone else state_before(located)
        raise
    # Among many that come and go it was not clear before whether all of it was held already.
    lasts_otherwise = options.seconds is not None or (was_paused is not None and was_paused.until is not None)
    result.changed = bool(result.signals) or lasts_otherwise
    result.reason, result.after = "paused" if result.signals else "already_paused", "paused"


def _stop_everyone(host: Host, mains: list[Handle], members: Members, result: Result) -> None:
    """STOP to all, and to whoever was born meanwhile, until nobody is left who runs: then nobody can be born."""
    began = now()
    deadline = began + WITHIN
    told: set[Identity] = set()
    strangers = list(mains)  # they first: what they would still start
    while strangers or members.gave_up:
        told |= {handle.identity for handle in strangers}
        send_all(host, [handle for handle in strangers if not handle.is_stopped], "STOP", result, began)
        await_all(host, strangers, deadline, stopped=True)
        if all(main.is_gone for main in mains):
            raise CtlError("not_running", "ended while it was being paused")
        strangers = [handle for handle in members.refresh(to_the_last=True) if handle.identity not in told]
        if (strangers or members.gave_up) and now() >= deadline:
            raise CtlError("timeout", f"its processes come and go too fast to be held, after {WITHIN:g} s")


def _let_go_on(handles: Sequence[Handle], result: Result) -> None:
    """CONT to those who have been sent STOP, the main process last."""
    told = {sent.pid for sent in result.signals}
    for handle in reversed(handles):
        if handle.pid in told:
            with suppress(CtlError):  # one that has become another user's: the rest go on all the same
                handle.send("CONT")


def _write_down(host: Host, service: Service, options: PauseOptions, main: Handle, result: Result) -> None:
    seconds = options.seconds
    earlier = host.pause_of(service, main) if main.is_stopped else None
    written = Pause(
        target=service.name,
        id=options.id or new_run_id(),
        identity=main.identity,
        since=rfc3339_now() if earlier is None else earlier.since,
        until=None if seconds is None else rfc3339(wall_clock() + seconds),
        due=None if seconds is None else now() + seconds,
    )
    host.records.write_pause(written)
    if written.until is not None:
        result.paused_until = written.until


def _pause_plan(service: Service, everyone: Sequence[Handle], options: PauseOptions) -> Plan:
    drained = (f"drain, at most {service.drain.timeout:g} s",) if service.drain is not None else ()
    resumed = (f"after {options.seconds:g} s: CONT to all",) if options.seconds is not None else ()
    longest = WITHIN + (service.drain.timeout if service.drain is not None else 0.0)
    steps = (*drained, f"STOP to {pids_of(everyone)}", *resumed)
    return Plan(steps=steps, processes=tuple(map(seen, everyone)), longest_s=longest, after="paused")


def _longer_plan(service: Service, host: Host, options: PauseOptions, located: Located) -> Plan:
    """Of what is paused already: only how long that lasts can change."""
    until = "somebody resumes it" if options.seconds is None else f"{options.seconds:g} s from now"
    steps = (f"write down that it is paused until {until}",)
    return Plan(steps=steps if _lasts_otherwise(service, host, options, located) else (), after="paused")
