from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ctl.model.outcome import Result
from ctl.model.service import Service
from ctl.shell.session import Session, Spread
from ctl.shell.usage import bad_usage, expected_pids, require_one_schedule, require_targets_or_all
from ctl.shell.verb import verb
from ctl.system.host import Host
from ctl.verbs.many import Operation
from ctl.verbs.restart import restart as stop_and_start
from ctl.verbs.start import StartOptions
from ctl.verbs.stop import StopOptions

if TYPE_CHECKING:
    from ctl.shell.options import (
        All,
        DryRun,
        ExpectPid,
        Grace,
        LockTimeout,
        MaxFailures,
        NamedOrAll,
        Rolling,
        ScheduleOption,
        Timeout,
        Yes,
    )


@verb
def restart(
    session: Session,
    targets: NamedOrAll = None,
    every: All = False,
    yes: Yes = False,
    schedule: ScheduleOption = None,
    grace: Grace = None,
    timeout: Timeout = None,
    rolling: Rolling = None,
    max_failures: MaxFailures = None,
    expect_pid: ExpectPid = None,
    dry_run: DryRun = False,
    lock_timeout: LockTimeout = 60.0,
) -> int:
    """Stop services that run, and start them. What could not be started is not stopped.

    Both are done under one lock. With --rolling, the next one begins when one of those under way is ready. Those that
    do not get their turn since others failed are skipped, and left as they are.

    Exit codes:
        0: ready
        1: ready, but a hook failed; or several failed for different reasons; or nobody said yes
        2, 4, 5, 6, 130, 143
        150: still alive after the whole schedule: not started
        151: stopped, and died while starting, or was not ready in time
        152, 153, 199

    Examples:
        ctl restart gateway
        ctl restart --rolling 1 worker@                     # one after the other
        ctl restart --rolling 4 --max-failures 2 --all --yes
    """
    require_one_schedule(schedule, grace)
    named = targets or []
    require_targets_or_all(named, every, "restart")
    if max_failures is not None and rolling is None:
        raise bad_usage("--max-failures goes with --rolling: without it, all are restarted at once")
    stopping = StopOptions(
        schedule=schedule,
        grace=grace,
        expect_pid=expected_pids(expect_pid, named),
        lock_timeout=lock_timeout,
        dry_run=dry_run,
    )
    starting = StartOptions(timeout=timeout, lock_timeout=lock_timeout)
    spread = None if rolling is None or dry_run else _in_turn(rolling, max_failures or 1)
    return session.act_on_named_or_all(
        named,
        lambda service, host: stop_and_start(service, host, stopping, starting),
        ask=not (yes or dry_run),
        spread=spread,
    )


def _in_turn(at_once: int, max_failures: int) -> Spread:
    def spread(services: Sequence[Service], operation: Operation, host: Host) -> list[Result]:
        from ctl.verbs.rolling import act_in_turn

        return act_in_turn(services, operation, host, at_once, max_failures)

    return spread
