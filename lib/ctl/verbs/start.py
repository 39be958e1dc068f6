"""Start: at most one, recorded before it runs, and ready before ctl says so."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

import msgspec

from ctl.model.errors import CtlError
from ctl.model.outcome import Fault, Plan, Result
from ctl.model.record import Record
from ctl.model.service import Service, Start
from ctl.model.state import MOST_OLDER
from ctl.system.environment import new_run_id
from ctl.system.gate import is_gated
from ctl.system.host import Host
from ctl.system.logfile import is_sink, require_log
from ctl.system.portrait import describe, rfc3339, seen, started
from ctl.system.procfs import ticks_now
from ctl.system.spawn import require_executable
from ctl.system.wait import now
from ctl.verbs.launch import Launch, Run, stop_copy
from ctl.verbs.leftovers import runs_here
from ctl.verbs.locate import Located, locate
from ctl.verbs.misfit import misfit
from ctl.verbs.runs import faults_of, ids_of_runs, leftovers_of, with_left
from ctl.verbs.stop import require_expected, state_before

_GATED_ENDS_WITHIN = 5.0  # seconds


class StartOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line may add to the definition."""

    timeout: float | None = None  # seconds to become ready
    expect_pid: Mapping[str, int] = {}  # by target
    lock_timeout: float = 60.0  # seconds
    dry_run: bool = False
    is_wanted: bool = False  # a restart has written down that it is


def start(service: Service, host: Host, options: StartOptions) -> Result:
    """Start the service unless it runs, and return when it is ready. What runs unrecorded is adopted.

    What ran already and is not ready in time is left running. Raises CtlError: bad_config, exec_failed, not_ready
    (nothing of it is left running), busy, and where it cannot be told whether it runs.
    """
    began = now()
    start_of(service)
    if options.dry_run:
        return start_locked(service, host, options, began)
    with host.locked_to_start(service.name, "start", options.lock_timeout):
        return start_locked(service, host, options, began)


def start_locked(service: Service, host: Host, options: StartOptions, began: float) -> Result:
    """`start` for a caller who holds the target's lock."""
    located = _locate_started(service, host)
    try:
        if not options.dry_run and not options.is_wanted:
            host.want(service.name, "up", located.state)
        result = Result(
            target=service.name, ok=True, changed=False, before=state_before(located), after="running",
            reason="already_running", claims=located.claims,
        )  # fmt: skip
        require_expected(located.mains, options.expect_pid.get(service.name), must_run=located.doubt is None)
        if located.mains:
            result.pid = located.mains[0].pid
            result.after = result.before
            if result.before == "paused":
                fix = f"ctl resume {service.name}"
                result.errors.append(Fault(reason="already_paused", what="it is paused", fix=fix))
            if not options.dry_run:
                _adopt(service, host, located, result)
                result.errors += [fault] if (fault := misfit(service, host, located.mains[0])) is not None else []
                if result.before != "paused":
                    _await_ready(service, host, options, located, result)
            elif located.source != "record":
                steps = (f"record pid {result.pid}, which runs without a record",)
                result.plan = Plan(steps=steps, after=result.after)
        elif located.doubt is not None and not located.may_start:
            result.after = result.before
            result.fail(located.doubt)
        else:
            result.errors += [Fault.of(located.doubt)] if located.doubt is not None else []
            _launch_or_tell(service, host, options, located, result)
        result.duration_s = round(now() - began, 3)
        return result
    finally:
        located.close()


def _locate_started(service: Service, host: Host) -> Located:
    """The main process. A child whose ctl was killed before it opened the gate is about to end: it is waited for."""
    located = locate(service, host)
    gated = [main for main in located.mains if is_gated(main.pid)]
    if not gated:
        return located
    host.wait_ended(gated, now() + _GATED_ENDS_WITHIN)
    located.close()
    return locate(service, host)


def start_of(service: Service) -> Start:
    """Its [start] table. Raises CtlError (bad_config) where ctl cannot start it."""
    if service.start is None:
        what = "has no [start] table: ctl can stop it, but not start it"
        raise CtlError("bad_config", what, where=service.file, fix="give it one with command = [...]")
    return service.start


def plan_of(service: Service, host: Host, options: StartOptions) -> Plan:
    """What starting it would do."""
    start = start_of(service)
    whom = f" as {start.user}" if start.user else ""
    steps = (
        f"execute {shlex.join(start.command)}{whom} in {start.directory}, output to {host.log_path(service)}",
        f"wait until it is ready ({service.readiness})",
    )
    timeout = service.ready.timeout if options.timeout is None else options.timeout
    return Plan(steps=steps, longest_s=timeout, after="ready")


def require_startable(service: Service, host: Host) -> None:
    """Raises CtlError where its program is known not to start."""
    require_executable(host.program(start_of(service), service.name, "", service.file))


def require_loggable(service: Service, host: Host) -> None:
    """Raises CtlError where it is known beforehand that its log cannot be written, or not be read as it is to be."""
    _require_readable_log(service, host)
    require_log(host.log_path(service), start_of(service).log_keep, host.account(service))


def _require_readable_log(service: Service, host: Host) -> None:
    if service.ready_log is not None and is_sink(host.log_path(service)):
        what = f"what is written to {host.log_path(service)} cannot be read, as ready.log needs it"
        raise CtlError("bad_config", what, where=f"{service.file}, start.log", fix="name a file in start.log")


def _launch_or_tell(service: Service, host: Host, options: StartOptions, located: Located, result: Result) -> None:
    """A start that failed has been undone: the service is as stopped as it was."""
    try:
        _launch(service, host, options, located, result)
    except CtlError as error:
        result.after = "stopped"
        result.fail(error)


def _launch(service: Service, host: Host, options: StartOptions, located: Located, result: Result) -> None:
    start = start_of(service)
    run_id = new_run_id()
    program = host.program(start, service.name, run_id, service.file)
    require_executable(program)
    _require_readable_log(service, host)
    if options.dry_run:
        require_loggable(service, host)
        result.reason, result.after, result.plan = "planned", result.before, plan_of(service, host, options)
        return
    timeout, limit = _timeout(service, options)
    earlier, faults = earlier_runs(located, service, host)
    result.errors += faults
    put_down_earlier(host, located, earlier)
    program, key = host.with_token(program, service.name, run_id)
    launch = Launch(service, start, host, Run(run_id, key, earlier, stop_copy(service, host)))
    result.pid = launch.bring_up(program, timeout, limit)
    result.changed, result.reason, result.after = True, "started", "ready"
    result.errors += launch.faults


def _adopt(service: Service, host: Host, located: Located, result: Result) -> None:
    """Record what was found running without one. That it cannot be recorded does not stop it from running."""
    main = located.mains[0]
    try:
        if located.source == "record" and located.record is not None:
            host.records.restore_pid(located.record)
            return
        put_down_earlier(host, located, runs_here(located.state)[:MOST_OLDER])
        host.records.write(
            Record(
                target=service.name,
                identity=main.identity,
                run_id=None,
                since=rfc3339(started(main)),
                adopted=True,
                leads_session=main.stat.session == main.pid,
                last_seen=int(ticks_now()),
                stop=stop_copy(service, host),
            ),
            runs_here(located.state)[:MOST_OLDER],
        )
        result.changed = True
        host.note(service.name, "adopted", identity=main.identity)
    except CtlError as error:
        result.errors.append(Fault.of(error))


def _await_ready(service: Service, host: Host, options: StartOptions, located: Located, result: Result) -> None:
    """What runs already may still be on its way, and what comes after this start relies on it."""
    from ctl.verbs.until_ready import await_ready

    timeout, limit = _timeout(service, options)
    try:
        fault = await_ready(service, host, located, timeout, limit)
    except CtlError as error:
        result.after = "stopped" if located.mains[0].is_gone else result.after
        result.fail(error)
    else:
        result.errors += [fault] if fault is not None else []


def _timeout(service: Service, options: StartOptions) -> tuple[float, str]:
    """How many seconds it has to become ready, and where that is set."""
    return (service.ready.timeout, "ready.timeout") if options.timeout is None else (options.timeout, "--timeout")


def put_down_earlier(host: Host, located: Located, older: Sequence[Record]) -> None:
    """Write down how the run on record ended, in whose place a new one is to begin. Raises CtlError."""
    if located.state is not None and located.record is not None and located.is_record_stale:
        from ctl.verbs.ends import put_down_end

        put_down_end(located.record, located.state, host, older)


def earlier_runs(located: Located, service: Service, host: Host) -> tuple[tuple[Record, ...], list[Fault]]:
    """The runs of which something is left, or may be, though their main process has ended; and what to say of that.

    Nothing that is left keeps the service from being started, but for what is left of too many runs to be remembered:
    CtlError (failed).
    """
    recorded = runs_here(located.state)
    members = leftovers_of(ids_of_runs(located, service, host), recorded, service, host)
    try:
        handles = members.refresh()
        left = [seen(handle) for handle in handles]
        kept = with_left(recorded, members, service, host)
        faults = faults_of(members)
    finally:
        members.close()
    if left:
        many = "es" if len(left) > 1 else ""
        what = f"{len(left)} process{many} of an earlier run still there"
        fix = f"ctl stop {service.name}, which ends them too"
        if service.stop.kill_mode == "process":
            fix = f"ctl kill {service.name}, which ends them"
        faults.insert(0, Fault(reason="failed", what=what, fix=fix, details=tuple(map(describe, left))))
    if len(kept) > MOST_OLDER:
        what = f"processes of {len(kept)} earlier runs are still there, and no more than {MOST_OLDER} can be remembered"
        details = tuple(map(describe, left))
        raise CtlError("failed", what, fix=f"ctl kill {service.name}, which ends them", details=details)
    return kept, faults
