"""Stop with grace, kill without: one way of finding the process, one way of proving that it is gone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

import msgspec

from ctl.model.errors import CtlError, Interrupted, exit_code_of
from ctl.model.outcome import Fault, Result, State
from ctl.model.program import Program
from ctl.model.record import Record
from ctl.model.schedule import Schedule, parse_schedule, with_grace
from ctl.model.service import Service
from ctl.model.state import MOST_OLDER, Wanted
from ctl.system.failure import as_ctl_error
from ctl.system.host import Host
from ctl.system.pidfd import Handle
from ctl.system.wait import now
from ctl.verbs.locate import Located, has_runs, locate
from ctl.verbs.unit import count_as_success, is_elsewhere, is_started_elsewhere

if TYPE_CHECKING:
    from ctl.system.members import Members
    from ctl.verbs.ending import Ending, KillMode
    from ctl.verbs.supervision import Supervision

KILL = parse_schedule("KILL/5")
_LOOKS = 3  # more, for what comes and goes too fast
_TOO_FAST = "processes come and go too fast to tell whether all of its own are gone"
_LOOK = "look with: ctl explain {}"


class StopOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line may add to the definition."""

    schedule: Schedule | None = None
    grace: float | None = None  # seconds
    pid: int | None = None
    expect_pid: Mapping[str, int] = {}  # by target
    lock_timeout: float = 60.0  # seconds
    dry_run: bool = False
    to_restart: bool = False  # it is started after that
    must_run: bool = False  # where a pid is expected: a service that does not run is refused, too


def stop(service: Service, host: Host, options: StopOptions) -> Result:
    """Carry out the stop schedule, and return once all its processes are gone or the schedule is over.

    Raises CtlError when nothing was done: no right to, no proof of who it is, or another ctl at work on it.
    """
    began = now()
    if options.dry_run:
        return stop_locked(service, host, options, began)
    if is_started_elsewhere(service.name, host):
        return _not_of_this_unit(service)
    with host.locked(service.name, "stop", options.lock_timeout):
        return stop_locked(service, host, options, began)


def stop_locked(service: Service, host: Host, options: StopOptions, began: float) -> Result:
    """`stop` for a caller who holds the target's lock."""
    schedule = options.schedule or service.schedule
    if options.grace is not None:
        schedule = with_grace(schedule, options.grace)
    return _end(service, host, options, schedule, service.stop.kill_mode, "stopped", began)


def kill(service: Service, host: Host, options: StopOptions) -> Result:
    """KILL to every process of the service at once. It waits for no lock, and so cuts a running start or stop short."""
    return _end(service, host, options, KILL, "tree", "killed", now())


def _end(
    service: Service,
    host: Host,
    options: StopOptions,
    schedule: Schedule,
    mode: KillMode,
    done: Literal["stopped", "killed"],
    began: float,
) -> Result:
    located = locate(service, host, options.pid)
    try:
        if is_elsewhere(service.name, located, host):
            return _not_of_this_unit(service)
        return _end_located(service, host, options, schedule, mode, done, located, began)
    finally:
        located.close()


def _not_of_this_unit(service: Service) -> Result:
    return Result(
        target=service.name, ok=True, changed=False, before="stopped", after="stopped", reason="already_stopped"
    )


def planned(service: Service, host: Host, located: Located, verb: Literal["stop", "kill"]) -> Result:
    """What stop or kill would do with what was located: the result of their --dry-run."""
    options = StopOptions(dry_run=True)
    if verb == "kill":
        return _end_located(service, host, options, KILL, "tree", "killed", located, now())
    return _end_located(service, host, options, service.schedule, service.stop.kill_mode, "stopped", located, now())


def _end_located(
    service: Service,
    host: Host,
    options: StopOptions,
    schedule: Schedule,
    mode: KillMode,
    done: Literal["stopped", "killed"],
    located: Located,
    began: float,
) -> Result:
    mains, before = located.mains, state_before(located)
    result = Result(
        target=service.name, ok=True, changed=False, before=before, after=before, reason="already_stopped",
        pid=mains[0].pid if mains else None, claims=located.claims,
    )  # fmt: skip
    if service.fault is not None:
        from ctl.verbs.undefined import told_of

        result.errors += told_of(service)
    supervision = _supervision(located, service)
    with _members(located, service, host) as members:
        try:
            if located.doubt is not None and not (options.to_restart and located.may_start):
                raise located.doubt
            require_expected(mains, options.expect_pid.get(service.name), must_run=options.must_run)
            # Without a main process there is nobody whose end the others could wait for.
            leftovers = (
                _leftovers(members, service.name) if members is not None and not mains and mode != "process" else []
            )
            if options.dry_run:
                result.reason = "planned" if mains or leftovers else "already_stopped"
                from ctl.verbs.plan import schedule_plan, with_cleaning, with_surroundings

                plan = schedule_plan(schedule, mode, mains, members.refresh() if members and mains else leftovers)
                if done == "stopped" and mains:
                    plan = with_surroundings(service, plan)
                result.plan = with_cleaning(service, host, located, plan)
            else:
                unwritten = _want_down(service, host, located, options)
                _act(service, host, located, members, leftovers, schedule, mode, done, result, unwritten)
            if members is not None and result.ok:
                from ctl.verbs.runs import faults_of

                result.errors += faults_of(members)
        except (CtlError, OSError) as error:  # what has been sent stays in the result
            result.fail(as_ctl_error(error))
    result.duration_s = round(now() - began, 3)
    if supervision is not None:
        supervision.tell_end(result, killed=done == "killed")
    return result


def _want_down(service: Service, host: Host, located: Located, options: StopOptions) -> Wanted | None:
    """Written down before anything is sent: a ctl that keeps it up must not bring back what is being stopped.

    Returns what could not be written: there may be room for it once the run is removed. Where systemd calls ctl because
    the main process has ended by itself, nobody has asked for that.
    """
    unit = host.unit
    is_known = bool(located.mains) or located.state is not None
    if options.to_restart or not is_known or (unit is not None and unit.has_ended):
        return None
    # It is stopped all the same; that its run cannot be removed after that will be told.
    return None if host.want(service.name, "down", located.state) else host.wanted("down")


def _act(
    service: Service,
    host: Host,
    located: Located,
    members: Members | None,
    leftovers: Sequence[Handle],
    schedule: Schedule,
    mode: KillMode,
    done: Literal["stopped", "killed"],
    result: Result,
    unwritten: Wanted | None,
) -> None:
    """The hooks and the drain, the schedule on all there is, and what is left to be removed. Raises CtlError."""
    mains = located.mains
    gently = done == "stopped" and bool(mains)
    if gently:
        _before(service, host, located, result)
    result.after = "stopped"
    if members is not None and (mains or leftovers):
        from ctl.verbs.ending import Ending

        ending = Ending(service.name, host, mains, members, schedule)
        _carry_out(ending, mode if mains else "tree", result, done)
    if not result.survivors and result.reason != "unknown":
        if members is not None and mode == "process":
            members.refresh()
        _clean_up(service, host, located, members, result, unwritten)
    count_as_success(result, host)
    if gently and result.ok:
        _after(service, host, located, result)


@contextmanager
def _members(located: Located, service: Service, host: Host) -> Iterator[Members | None]:
    """Its processes beside the main ones; None where no run is known of which there could be any."""
    is_in_doubt = located.doubt is not None and not located.runs
    if not located.mains and (is_in_doubt or not has_runs(located, host)):
        yield None
        return
    from ctl.verbs.runs import members_of

    members = members_of(located, service, host)
    try:
        yield members
    finally:
        members.close()


def _leftovers(members: Members, target: str) -> list[Handle]:
    """What is left of a main process that has ended. Raises CtlError where it cannot be told whether anything is."""
    left = members.refresh()
    for _ in range(_LOOKS):
        left = left or (members.refresh() if members.gave_up else [])
    if members.unreadable and not left:
        raise CtlError("unknown", f"cannot tell whether anything is left of it: {members.unreadable}")
    if members.gave_up and not left:
        raise CtlError("unknown", _TOO_FAST, fix=_LOOK.format(target))
    return left


def _supervision(located: Located, service: Service) -> Supervision | None:
    """Who else has its main process in their care, as /proc shows it now; None where it has none."""
    if not located.mains:
        return None
    from ctl.verbs.supervision import Supervision

    return Supervision(service.name, located.mains)


def _before(service: Service, host: Host, located: Located, result: Result) -> None:
    """The hooks before the schedule, and the drain. What goes wrong is written down. Raises Interrupted."""
    if service.stop.before or service.drain is not None:
        from ctl.verbs.drain import drain, run_hooks

        program = command_program(service, host, located, result)
        if program is not None:
            result.errors += run_hooks(service, host, service.stop.before, "stop.before", program, located.mains)
            if result.before != "paused":  # who is held answers nothing, and was asked before it was
                result.drained, faults = drain(service, host, located.mains, program)
                result.errors += faults


def _after(service: Service, host: Host, located: Located, result: Result) -> None:
    """The hooks after the schedule. Whatever they do, the service is stopped; but one that failed must be told."""
    program = command_program(service, host, located, result) if service.stop.after else None
    if program is not None:
        from ctl.verbs.drain import run_hooks

        result.errors += run_hooks(service, host, service.stop.after, "stop.after", program)
    if any(fault.reason == "hook_failed" for fault in result.errors):
        result.ok, result.reason, result.exit_code = False, "hook_failed", exit_code_of("hook_failed")


def command_program(service: Service, host: Host, located: Located, result: Result) -> Program | None:
    """As whom the commands run, None where this user may not run them: that keeps nobody from stopping the service."""
    try:
        return host.command_program(service, located.record)
    except CtlError as error:
        what = f"hooks and drain were not run: {error.what}"
        fault = Fault(reason="hook_failed", what=what, where=error.where, fix=error.fix)
        if fault not in result.errors:
            result.errors.append(fault)
        return None


def _carry_out(ending: Ending, mode: KillMode, result: Result, done: Literal["stopped", "killed"]) -> None:
    """Run the schedule and write down what became of it."""
    result.reason = done
    try:
        result.survivors = ending.carry_out(mode)
    except Interrupted as error:
        _report_interrupt(ending, error, result)
    except BaseException:
        result.after = "unknown" if ending.signals else result.before
        raise
    finally:
        result.signals, result.escalated = ending.signals, ending.escalated
        result.changed = bool(ending.signals)
    result.errors += ending.faults
    if ending.gave_up and not result.survivors and mode != "process" and result.ok:
        result.after = "unknown"
        result.fail(CtlError("unknown", _TOO_FAST, fix=_LOOK.format(result.target)))
    if result.survivors and result.ok:
        _report_survivors(ending, result)
    elif result.ok and result.escalated and done == "stopped":
        result.reason = "escalated"


def _report_interrupt(ending: Ending, error: Interrupted, result: Result) -> None:
    """Who is still there when ctl lets go: the record stays for as long as anyone is."""
    result.survivors = ending.left()
    told = {sent.pid: sent.signal for sent in ending.signals}
    left = [
        f"pid {process.pid} "
        + (f"has been sent {told[process.pid]} and " if process.pid in told else "")
        + "is still running"
        for process in result.survivors
    ]
    error.what = f"interrupted: {'; '.join(left) or 'nobody is left'}"
    if left:
        error.fix = f"ctl stop {result.target} goes on, ctl kill {result.target} ends it at once"
    result.after = "stopping" if left else "stopped"
    result.fail(error)


def _report_survivors(ending: Ending, result: Result) -> None:
    listed = ", ".join(f"pid {left.pid} (state {left.state})" for left in result.survivors)
    if ending.faults:
        result.after = result.before
        result.ok, result.reason, result.exit_code = False, "permission_denied", 4
        return
    what, fix = f"still alive after the whole schedule: {listed}", None
    if any(left.state == "D" for left in result.survivors):
        what += "; state D cannot be killed until its disk, network file system or cgroup freezer lets it go"
    elif not any(sent.signal == "KILL" for sent in ending.signals):
        what, fix = f"{what}; it was not sent KILL", f"ctl kill {result.target}"
    result.after = "stopping"
    result.fail(CtlError("timeout", what, fix=fix))


def _clean_up(
    service: Service,
    host: Host,
    located: Located,
    members: Members | None,
    result: Result,
    unwritten: Wanted | None,
) -> None:
    """Remove what names processes that are gone. That this fails must not hide that they are gone."""
    from ctl.verbs.ends import end_by_ctl, put_down_end

    target = result.target
    gone = [(main.identity, end_by_ctl(main, host)) for main in located.mains if main.is_gone]
    try:
        older = _left_of_runs(service, host, located, members, result) if gone or located.runs else ()
        removed = []
        # A stale record first: it would protect a pid file that already names the main process.
        if located.state is not None and located.record is not None and located.is_record_stale:
            removed.append(put_down_end(located.record, located.state, host, older))
        removed += [host.records.remove(target, identity, end, older, unwritten) for identity, end in gone]
        if located.state is not None and located.state.older and not any(removed):
            removed.append(host.records.keep_older(target, older))
        removed += [
            host.records.remove_stale_pid(target, claim.pid)
            for claim in located.claims
            if claim.source == "pid file" and claim.verdict == "stale" and claim.pid is not None
        ]
        if not any(not main.is_gone for main in located.mains):
            removed.append(host.records.remove_pause(target))
        pids = [identity.pid for identity, _ in gone] + ([located.record.identity.pid] if located.record else [])
        removed += [host.remove_own_pid_file(service, pid) for pid in dict.fromkeys(pids)]
        result.changed = result.changed or any(removed)
    except CtlError as error:
        result.errors.append(Fault.of(error))


def _left_of_runs(
    service: Service, host: Host, located: Located, members: Members | None, result: Result
) -> tuple[Record, ...]:
    """The runs of which something is left, as after a stop that ends only the main process. That is told."""
    if members is None:
        return ()
    from ctl.system.portrait import seen
    from ctl.verbs.runs import with_left

    result.left_over = [seen(handle) for handle in members.known()]
    return with_left(located.runs, members, service, host)[:MOST_OLDER]


def state_before(located: Located) -> State:
    """The state that the claims and the process table show."""
    if located.mains:
        return "paused" if all(main.is_stopped for main in located.mains) else "running"
    if located.doubt is not None:
        return "unknown"
    return located.state_without_main


def require_expected(mains: list[Handle], expected: int | None, *, must_run: bool = False) -> None:
    """Raises CtlError (identity_mismatch) unless the main process is the expected one, --expect-pid.

    Where there is none, only with `must_run`.
    """
    if expected is not None and not mains and must_run:
        what = f"it is not running, so pid {expected} is not its main process"
        raise CtlError("identity_mismatch", what, where="--expect-pid")
    if expected is not None and mains and [main.pid for main in mains] != [expected]:
        found = ", ".join(str(main.pid) for main in mains)
        raise CtlError(
            "identity_mismatch", f"its main process is pid {found}, not pid {expected}", where="--expect-pid"
        )
