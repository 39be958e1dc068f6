"""What is left of a run whose main process has ended: it belongs to the service, and is never its main process."""

from __future__ import annotations

from collections.abc import Sequence

from ctl.model.errors import CtlError
from ctl.model.record import Record
from ctl.model.state import State
from ctl.system import procfs
from ctl.system.groups import groups_of
from ctl.system.host import Host
from ctl.system.key import RUN_ID, TOKEN, Key
from ctl.system.pidfd import Handle, boot_id, pid_namespace
from ctl.system.procfs import Forbidden, Gone
from ctl.system.sessions import Led, Sessions


def runs_here(state: State | None) -> tuple[Record, ...]:
    """The runs on record of which a process can be there: those of this boot."""
    runs = () if state is None else state.runs
    return tuple(run for run in runs if run.identity.boot_id == boot_id())


def led_by(runs: Sequence[Record]) -> dict[int, Led]:
    """The sessions that the main processes of these runs have led, as far as it was written down."""
    return {
        run.identity.pid: Led(run.identity.start_ticks, run.last_seen)
        for run in reversed(runs)
        if run.leads_session and run.identity.pid_ns == pid_namespace()
    }


def split_left_over(
    found: Sequence[Handle], runs: Sequence[Record], uid: int, host: Host
) -> tuple[list[Handle], list[Handle]]:
    """Who was `found` and is not left over of these runs, and who is."""
    runs = [run for run in runs if run.identity.boot_id == boot_id()]
    sessions, groups = Sessions(led_by(runs)), groups_of(runs)
    left = [
        handle
        for handle in found
        if sessions.prove(handle.stat, ())
        or any(group.holds(handle.pid) for group in groups)
        or _carries_token(handle, runs, uid, host)
    ]
    left += [handle for handle in found if handle not in left and sessions.prove(handle.stat, left)]
    return [handle for handle in found if handle not in left], left


def proved_run(pid: int, target: str, key: Key) -> str | None:
    """The id of the run that the process proves by its token to be of, None where it proves none."""
    try:
        run_id, token = procfs.read_variable(pid, RUN_ID), procfs.read_variable(pid, TOKEN)
    except Gone:
        return None
    return run_id if run_id and token == key.token(target, run_id) else None


def _carries_token(handle: Handle, runs: Sequence[Record], uid: int, host: Host) -> bool:
    try:
        carried = procfs.read_variable(handle.pid, RUN_ID)
        run = next((run for run in runs if run.run_id == carried), None)
        if not carried or run is None or set(procfs.read_users(handle.pid)) != {uid}:
            return False
        if run.key is None:
            return True
        return procfs.read_variable(handle.pid, TOKEN) == host.token(run.target, carried, run.key)
    except (Gone, Forbidden, CtlError):
        return False
