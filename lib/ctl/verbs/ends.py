"""How a main process ended: by ctl, or before anybody asked for it."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import structs

from ctl.model.last_end import how_it_ended, when_it_ended
from ctl.model.record import Record
from ctl.model.state import End, How, State
from ctl.system.exit_status import decoded, wait_status
from ctl.system.files.ours import Refused, Unreadable
from ctl.system.host import Host
from ctl.system.pidfd import Handle, boot_id, pid_namespace
from ctl.system.portrait import epoch_of, rfc3339, started
from ctl.system.systemd import is_booted
from ctl.system.wait import wall_clock

_ANSWERS_WITHIN = 1.0  # seconds: systemd, where it is asked


def end_by_ctl(main: Handle, host: Host) -> End:
    """Of one that ctl has ended just now, with its status where the kernel tells that."""
    ended = wall_clock()
    return _with_status(
        End(
            pid=main.pid,
            at=rfc3339(ended),
            ran_s=round(max(0.0, ended - started(main)), 1),
            by="ctl",
            caller=host.caller(),
        ),
        wait_status(main),
    )


def end_of_child(pid: int, status: int, began: float, caller_ended_it: Host | None) -> End:
    """Of one whose parent ctl was: `status` is that of wait(2), `began` is in seconds since the epoch."""
    ended = wall_clock()
    by_ctl = caller_ended_it is not None
    end = End(
        pid=pid,
        at=rfc3339(ended),
        ran_s=round(max(0.0, ended - began), 1),
        by="ctl" if by_ctl else "itself",
        caller=caller_ended_it.caller() if caller_ended_it is not None else None,
    )
    return _with_status(end, status)


def end_found(record: Record, before: float | None = None) -> End:
    """Of one that has ended since it was last seen, though nobody was there to see how."""
    if record.identity.boot_id != boot_id():
        return End(pid=record.identity.pid, after=record.since, before=rfc3339(epoch_of(0)))
    seen = record.last_seen or record.identity.start_ticks
    began = epoch_of(record.identity.start_ticks)
    until = wall_clock() if before is None else before
    earliest = epoch_of(seen)
    told = until - earliest <= 60  # seconds: then it is known to the minute for how long it ran
    return End(
        pid=record.identity.pid,
        after=rfc3339(earliest),
        before=rfc3339(until),
        ran_s=round(max(0.0, until - began), 1) if told else None,
    )


def end_unseen(run: Record, state: State, host: Host) -> End:
    """Of the run that is on record, whose main process has ended since: how, as far as systemd saw that.

    Where ctl was asked to end it, and has ended before it could write that down, it was by ctl.
    """
    return _if_asked_for(state, _as_unit_saw_it(run, end_found(run), host))


def as_asked_for(target: str, end: End, host: Host) -> End:
    """The end, by whom it was asked for: a ctl kill, which waits for no lock, tells of itself by what is wanted."""
    try:
        state = host.records.read_state(target)
    except (Refused, Unreadable):
        return end
    return end if state is None else _if_asked_for(state, end)


def _if_asked_for(state: State, end: End) -> End:
    wanted = state.wanted_since(boot_id())
    if wanted is not None and wanted.state == "down":
        return structs.replace(end, by="ctl", caller=wanted.by)
    return end


def put_down_end(run: Record, state: State, host: Host, older: Sequence[Record] | None = None) -> bool:
    """Write down that the run on record is over, and once, as an event, that nobody had asked for that.

    Returns whether it was still on record. Raises CtlError.
    """
    end = end_unseen(run, state, host)
    if not host.records.remove(run.target, run.identity, end, older):
        return False
    if state.is_unasked_end(boot_id()):
        words = f"{how_it_ended(end)}, {when_it_ended(end)}"
        host.note(run.target, "crashed" if end.is_failure else "ended", identity=run.identity, what=words)
    return True


def _as_unit_saw_it(run: Record, end: End, host: Host) -> End:
    if not is_booted() or run.identity.pid_ns != pid_namespace():
        return end
    from ctl.system.unit_end import end_in_unit, end_told, unit_names

    unit = host.unit
    names = [unit.name] if unit is not None else unit_names(run.target)
    began = epoch_of(run.identity.start_ticks)
    told = end_in_unit(names, run.identity.pid, began, _ANSWERS_WITHIN)
    if told is None and unit is not None and unit.has_ended:
        told = end_told()
    if told is None:
        return end
    how: How = "oom" if told.out_of_memory else "exited" if told.signal is None else "signal"
    end = structs.replace(
        end, how=how, status=told.status, signal=told.signal, by="kernel" if told.out_of_memory else end.by
    )
    if told.status is not None:
        end = structs.replace(end, by="itself")
    if told.at is None:
        return end
    ran = round(max(0.0, told.at - began), 1)
    return structs.replace(end, at=rfc3339(told.at), after=None, before=None, ran_s=ran)


def _with_status(end: End, status: int | None) -> End:
    if status is None:
        return end
    exited, by_signal = decoded(status)
    how: How = "exited" if by_signal is None else "signal"
    return structs.replace(end, how=how, status=exited, signal=by_signal)
