"""Pause and resume: hold every process of a service with SIGSTOP, and let it go on, with nothing left of the pause."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from math import inf
from typing import Literal

import msgspec

from ctl.model.errors import CtlError
from ctl.model.identity import Identity
from ctl.model.outcome import Fault, Plan, Result, Signalled
from ctl.model.pause import Pause
from ctl.model.service import Service
from ctl.system.environment import new_run_id
from ctl.system.host import Host
from ctl.system.keeper import stand_by
from ctl.system.members import Members
from ctl.system.pidfd import Handle
from ctl.system.portrait import rfc3339, rfc3339_now, seen
from ctl.system.wait import now, wall_clock
from ctl.verbs.locate import Located, locate
from ctl.verbs.many import act_on
from ctl.verbs.runs import members_of
from ctl.verbs.stop import command_program, require_expected, state_before

_WITHIN = 5.0  # seconds for what was signalled to stop, or to go on; in state D it does neither
_FIRST_LOOK = 0.001  # seconds between two looks, doubled up to
_LATER_LOOKS = 0.05


class PauseOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line may add to the definition."""

    seconds: float | None = None  # after which it is resumed; None: when somebody does
    id: str = ""  # of this pause, by which whoever is to resume it knows it
    expect_pid: Mapping[str, int] = {}  # by target
    lock_timeout: float = 60.0  # seconds
    dry_run: bool = False


class ResumeOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line may add to the definition."""

    only: str | None = None  # the id of a pause: any other is left alone
    expect_pid: Mapping[str, int] = {}
    lock_timeout: float = 60.0
    dry_run: bool = False


def pause(service: Service, host: Host, options: PauseOptions) -> Result:
    """Drain, then STOP to every process of the service, the main process first, and see that all have stopped.

    Either all of it is paused in the end or none: where one cannot be stopped, the others go on. What is paused already
    stays so, for as long as this pause says and no longer as an earlier one did. Raises CtlError: not_running, and
    where it cannot be told whether it runs.
    """
    return _locked(
        service, host, "pause", options, lambda located, result: _pause(service, host, options, located, result)
    )


def resume(service: Service, host: Host, options: ResumeOptions) -> Result:
    """CONT to every process of the service, the main process last, and see that all go on.

    Nothing is left of the pause then, also where there was a pause of a main process that has ended since. Raises
    CtlError as `pause` does.
    """
    return _locked(
        service, host, "resume", options, lambda located, result: _resume(service, host, options, located, result)
    )


def resume_when_due(services: Sequence[Service], host: Host, only: str) -> list[Result]:
    """Resume each of these services when the pause with this id is over. Returns when nothing is left to be resumed.

    What was resumed, stopped or paused anew meanwhile is left alone, and what another ctl holds is tried again. Raises
    CtlError, Interrupted.
    """
    host.prepare_for(len(services))
    results: list[Result] = []
    waiting = {service.name: service for service in services}
    with host.watch_records() as watch:
        pausing: set[int] = {stand_by()}
        while True:
            due = {name: found.due for name in waiting if (found := host.records.read_pause(name)) and found.id == only}
            if over := [waiting.pop(name) for name, instant in due.items() if instant is not None and instant <= now()]:
                done = act_on(over, lambda service: resume(service, host, ResumeOptions(only=only)), host.note_result)
                results += done
                waiting |= {
                    service.name: service for service, its in zip(over, done, strict=True) if its.reason == "busy"
                }
            elif due or pausing:
                ready = host.pause(
                    {watch.fd, *pausing}, min((at for at in due.values() if at is not None), default=inf)
                )
                pausing -= ready
                watch.changed()
            else:
                return results


def _locked(
    service: Service,
    host: Host,
    verb: Literal["pause", "resume"],
    options: PauseOptions | ResumeOptions,
    act: Callable[[Located, Result], None],
) -> Result:
    began = now()
    if options.dry_run:
        return _found(service, host, options, act, began)
    with host.locked(service.name, verb, options.lock_timeout):
        return _found(service, host, options, act, began)


def _found(
    service: Service,
    host: Host,
    options: PauseOptions | ResumeOptions,
    act: Callable[[Located, Result], None],
    began: float,
) -> Result:
    located = locate(service, host)
    before = state_before(located)
    result = Result(
        target=service.name,
        ok=True,
        changed=False,
        before=before,
        after=before,
        reason="planned",
        claims=located.claims,
    )
    try:
        require_expected(located.mains, options.expect_pid.get(service.name))
        if located.doubt is not None:
            raise located.doubt
        if not located.mains:
            if not options.dry_run:
                _forget(host, service, result)  # whom it speaks of is gone
            raise CtlError("not_running", "is not running")
        result.pid = located.mains[0].pid
        act(located, result)
    except CtlError as error:
        result.fail(error)
    finally:
        located.close()
    result.duration_s = round(now() - began, 3)
    return result


def _pause(service: Service, host: Host, options: PauseOptions, located: Located, result: Result) -> None:
    members = members_of(located, service, host)
    try:
        everyone = [*located.mains, *members.refresh(to_the_last=True)]
        already = not members.gave_up and all(handle.is_stopped for handle in everyone)
        if options.dry_run:
            result.plan = _pause_plan(service, everyone, options) if not already else Plan()
            result.reason = "already_paused" if already else "planned"
        elif already:
            result.reason = "already_paused"
            earlier = host.pause_of(service, located.mains[0])
            if options.seconds is not None or (earlier is not None and earlier.until is not None):
                _write_down(host, service, options, located.mains[0], result)
                result.changed = True
        else:
            _drain(service, host, located, result)
            _hold(service, host, options, located, members, result)
    finally:
        members.close()


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
            _forget(host, service, result)
        else:
            host.records.write_pause(was_paused)
        is_gone = all(main.is_gone for main in located.mains)
        result.changed, result.after = False, "stopped" if is_gone else state_before(located)
        raise
    result.reason, result.after, result.changed = "paused", "paused", True


def _stop_everyone(host: Host, mains: list[Handle], members: Members, result: Result) -> None:
    """STOP to all, and to whoever was born meanwhile, until nobody is left who runs: then nobody can be born."""
    began = now()
    deadline = began + _WITHIN
    told: set[Identity] = set()
    strangers = list(mains)  # they first: what they would still start
    while strangers or members.gave_up:
        told |= {handle.identity for handle in strangers}
        _send(host, strangers, "STOP", result, began)
        _await(host, strangers, deadline, stopped=True)
        if all(main.is_gone for main in mains):
            raise CtlError("not_running", "ended while it was being paused")
        strangers = [handle for handle in members.refresh(to_the_last=True) if handle.identity not in told]
        if (strangers or members.gave_up) and now() >= deadline:
            raise CtlError("timeout", f"its processes come and go too fast to be held, after {_WITHIN:g} s")


def _resume(service: Service, host: Host, options: ResumeOptions, located: Located, result: Result) -> None:
    on_record = host.records.read_pause(service.name)
    if options.only is not None and (on_record is None or on_record.id != options.only):
        result.reason = "already_running"
        return
    members = members_of(located, service, host)
    try:
        # The main process last: it is not to find its children still held.
        held = [handle for handle in (*members.refresh(), *located.mains) if handle.is_stopped]
        if options.dry_run:
            steps = (f"CONT to {_pids(held)}",) if held else ()
            result.plan = Plan(steps=steps, processes=tuple(map(seen, held)), longest_s=_WITHIN if held else 0.0)
            result.reason = "planned" if held else "already_running"
            return
        began = now()
        try:
            _send(host, held, "CONT", result, began)
            _await(host, held, began + _WITHIN, stopped=False)
        finally:
            result.changed = bool(result.signals)
        result.changed = _forget(host, service, result) or result.changed
        result.reason = "resumed" if held else "already_running"
        result.after = "running"
    finally:
        members.close()


def _send(host: Host, handles: Sequence[Handle], signal: str, result: Result, began: float) -> None:
    """To all of them first, and into the journal after that: meanwhile one may have forked and ended."""
    sent: list[Handle] = []
    try:
        for handle in handles:
            if handle.send(signal):
                sent.append(handle)
                result.signals.append(Signalled(handle.pid, signal, round(now() - began, 3)))
    finally:
        for handle in sent:
            host.note(result.target, "signal", identity=handle.identity, signal=signal)


def _await(host: Host, handles: Sequence[Handle], deadline: float, *, stopped: bool) -> None:
    """Wait until all have stopped, or all go on. Raises CtlError (timeout), Interrupted.

    The kernel tells only a parent that its child has stopped (waitpid(2), WUNTRACED), so everyone else has to look.
    """
    pause_for = _FIRST_LOOK
    while left := [handle for handle in handles if not handle.is_gone and handle.is_stopped is not stopped]:
        if now() >= deadline:
            what = "did not stop" if stopped else "do not go on"
            listed = ", ".join(f"pid {handle.pid} (state {handle.state()})" for handle in left)
            raise CtlError("timeout", f"{what} within {_WITHIN:g} s: {listed}")
        host.pause([handle.fd for handle in left], min(now() + pause_for, deadline))
        pause_for = min(pause_for * 2, _LATER_LOOKS)


def _let_go_on(handles: Sequence[Handle], result: Result) -> None:
    """CONT to those who have been sent STOP, the main process last."""
    told = {sent.pid for sent in result.signals}
    for handle in reversed(handles):
        if handle.pid in told:
            with suppress(CtlError):  # one that has become another user's: the rest go on all the same
                handle.send("CONT")


def _forget(host: Host, service: Service, result: Result) -> bool:
    """Remove what is on record of the pause. That this fails must not hide what became of the processes."""
    try:
        return host.records.remove_pause(service.name)
    except CtlError as error:
        result.errors.append(Fault.of(error))
        return False


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
    longest = _WITHIN + (service.drain.timeout if service.drain is not None else 0.0)
    steps = (*drained, f"STOP to {_pids(everyone)}", *resumed)
    return Plan(steps=steps, processes=tuple(map(seen, everyone)), longest_s=longest)


def _pids(handles: Sequence[Handle]) -> str:
    return ", ".join(str(handle.pid) for handle in handles)
