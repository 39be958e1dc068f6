"""Status: what a service is doing now, read and never changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ctl.model.answer import Answer
from ctl.model.errors import CtlError
from ctl.model.outcome import Fault, Seen, State, Status
from ctl.model.record import Record
from ctl.model.service import Service
from ctl.model.state import End, Wanted
from ctl.model.verdict import NO, YES
from ctl.system import lock
from ctl.system.failure import as_ctl_error
from ctl.system.host import Host
from ctl.system.logfile import tail, was_written_since
from ctl.system.pidfd import Handle, boot_id
from ctl.system.portrait import epoch_of, rfc3339, seen, started, vitals
from ctl.system.probe import probe_of
from ctl.system.wait import wall_clock
from ctl.system.when import instant_of
from ctl.verbs.anothers import anothers
from ctl.verbs.asking import ask
from ctl.verbs.holding import held_by_tracer
from ctl.verbs.locate import Located, has_runs, locate
from ctl.verbs.many import each

if TYPE_CHECKING:
    from ctl.system.members import Members

_PROBE_WITHIN = 1.0  # seconds: status answers soon, whatever the service does
_WORDS = 5  # lines


def status_of_all(host: Host) -> list[Status]:
    """Every service and known instance; one whose definition cannot be used is unknown. Raises CtlError."""
    from ctl.verbs.targets import every_target
    from ctl.verbs.undefined import service_or_copy, undefined_targets

    targets, unusable = every_target(host)
    services: list[Service] = []
    found: dict[str, Status] = {}
    undefined = undefined_targets(host, targets)
    for target in [*targets, *undefined]:
        try:
            services.append(service_or_copy(target, host))
        except CtlError as error:
            found[str(target)] = _unusable(str(target), error)
    found |= {status.target: status for status in status_of_each(services, host)}
    there = [found[str(target)] for target in undefined if _is_something(found[str(target)])]
    return [found[str(target)] for target in targets] + there + [_unusable(*each) for each in unusable.items()]


def _is_something(status: Status) -> bool:
    """Whether there is more of one without a definition than a stray file."""
    return status.pid is not None or status.state in ("ended", "crashed") or bool(status.left_over)


def _unusable(target: str, error: CtlError) -> Status:
    return Status(target=target, state="unknown", errors=Fault.each_of(error))


def status_of_each(services: Sequence[Service], host: Host, given_pid: int | None = None) -> list[Status]:
    """The status of these services. Those that answer for themselves are asked side by side.

    The others are read one after the other: a thousand threads would only wait for each other.
    """
    host.prepare_to_look_at(len(services))
    asked = [service for service in services if _answers(service)]
    answers = iter(each(asked, lambda service: status(service, host, given_pid)))
    return [next(answers) if _answers(service) else status(service, host, given_pid) for service in services]


def _answers(service: Service) -> bool:
    """Whether a running one is asked now, which takes as long as it takes it to answer."""
    return service.ready.tcp is not None or service.ready.http is not None


def status(service: Service, host: Host, given_pid: int | None = None) -> Status:
    """The state with what a person wants to know. What cannot be told is "unknown", never "stopped"."""
    try:
        return _status(service, host, given_pid)
    except Exception as error:  # noqa: BLE001 - what cannot be told of one must not cost the others their status
        faults = Fault.each_of(as_ctl_error(error))
        return Status(target=service.name, state="unknown", description=service.description, errors=faults)


def _status(service: Service, host: Host, given_pid: int | None) -> Status:
    located = locate(service, host, given_pid)
    try:
        if not located.mains:
            return _not_found(service, host, located)
        return _running(service, host, located, located.mains[0])
    finally:
        located.close()


def _not_found(service: Service, host: Host, located: Located) -> Status:
    known = located.state
    left, faults = left_over_of(service, host, located)
    if located.doubt is not None:
        state: State = "unknown"
        faults.insert(0, Fault.of(located.doubt))
    else:
        state = located.state_without_main
    faults += _why_undefined(service)
    if service.fault is not None and service.fault.reason == "bad_config" and state in ("stopped", "stale"):
        state = "unknown"  # its rules might find it
    end = None if known is None else known.last_end
    words: tuple[str, ...] = ()
    if state in ("ended", "crashed") and known is not None:
        if known.run is not None:
            from ctl.verbs.ends import end_unseen

            end = end_unseen(known.run, known, host)
            state = "crashed" if end.is_failure else "ended"
        words = last_words(service, host, end, known.run)
    return Status(
        target=service.name,
        state=state,
        description=service.description,
        left_over=left,
        wanted=_wanted(located),
        last_end=end,
        last_words=words,
        claim=located.claims,
        errors=faults,
    )


def _why_undefined(service: Service) -> list[Fault]:
    if service.fault is None:
        return []
    from ctl.verbs.undefined import why_undefined

    return why_undefined(service)


def _wanted(located: Located) -> Wanted | None:
    return None if located.state is None else located.state.wanted_since(boot_id())


def left_over_of(service: Service, host: Host, located: Located) -> tuple[list[Seen], list[Fault]]:
    """What is left of runs whose main process has ended, and what may be, so that it cannot be told."""
    known = located.state
    if known is not None and not (known.older if located.mains else known.runs):
        return [], []
    from ctl.verbs.leftovers import runs_here, split_left_over
    from ctl.verbs.runs import faults_of, marked, members_of

    ended = runs_here(known)
    if located.mains and known is not None:
        ended = tuple(run for run in known.older if run in ended)
    is_lost = known is None and not located.mains and has_runs(located, host)
    if not ended and not (is_lost and marked(service, host)):
        return [], []
    members = members_of(located, service, host)
    try:
        found = members.refresh()
        if located.mains:
            found = split_left_over(found, ended, host.service_uid(service), host)[1]
        return [seen(handle) for handle in found], faults_of(members)
    finally:
        members.close()


def last_words(service: Service, host: Host, end: End | None, run: Record | None) -> tuple[str, ...]:
    """The last lines of its log, read as whoever may write it: none where the log is older than the run that ended."""
    began = _began(end, run)
    try:
        log, account = host.log_path(service), host.account(service)
    except CtlError:
        return ()
    if began is None or not was_written_since(log, began, account):
        return ()
    return tail(log, _WORDS, 0, account)


def _began(end: End | None, run: Record | None) -> float | None:
    """When the run began that has ended, in seconds since the epoch."""
    if run is not None:
        return epoch_of(run.identity.start_ticks)
    if end is None or end.at is None or end.ran_s is None:
        return None
    return instant_of(end.at) - end.ran_s - 1  # it is told to the second


def _running(service: Service, host: Host, located: Located, main: Handle) -> Status:
    process = seen(main)
    facts = vitals(main, anothers(service, host))
    began = started(main)
    uptime = uptime_of(main)
    is_stopped = main.is_stopped
    is_paused = is_stopped is True
    paused = host.pause_of(service, main) if is_paused else None
    answer = None if is_paused else whether_ready(service, host, located, uptime)
    ready = None if answer is None else answer.verdict == YES
    left, faults = left_over_of(service, host, located)
    faults += _why_undefined(service)
    return Status(
        target=service.name,
        state="paused" if is_paused else _state(host, service.name, ready),
        description=service.description,
        pid=main.pid,
        since=rfc3339(began),
        uptime_s=round(uptime, 1),
        user=process.user,
        command=process.command,
        cpu_percent=facts.cpu_percent,
        rss_bytes=facts.rss_bytes,
        threads=facts.threads,
        children=facts.children,
        ready=ready,
        paused_since=None if paused is None else paused.since,
        paused_until=None if paused is None else paused.until,
        left_over=left,
        wanted=_wanted(located),
        last_end=None if located.state is None else located.state.last_end,
        claim=located.claims,
        errors=faults if is_stopped is not None else [_untold(main), *faults],
    )


def _untold(main: Handle) -> Fault:
    what = f"cannot tell whether it is paused, or would stay so{held_by_tracer([main])}"
    return Fault(reason="unknown", what=what)


def _state(host: Host, target: str, is_ready: bool | None) -> State:
    busy_with = lock.purpose_held(host.records.lock_file(target))
    if busy_with == "stop":
        return "stopping"
    if is_ready:
        return "ready"
    return "starting" if busy_with in ("start", "restart") else "running"


def uptime_of(main: Handle) -> float:
    """Seconds since it was started."""
    return max(wall_clock() - started(main), 0.0)


def whether_ready(
    service: Service, host: Host, located: Located, uptime: float, within: float = _PROBE_WITHIN
) -> Answer | None:
    """A connection or request is tried now, `within` seconds; a command, a log line or a message are known from its
    start.

    None where nobody saw it start, or no definition says what makes it ready.
    """
    if service.fault is not None:
        return None
    ready = service.ready
    probe = probe_of(ready, None)
    if probe is not None:
        return _of_its_own(ask(host, probe, within), service, host, located)
    record = located.record if located.source == "record" else None
    if ready.command is None and ready.log is None and not service.notifies:
        return Answer(YES if uptime >= ready.settle else NO)
    return None if record is None or record.adopted else Answer(YES if record.ready else NO)


def _of_its_own(answer: Answer, service: Service, host: Host, located: Located) -> Answer:
    """No where another process has given the answer."""
    if answer.peer is None or service.ready.listener == "any":
        return answer
    from contextlib import ExitStack, closing

    from ctl.verbs.listener import judge_answer

    with ExitStack() as opened:

        def members() -> Members:
            from ctl.verbs.runs import members_of

            return opened.enter_context(closing(members_of(located, service, host)))

        listener = judge_answer(answer, service, host, located.mains, members)
    return Answer(NO, listener.why) if listener.verdict == NO else answer
