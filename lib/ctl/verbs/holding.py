"""What pause and resume have in common: the main process under its lock, and signals that are seen to take effect."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal

import msgspec

from ctl.model.errors import CtlError
from ctl.model.outcome import Fault, Result, Signalled
from ctl.model.service import Service
from ctl.system.failure import as_ctl_error
from ctl.system.host import Host
from ctl.system.pidfd import Handle
from ctl.system.procfs import Forbidden, Gone, read_stat, read_tracer
from ctl.system.wait import now
from ctl.verbs.locate import Located, locate
from ctl.verbs.runs import members_of
from ctl.verbs.stop import require_expected, state_before

WITHIN = 5.0  # seconds for what was signalled to stop, or to go on; in state D it does neither
_FIRST_LOOK = 0.001  # seconds between two looks, doubled up to
_LATER_LOOKS = 0.05


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line may add to the definition."""

    expect_pid: Mapping[str, int] = {}  # by target
    lock_timeout: float = 60.0  # seconds
    dry_run: bool = False


def on_main(
    service: Service,
    host: Host,
    verb: Literal["pause", "resume"],
    options: Options,
    act: Callable[[Located, Result], None],
) -> Result:
    """`act` on the main process that was located, under the target's lock; without it for a plan.

    Returns the result, which `act` completes; one that does not run is a failure, and nothing is left of its pause.
    Raises CtlError: busy, and where it cannot be located.
    """
    began = now()
    if options.dry_run:
        return _found(service, host, verb, options, act, began)
    with host.locked(service.name, verb, options.lock_timeout):
        return _found(service, host, verb, options, act, began)


def _found(
    service: Service,
    host: Host,
    verb: Literal["pause", "resume"],
    options: Options,
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
                if verb == "resume":
                    _let_leftovers_go_on(service, host, located, result)
                forget(host, service, result)  # whom it speaks of is gone
            raise CtlError("not_running", "is not running")
        result.pid = located.mains[0].pid
        if not options.dry_run:
            host.want(service.name, "paused" if verb == "pause" else "up", located.state)
        act(located, result)
    except (CtlError, OSError) as error:  # what has been sent stays in the result
        if verb == "resume" and result.signals:
            result.after = "unknown"
        result.fail(as_ctl_error(error))
    finally:
        located.close()
    result.duration_s = round(now() - began, 3)
    return result


def _let_leftovers_go_on(service: Service, host: Host, located: Located, result: Result) -> None:
    """A main process that was killed while it was held leaves its children held: nobody else would resume them."""
    members = members_of(located, service, host)
    try:
        send_all(
            host, [member for member in members.refresh() if member.is_stopped is not False], "CONT", result, now()
        )
        result.changed = bool(result.signals)
    finally:
        members.close()


def send_all(host: Host, handles: Sequence[Handle], signal: str, result: Result, began: float) -> None:
    """Send to all of them first, and into the journal after that: meanwhile one may have forked and ended."""
    sent: list[Handle] = []
    try:
        for handle in handles:
            if handle.send(signal):
                sent.append(handle)
                result.signals.append(Signalled(handle.pid, signal, round(now() - began, 3)))
    finally:
        for handle in sent:
            host.note(result.target, "signal", identity=handle.identity, signal=signal)


def await_all(host: Host, handles: Sequence[Handle], deadline: float, *, stopped: bool) -> None:
    """Wait until all have stopped, or all go on. Raises CtlError (timeout), Interrupted.

    The kernel tells only a parent that its child has stopped (waitpid(2), WUNTRACED), so everyone else has to look.
    """
    pause_for = _FIRST_LOOK
    while left := [handle for handle in handles if not handle.is_gone and handle.is_stopped is not stopped]:
        if now() >= deadline:
            what = "did not stop" if stopped else "do not go on"
            listed = ", ".join(f"pid {handle.pid} (state {handle.state()})" for handle in left)
            tracer = held_by_tracer(left)
            fix = "end the tracer first" if tracer else None
            raise CtlError("timeout", f"{what} within {WITHIN:g} s: {listed}{tracer}", fix=fix)
        host.pause([handle.fd for handle in left], min(now() + pause_for, deadline))
        pause_for = min(pause_for * 2, _LATER_LOOKS)


def held_by_tracer(handles: Iterable[Handle]) -> str:
    """What to say of the first that a tracer holds; empty where none does."""
    for handle in handles:
        try:
            tracer = read_tracer(handle.pid) if handle.is_stopped is None else None
            if tracer is not None:
                name = read_stat(tracer).comm
                return f"; pid {handle.pid} is held by its tracer, pid {tracer} ({name})"
        except (Gone, Forbidden):
            continue
    return ""


def forget(host: Host, service: Service, result: Result) -> bool:
    """Remove what is on record of the pause. That this fails must not hide what became of the processes."""
    try:
        return host.records.remove_pause(service.name)
    except CtlError as error:
        result.errors.append(Fault.of(error))
        return False


def pids_of(handles: Sequence[Handle]) -> str:
    return ", ".join(str(handle.pid) for handle in handles)
