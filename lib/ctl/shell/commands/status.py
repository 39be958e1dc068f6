from __future__ import annotations

from typing import TYPE_CHECKING

from ctl.model.errors import CtlError
from ctl.shell.resolving import resolve
from ctl.shell.session import Session
from ctl.shell.usage import bad_usage, require_one
from ctl.shell.verb import verb
from ctl.verbs.status import status_of_all, status_of_each

if TYPE_CHECKING:
    from ctl.model.outcome import Status
    from ctl.shell.options import AnyTargets, OnlyReady, Pid

_NOT_ALL_UP = 1
_NOT_READY = 1
_NOT_RUNNING = 3  # LSB: program is not running
_UNKNOWN = 4  # program or service status is unknown


@verb
def status(session: Session, targets: AnyTargets = None, pid: Pid = None, ready: OnlyReady = False) -> int:
    """Show what services are doing, and what became of those that do not run.

    "ended" and "crashed" are services that are gone though nobody asked for that: crashed where it is known that they
    failed. Then their last words are shown, the last lines of their log. "left over" are processes of a run whose main
    process is gone.

    The exit codes are those of the Linux Standard Base; of several targets it is the highest. Without a target all
    services are shown, one line each, and it is 0 if all that is wanted up is up, and 1 if something is not.

    With --ready it is 0 only for a service that is ready: what to give a container as its health check.

    Exit codes:
        0: running; with --ready: ready
        1: ended or crashed, or its pid file remains; without a target: not all is up; with --ready: runs, but not ready
        2
        3: not running
        4: cannot tell whether it runs, or with --ready whether it is ready; also an unknown target
        6, 130, 143, 199

    Examples:
        ctl status
        ctl status gateway
        ctl status --ready gateway   # the health check of a container
        ctl status --json gateway    # for a script
        ctl status worker@           # every instance
    """
    require_one(targets or [], pid)
    if ready and not targets:
        raise bad_usage("--ready goes with the names of services", "name them")
    host = session.host()
    if not targets:
        statuses = status_of_all(host)
        session.show(statuses, one_line_each=True)
        if any(status.state == "unknown" for status in statuses):
            return _UNKNOWN
        return 0 if all(status.is_as_wanted for status in statuses) else _NOT_ALL_UP
    try:
        services = resolve(host, targets, none_is_fine=True, undefined_too=True)
    except CtlError as error:
        session.fail(error)
        return _UNKNOWN
    statuses = status_of_each(services, host, pid)
    session.show(statuses, one_line_each=len(statuses) > 1 or targets[0].endswith("@"))
    return max((_ready_code(status) if ready else status.exit_code for status in statuses), default=_NOT_RUNNING)


def _ready_code(status: Status) -> int:
    """Of one that runs, whether it is ready: a paused one, or one that is being stopped, is not."""
    if status.exit_code or (status.ready and status.state == "ready"):
        return status.exit_code
    return _UNKNOWN if status.ready is None and status.state == "running" else _NOT_READY
