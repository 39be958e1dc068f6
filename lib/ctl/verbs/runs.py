"""Which processes are a service's: its marks, as its record and the key of the run directory tell them."""

from __future__ import annotations

from ctl.model.errors import CtlError
from ctl.model.outcome import Fault
from ctl.model.record import Record, Runs, runs_on_record
from ctl.model.service import Service
from ctl.system import procfs
from ctl.system.host import Host
from ctl.system.key import RUN_ID, TOKEN, Key
from ctl.system.marks import Marks
from ctl.system.members import Members
from ctl.system.pidfd import boot_id
from ctl.system.portrait import describe, seen
from ctl.system.procfs import Gone
from ctl.verbs.locate import Located
from ctl.verbs.unit import bounds_of_unit


def members_of(located: Located, service: Service, host: Host) -> Members:
    """The members of what was found, and of the runs that are known."""
    mains, record = located.mains, located.record
    runs = runs_of(located, service, host)
    marks = _marks(runs, service, host, record)
    within = bounds_of_unit(located, host)
    others = host.others_than(service.name)
    if not marks:
        return Members(mains, marks, within=within, others=others)
    is_all = record is not None and not record.earlier_run_ids and runs == runs_on_record(record)
    began = record.run_began if is_all and record is not None else 0
    return Members(mains, marks, min([began, *(main.stat.start_ticks for main in mains)]), within=within, others=others)


def leftovers_of(runs: Runs, service: Service, host: Host) -> Members:
    """What is left of these runs, whose main process has ended."""
    return Members([], _marks(runs, service, host, None), 0, others=host.others_than(service.name))


def faults_of(members: Members) -> list[Fault]:
    """What is to be said of processes that may be the service's, and are left alone. It is seen by the last look."""
    faults = []
    if unproved := [seen(handle) for handle in members.unproved()]:
        what = f"{len(unproved)} carry the token of its run as another user, which proves nothing: left alone"
        faults.append(Fault(reason="failed", what=what, details=tuple(map(describe, unproved))))
    if members.unreadable:
        faults.append(Fault(reason="failed", what=f"cannot tell who carries its token: {members.unreadable}"))
    return faults


def runs_of(located: Located, service: Service, host: Host) -> Runs:
    """The runs of the record, if it is of this boot; where it does not tell of the main process's, that as well.

    A record that was put back from a backup, or lost, tells nothing of the run that there is. A process can claim any
    run, as their ids are public: it is believed where it carries the token that the key makes of that for this target.
    """
    record = located.record if located.record and located.record.identity.boot_id == boot_id() else None
    known = runs_on_record(record)
    if located.source == "record" and record is not None and record.run_id is not None:
        return known
    pids = [main.pid for main in located.mains]
    if not pids and located.record is not None and not service.has_rules:
        pids = _marked(service, host)
    try:
        key = host.key() if pids else None
    except CtlError:
        key = None
    if key is None or known.key not in (None, key.id):
        return known
    told = [run_id for pid in pids if (run_id := _proved_run(pid, service.name, key)) is not None]
    return Runs(tuple(dict.fromkeys([*known.ids, *told])), known.bare, key.id)


def _proved_run(pid: int, target: str, key: Key) -> str | None:
    """The id of the run that the process proves by its token to be of, None where it proves none."""
    try:
        run_id, token = procfs.read_variable(pid, RUN_ID), procfs.read_variable(pid, TOKEN)
    except Gone:
        return None
    return run_id if run_id and token == key.token(target, run_id) else None


def _marked(service: Service, host: Host) -> list[int]:
    """Who carries the marker: none of them is taken for the main process beside a record."""
    scan = host.scan(host.rules(service))
    scan.close()
    return [handle.pid for handle in scan.matching]


def _marks(runs: Runs, service: Service, host: Host, record: Record | None) -> Marks:
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
        sessions=frozenset() if record is None else frozenset({record.identity.pid}),
        unreadable=unreadable,
    )
