from __future__ import annotations

from typing import TYPE_CHECKING

from ctl.shell.session import Session
from ctl.shell.usage import expected_pids, require_one, require_one_schedule, require_targets_or_all
from ctl.shell.verb import verb
from ctl.verbs import stop as stopping

if TYPE_CHECKING:
    from ctl.shell.options import All, AnyTargets, DryRun, ExpectPid, Grace, LockTimeout, Pid, ScheduleOption, Yes


@verb
def stop(
    session: Session,
    targets: AnyTargets = None,
    every: All = False,
    yes: Yes = False,
    schedule: ScheduleOption = None,
    grace: Grace = None,
    pid: Pid = None,
    expect_pid: ExpectPid = None,
    dry_run: DryRun = False,
    lock_timeout: LockTimeout = 60.0,
) -> int:
    """Stop services, and wait until they are gone. Each by its own schedule; one that does not run is left alone.

    The before hooks run, it is drained, the schedule is carried out, what outlives the main process is ended, and the
    after hooks run.

    Where its definition is broken or gone, its state file tells how to end it: hooks and drain are skipped then.

    Each step also reaches the children, so that a database behind a wrapper is told to end before it is killed: at once
    where the main process ignores the signal, else after half of the step's wait, if the main process is still alive
    then. With kill_mode "tree" all are sent each step at once; with "process" only the main process is sent any.

    Without a target, or with --all: every service that runs, but the protected ones. On a terminal it asks first.
    Elsewhere, as in a script, a stop without a target does nothing unless --all or --yes is given: it exits with 2, and
    lists what it would have stopped. As ExecStop= of a systemd unit it goes ahead.

    Exit codes:
        0: stopped, or it did not run
        1: stopped, but a hook failed; or several failed for different reasons; or nobody said yes
        2: usage; also without a target, where nobody can be asked
        4
        5: unknown target; then nothing is done to the others either
        6, 130, 143
        150: still alive after the whole schedule
        152, 153, 199

    Examples:
        ctl stop gateway
        ctl stop worker@                               # every instance
        ctl stop --dry-run gateway                     # who would be signalled, how, and how long it could take
        ctl stop --grace 5 gateway                     # its first signal, 5 s, KILL
        ctl stop --schedule QUIT/10/TERM/10/KILL/5 gateway
        ctl stop --expect-pid 4711 gateway             # only if that is its main process
    """
    named = targets or []
    require_targets_or_all(named, every or not named, "stop")
    require_one_schedule(schedule, grace)
    require_one(named, pid)
    options = stopping.StopOptions(
        schedule=schedule,
        grace=grace,
        pid=pid,
        expect_pid=expected_pids(expect_pid, named),
        lock_timeout=lock_timeout,
        dry_run=dry_run,
    )
    ask = not (yes or dry_run)
    return session.act_on_named_or_all(
        named,
        lambda service, host: stopping.stop(service, host, options),
        ask=ask,
        undefined_too=True,
        is_bare=not (named or every or yes or dry_run),
    )
