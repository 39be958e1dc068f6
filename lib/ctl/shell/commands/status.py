from __future__ import annotations

from typing import TYPE_CHECKING

from ctl.model.errors import CtlError
from ctl.shell.resolving import resolve
from ctl.shell.session import Session
from ctl.shell.usage import require_one
from ctl.shell.verb import verb
from ctl.verbs.status import status_of_all, status_of_each

if TYPE_CHECKING:
    from ctl.shell.options import AnyTargets, Pid

_NOT_RUNNING = 3  # LSB: program is not running
_UNKNOWN = 4  # program or service status is unknown


@verb
def status(session: Session, targets: AnyTargets = None, pid: Pid = None) -> int:
    """Show what services are doing.

    The exit codes are those of the Linux Standard Base; of several targets it is the highest. Without a target all
    services are shown, one line each, and it is 0 unless of one it cannot be told whether it runs.

    Exit codes:
        0: running
        1: dead, but its pid file remains
        2
        3: not running
        4: cannot tell whether it runs; also an unknown target
        6, 130, 143, 199

    Examples:
        ctl status
        ctl status gateway
        ctl status --json gateway    # for a script
        ctl status worker@           # every instance
    """
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
