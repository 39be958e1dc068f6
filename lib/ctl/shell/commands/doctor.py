from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ctl.model.diagnosis import Diagnosis, exit_code_of_all
from ctl.model.errors import CtlError
from ctl.shell.diagnosis import diagnosis_lines
from ctl.shell.resolving import resolve
from ctl.shell.session import Session
from ctl.shell.verb import verb
from ctl.system.host import Host
from ctl.verbs.doctor import Doctor, doctor_of_nothing

if TYPE_CHECKING:
    from ctl.shell.options import AnySubjects

_SUFFIX = ".service"


@verb
def doctor(session: Session, targets: AnySubjects = None) -> int:
    """Tell what will not work, and what fixes it.

    Without a target: this host, every definition, and every systemd unit that calls ctl. With one: it, and the units
    that call ctl for it or hold its process. With the name of a unit: that unit.

    Each finding comes with its severity, its place and its fix: a command, or a file with its lines. An error will
    not work, a warning not in the case that it names, and a note works and may surprise. It has no effect.

    Exit codes:
        0: all is well, notes aside
        1: something will not work
        2
        4: something could not be read
        5: a name that nobody has
        130, 143, 199

    Examples:
        ctl doctor
        ctl doctor gateway            # its definition, its process, and the units that call ctl for it
        ctl doctor gateway.service    # a unit
    """
    diagnoses = _diagnoses(session, targets or [])
    faults = [fault for one in diagnoses for fault in one.errors]
    lines = [line for one in diagnoses for line in ("", *diagnosis_lines(one))][1:]
    session.present(diagnoses, lines, faults, ok=all(one.ok for one in diagnoses))
    return exit_code_of_all(diagnoses)


def _diagnoses(session: Session, names: Sequence[str]) -> list[Diagnosis]:
    settings_faults: list[CtlError] = []
    try:
        host = session.host(settings_faults)
        everything = None if names else Doctor(host).everything(settings_faults)
    except CtlError as error:
        if names or error.reason == "permission_denied":
            raise
        return doctor_of_nothing(error)
    return everything if everything is not None else _named(host, names)


def _named(host: Host, names: Sequence[str]) -> list[Diagnosis]:
    known = set(host.config.service_names())
    units = [name for name in names if name.endswith(_SUFFIX) and name not in known]
    services = resolve(host, [name for name in names if name not in units])
    doctor = Doctor(host)
    found = doctor.units(units) if units else []
    found += doctor.targets(services) if services else []
    return list({(one.kind, one.target): one for one in found}.values())
