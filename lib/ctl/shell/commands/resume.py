from __future__ import annotations

from typing import TYPE_CHECKING

from ctl.shell.resolving import resolve
from ctl.shell.session import Session
from ctl.shell.usage import expected_pids
from ctl.shell.verb import verb
from ctl.verbs import resume as resuming

if TYPE_CHECKING:
    from ctl.shell.options import DryRun, Due, ExpectPid, LockTimeout, Targets


@verb
def resume(
    session: Session,
    targets: Targets,
    expect_pid: ExpectPid = None,
    dry_run: DryRun = False,
    lock_timeout: LockTimeout = 60.0,
    due: Due = None,
) -> int:
    """Let paused services go on. Nothing is left of the pause, and one that is not paused is left alone.

    Exit codes:
        0: goes on, or was not paused
        1, 2, 4, 5, 6
        7: not running
        130, 143
        150: its processes did not go on in time
        152, 153, 199

    Examples:
        ctl resume gateway
    """
    if due is not None:
        host = session.host()
        resuming.resume_when_due(resolve(host, targets), host, due)
        return 0
    options = resuming.ResumeOptions(
        expect_pid=expected_pids(expect_pid, targets), lock_timeout=lock_timeout, dry_run=dry_run
    )
    return session.act(targets, lambda service, host: resuming.resume(service, host, options))
