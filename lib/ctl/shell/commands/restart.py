from __future__ import annotations

from ctl.shell.options import (
    All,
    DryRun,
    ExpectPid,
    Grace,
    LockTimeout,
    NamedOrAll,
    ScheduleOption,
    Timeout,
    Yes,
    expected_pids,
    require_one_schedule,
    require_targets_or_all,
)
from ctl.shell.session import Session
from ctl.shell.verb import verb
from ctl.verbs.restart import restart as stop_and_start
from ctl.verbs.start import StartOptions
from ctl.verbs.stop import StopOptions


@verb
def restart(
    session: Session,
    targets: NamedOrAll = None,
    every: All = False,
    yes: Yes = False,
    schedule: ScheduleOption = None,
    grace: Grace = None,
    timeout: Timeout = None,
    expect_pid: ExpectPid = None,
    dry_run: DryRun = False,
    lock_timeout: LockTimeout = 60.0,
) -> int:
    """Stop services that run, and start them. What could not be started is not stopped."""
    require_one_schedule(schedule, grace)
    named = targets or []
    require_targets_or_all(named, every, "restart")
    stopping = StopOptions(
        schedule=schedule,
        grace=grace,
        expect_pid=expected_pids(expect_pid, named),
        lock_timeout=lock_timeout,
        dry_run=dry_run,
    )
    starting = StartOptions(timeout=timeout, lock_timeout=lock_timeout)
    return session.act_on_named_or_all(
        named, lambda service, host: stop_and_start(service, host, stopping, starting), ask=not (yes or dry_run)
    )
