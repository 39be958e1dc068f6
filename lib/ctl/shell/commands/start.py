from __future__ import annotations

from typing import TYPE_CHECKING

from ctl.shell.session import Session
from ctl.shell.usage import expected_pids
from ctl.shell.verb import verb
from ctl.verbs import start as starting

if TYPE_CHECKING:
    from ctl.shell.options import DryRun, ExpectPid, LockTimeout, Targets, Timeout


@verb
def start(
    session: Session,
    targets: Targets,
    timeout: Timeout = None,
    expect_pid: ExpectPid = None,
    dry_run: DryRun = False,
    lock_timeout: LockTimeout = 60.0,
) -> int:
    """Start services, and wait until they are ready. One that runs already is waited for, and left running.

    What runs without a record is adopted: it gets one, and nothing is started. What dies or is not ready in time is
    stopped again, and the tail of its log shown.

    Exit codes:
        0: ready, or it ran already
        1, 2, 4, 5, 6, 130, 143
        151: died, or was not ready in time, and was stopped again; one that ran before is left running
        152: several processes could be it: nothing was started
        153, 199

    Examples:
        ctl start gateway
        ctl start gateway engine worker@1    # side by side
        ctl start --timeout 120 gateway      # seconds to become ready
    """
    expected = expected_pids(expect_pid, targets)
    options = starting.StartOptions(timeout=timeout, expect_pid=expected, lock_timeout=lock_timeout, dry_run=dry_run)
    return session.act(targets, lambda service, host: starting.start(service, host, options))
