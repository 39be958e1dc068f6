"""Which processes are a service's: its marks, as its record and the key of the run directory tell them."""

from __future__ import annotations

from collections.abc import Sequence

from ctl.model.errors import CtlError
from ctl.model.match import Rules
from ctl.model.outcome import Fault
from ctl.model.record import Record, Runs, ids_of
from ctl.model.service import Service
from ctl.system.groups import groups_of
from ctl.system.host import Host
from ctl.system.key import RUN_ID, TOKEN
from ctl.system.marks import Marks
from ctl.system.members import Members
from ctl.system.pidfd import Handle
from ctl.system.portrait import describe, rfc3339, seen, started
from ctl.verbs.leftovers import led_by, proved_run, runs_here, split_left_over
from ctl.verbs.locate import Located
from ctl.verbs.unit import bounds_of_unit


def members_of(located: Located, service: Service, host: Host) -> Members:
    """The members of what was found, and of the runs that are known."""
    recorded = runs_here(located.state)
    runs = ids_of_runs(located, service, host)
    marks = _marks(runs, service, host, recorded)
    began = [main.stat.start_ticks for main in located.mains]
    if marks or recorded:
        is_all = bool(recorded) and runs == ids_of(recorded)
        began += [run.run_began for run in recorded] if is_all else [0]
    return Members(
        located.mains,
        marks,
        min(began, default=0),
        within=bounds_of_unit(located, host),
        others=host.others_than(service.name),
        led=led_by(recorded),
        groups=groups_of(recorded),
    )


def leftovers_of(runs: Runs, recorded: Sequence[Record], service: Service, host: Host) -> Members:
    """What is left of these runs, whose main process has ended."""
    marks = _marks(runs, service, host, recorded)
    others = host.others_than(service.name)
    return Members([], marks, 0, others=others, led=led_by(recorded), groups=groups_of(recorded))


def with_left(recorded: Sequence[Record], members: Members, service: Service, host: Host) -> tuple[Record, ...]:
    """Those of the recorded runs of which something is left, as the last look of `members` shows, or may be.

    What is left of a run that is on record no more is told by its oldest process.
    """
    left = members.known()
    if members.unproved() or members.gave_up or members.unreadable:
        return tuple(recorded)
    uid = host.service_uid(service)
    kept = [run for run in recorded if split_left_over(left, [run], uid, host)[1]]
    unrecorded = split_left_over(left, recorded, uid, host)[0]
    kept += _told_by(unrecorded, service, host)
    return tuple(kept) if kept or not left else tuple(recorded)


def _told_by(left: Sequence[Handle], service: Service, host: Host) -> list[Record]:
    """The runs that these processes prove to be of."""
    try:
        key = host.key()
    except CtlError:
        key = None
    found: dict[str, Record] = {}
    for handle in left:
        run_id = proved_run(handle.pid, service.name, key) if key is not None else None
        if run_id is not None and key is not None and run_id not in found:
            found[run_id] = Record(
                target=service.name, identity=handle.identity, run_id=run_id, key=key.id, since=rfc3339(started(handle))
            )
    return list(found.values())


def faults_of(members: Members) -> list[Fault]:
    """What is to be said of processes that may be the service's, and are left alone. It is seen by the last look."""
    faults = []
    if unproved := [seen(handle) for handle in members.unproved()]:
        what = f"{len(unproved)} carry the token of its run as another user, which proves nothing: left alone"
        faults.append(Fault(reason="failed", what=what, details=tuple(map(describe, unproved))))
    if members.unreadable:
        faults.append(Fault(reason="failed", what=f"cannot tell who carries its token: {members.unreadable}"))
    return faults


def ids_of_runs(located: Located, service: Service, host: Host) -> Runs:
    """Those of the runs on record; where these do not tell of the main process's, that as well.

    A record that was put back from a backup, or lost, tells nothing of the run that there is. A process can claim any
    run, as their ids are public: it is believed where it carries the token that the key makes of that for this target.
    """
    known = ids_of(runs_here(located.state))
    record = located.record
    if located.source == "record" and record is not None and record.run_id is not None:
        return known
    pids = [main.pid for main in located.mains]
    if not pids and (located.state is None if service.has_rules else record is not None):
        pids = marked(service, host)
    try:
        key = host.key() if pids else None
    except CtlError:
        key = None
    if key is None or known.key not in (None, key.id):
        return known
    told = [run_id for pid in pids if (run_id := proved_run(pid, service.name, key)) is not None]
    return Runs(tuple(dict.fromkeys([*known.ids, *told])), known.bare, key.id)


def marked(service: Service, host: Host) -> list[int]:
    """Who carries the marker: none of them is taken for the main process."""
    scan = host.scan(Rules(marker=host.marker(service)))
    scan.close()
    return [handle.pid for handle in scan.matching]


def _marks(runs: Runs, service: Service, host: Host, recorded: Sequence[Record]) -> Marks:
    """What the processes of these runs carry."""
    values = {RUN_ID: frozenset(runs.bare)}
    unreadable = ""
    try:
        values[TOKEN] = frozenset(host.token(service.name, run_id, runs.key) for run_id in runs.keyed)
    except CtlError as error:
        unreadable = error.what
    return Marks(
        uid=host.service_uid(service),
        values={variable: its for variable, its in values.items() if its},
        sessions=frozenset(run.identity.pid for run in recorded),
        unreadable=unreadable,
    )
