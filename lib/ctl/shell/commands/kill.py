from __future__ import annotations

from typing import TYPE_CHECKING

from ctl.shell.session import Session
from ctl.shell.usage import expected_pids, require_one, require_targets_or_all
from ctl.shell.verb import verb
from ctl.verbs import stop as stopping

if TYPE_CHECKING:
    from ctl.shell.options import All, DryRun, ExpectPid, LockTimeout, NamedOrAll, Pid, Yes


@verb
def kill(
    session: Session,
    targets: NamedOrAll = None,
    every: All = False,
    yes: Yes = False,
    pid: Pid = None,
    expect_pid: ExpectPid = None,
    dry_run: DryRun = False,
    lock_timeout: LockTimeout = 60.0,
) -> int:
    """Kill services and all their processes at once. It waits for no lock, and cuts the work of another ctl short.

    KILL to every process of the service, without hooks or drain. It returns when all are gone. One that does not run
    is left alone.

    Where its definition is broken or gone, its state file tells how to end it: hooks and drain are skipped then.

    Exit codes:
        0: killed, or it did not run
        1, 2, 4
        5: unknown target; then nothing is done to the others either
        6, 130, 143
        150: still alive 5 s after KILL
        152, 199

    Examples:
        ctl kill gateway
        ctl kill --dry-run gateway    # who would be killed
        ctl kill --all --yes          # every service that runs, but the protected ones
    """
    named = targets or []
    require_targets_or_all(named, every, "kill")
    require_one(named, pid)
    expected = expected_pids(expect_pid, named)
    options = stopping.StopOptions(pid=pid, expect_pid=expected, lock_timeout=lock_timeout, dry_run=dry_run)
    ask = not (yes or dry_run)
    return session.act_on_named_or_all(
        named, lambda service, host: stopping.kill(service, host, options), ask=ask, undefined_too=True
    )
