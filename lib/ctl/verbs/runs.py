"""Which runs of a service there may be something left of: what its record tells, and what its processes show."""

from __future__ import annotations

from ctl.model.match import Marker
from ctl.model.service import Service
from ctl.system.host import Host
from ctl.system.members import Members
from ctl.system.pidfd import boot_id
from ctl.system.procfs import Gone, read_marker, read_variable
from ctl.verbs.locate import Located
from ctl.verbs.unit import bounds_of_unit


def members_of(located: Located, service: Service, host: Host) -> Members:
    """The members of what was found, and of the runs that are known."""
    mains, record = located.mains, located.record
    run_ids = run_ids_of(located, service, host)
    within = bounds_of_unit(located, host)
    if not run_ids:
        return Members(mains, (), within=within)
    is_all = record is not None and not record.earlier_run_ids and {*run_ids} == {*record.run_ids}
    began = record.run_began if is_all and record is not None else 0
    return Members(mains, run_ids, min([began, *(main.stat.start_ticks for main in mains)]), within=within)


def run_ids_of(located: Located, service: Service, host: Host) -> tuple[str, ...]:
    """The run ids of the record, if it is of this boot; where it does not name the main process, those found as well.

    A record that was put back from a backup, or forged, tells nothing of the run that there is.
    """
    record = located.record
    known = list(record.run_ids) if record is not None and record.identity.boot_id == boot_id() else []
    if located.source == "record":
        return tuple(known)
    marker = host.marker(service)
    found = [run_id_of(main.pid, marker) for main in located.mains]
    if not located.mains and record is not None and not service.has_rules:
        found += _carried(service, host)
    return tuple(dict.fromkeys([*known, *(run_id for run_id in found if run_id is not None)]))


def run_id_of(pid: int, marker: Marker) -> str | None:
    """The run id that the process was given as this very service, None where it was given none."""
    try:
        run_id = read_variable(pid, "CTL_RUN_ID") if read_marker(pid) == marker else None
    except Gone:
        return None
    return run_id if run_id and len(run_id) == 32 and set(run_id) <= set("0123456789abcdef") else None


def _carried(service: Service, host: Host) -> list[str | None]:
    """The run ids of whoever carries the marker: none of them is taken for the main process beside a record."""
    scan = host.scan(host.rules(service))
    try:
        return [run_id_of(handle.pid, host.marker(service)) for handle in scan.matching]
    finally:
        for handle in scan.matching:
            handle.close()
