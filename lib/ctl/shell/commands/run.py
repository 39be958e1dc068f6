from __future__ import annotations

from typing import TYPE_CHECKING

from ctl.model.errors import CtlError
from ctl.shell.resolving import note_refusal, resolve
from ctl.shell.session import Session
from ctl.shell.verb import verb
from ctl.verbs import run as running
from ctl.verbs.start import StartOptions, start

if TYPE_CHECKING:
    from ctl.shell.options import DryRun, LockTimeout, Target


@verb
def run(session: Session, target: Target, dry_run: DryRun = False, lock_timeout: LockTimeout = 60.0) -> int:
    """Start a service in the foreground. This process becomes it: for containers and for units of Type=exec.

    It is recorded first, so that status, stop and the others find it. Signals, stdin, stdout, stderr and the exit
    status are then those of the service.

    Exit codes:
        0: that of the service, once this process has become it; the others tell what went wrong before
        1: it runs already, or for another reason
        2, 4, 5, 6, 130, 143, 152, 153, 199

    Examples:
        ctl run gateway
    """
    if dry_run:
        return session.act([target], lambda service, host: start(service, host, StartOptions(dry_run=True)))
    host = session.host()
    service = resolve(host, [target])[0]
    try:
        running.run(service, host, lock_timeout)
    except CtlError as error:
        error.target = service.name
        note_refusal(host, error, service.name)
        raise
