from __future__ import annotations

from typing import TYPE_CHECKING

from ctl.shell.session import Session
from ctl.shell.usage import expected_pids
from ctl.shell.verb import verb
from ctl.verbs import reload as reloading

if TYPE_CHECKING:
    from ctl.shell.options import DryRun, ExpectPid, LockTimeout, Targets


@verb
def reload(
    session: Session,
    targets: Targets,
    expect_pid: ExpectPid = None,
    dry_run: DryRun = False,
    lock_timeout: LockTimeout = 60.0,
) -> int:
    """Have running services take in a new configuration.

    By the signal or command of their [reload] table. A signal that the service does not catch and that would end it
    is not sent. Then it is looked whether the service survives it.

    Exit codes:
        0: done, and the service runs on
        1: its command failed, the signal would end it or did, or it is paused
        2, 4, 5
        6: bad configuration, or no [reload] table
        7: not running
        130, 143, 152, 153, 199

    Examples:
        ctl reload gateway
    """
    options = reloading.ReloadOptions(
        expect_pid=expected_pids(expect_pid, targets), lock_timeout=lock_timeout, dry_run=dry_run
    )
    return session.act(targets, lambda service, host: reloading.reload(service, host, options))
