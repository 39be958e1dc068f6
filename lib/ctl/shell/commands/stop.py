from __future__ import annotations

from ctl.shell.options import (
    DryRun,
    ExpectPid,
    Grace,
    LockTimeout,
    Pid,
    ScheduleOption,
    Targets,
    require_one,
    require_one_schedule,
)
from ctl.shell.session import Session
from ctl.shell.verb import verb
from ctl.verbs import stop as stopping


@verb
def stop(
    session: Session,
    targets: Targets,
    schedule: ScheduleOption = None,
    grace: Grace = None,
    pid: Pid = None,
    expect_pid: ExpectPid = None,
    dry_run: DryRun = False,
    lock_timeout: LockTimeout = 60.0,
) -> int:
    """Stop services, and wait until they are gone. Each by its own schedule; one that does not run is left alone."""
    require_one_schedule(schedule, grace)
    require_one(targets, pid, expect_pid)
    options = stopping.StopOptions(
        schedule=schedule, grace=grace, pid=pid, expect_pid=expect_pid, lock_timeout=lock_timeout, dry_run=dry_run
    )
    return session.act(targets, lambda service, host: stopping.stop(service, host, options))
