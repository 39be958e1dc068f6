"""How a main process ended: by ctl, or before anybody asked for it."""

from __future__ import annotations

from msgspec import structs

from ctl.model.record import Record
from ctl.model.state import End, How
from ctl.system.exit_status import how_it_ended, wait_status
from ctl.system.host import Host
from ctl.system.pidfd import Handle
from ctl.system.portrait import epoch_of, rfc3339, started
from ctl.system.wait import wall_clock


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


def _with_status(end: End, status: int | None) -> End:
    if status is None:
        return end
    exited, by_signal = how_it_ended(status)
    how: How = "exited" if by_signal is None else "signal"
    return structs.replace(end, how=how, status=exited, signal=by_signal)
