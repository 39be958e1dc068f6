from __future__ import annotations

from ctl.shell.options import (
    DryRun,
    ExpectPid,
    Grace,
    LockTimeout,
    ScheduleOption,
    Targets,
    Timeout,
    require_one,
    require_one_schedule,
)
from ctl.shell.session import Session
from ctl.shell.verb import verb
from ctl.verbs.restart import restart as stop_and_start
from ctl.verbs.start import StartOptions
from ctl.verbs.stop import StopOptions


@verb
def restart(
    session: Session,
    targets: Targets,
    schedule: ScheduleOption = None,
    grace: Grace = None,
    timeout: Timeout = None,
    expect_pid: ExpectPid = None,
    dry_run: DryRun = False,
    lock_timeout: LockTimeout = 60.0,
) -> int:
    """Stop services that run, and start them. What could not be started is not stopped."""
    require_one_schedule(schedule, grace)
    require_one(targets, None, expect_pid)
    stopping = StopOptions(
        schedule=schedule, grace=grace, expect_pid=expect_pid, lock_timeout=lock_timeout, dry_run=dry_run
    )
    starting = StartOptions(timeout=timeout, lock_timeout=lock_timeout)
    return session.act(targets, lambda service, host: stop_and_start(service, host, stopping, starting))
