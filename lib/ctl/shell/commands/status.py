from __future__ import annotations

from ctl.model.errors import CtlError
from ctl.shell.options import AnyTargets, Pid, require_one
from ctl.shell.resolving import resolve
from ctl.shell.session import Session
from ctl.shell.verb import verb
from ctl.verbs.status import status_of_all, status_of_each

_NOT_RUNNING = 3  # LSB: program is not running
_UNKNOWN = 4  # program or service status is unknown


@verb
def status(session: Session, targets: AnyTargets = None, pid: Pid = None) -> int:
    """Show what services are doing. Exits with 0 running, 1 dead but its pid file remains, 3 not running, 4 unknown."""
    require_one(targets or [], pid)
    host = session.host()
    if not targets:
        statuses = status_of_all(host)
        session.show(statuses, one_line_each=True)
        return _UNKNOWN if any(status.state == "unknown" for status in statuses) else 0
    try:
        services = resolve(host, targets, none_is_fine=True)
    except CtlError as error:
        session.fail(error)
        return _UNKNOWN
    statuses = status_of_each(services, host, pid)
    session.show(statuses, one_line_each=len(statuses) > 1 or targets[0].endswith("@"))
    return max((status.exit_code for status in statuses), default=_NOT_RUNNING)
