from __future__ import annotations

from ctl.shell.options import (
    All,
    DryRun,
    ExpectPid,
    LockTimeout,
    NamedOrAll,
    Pid,
    Yes,
    expected_pids,
    require_one,
    require_targets_or_all,
)
from ctl.shell.session import Session
from ctl.shell.verb import verb
from ctl.verbs import stop as stopping


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
    """Kill services and all their processes at once. It waits for no lock, and cuts the work of another ctl short."""
    named = targets or []
    require_targets_or_all(named, every, "kill")
    require_one(named, pid)
    expected = expected_pids(expect_pid, named)
    options = stopping.StopOptions(pid=pid, expect_pid=expected, lock_timeout=lock_timeout, dry_run=dry_run)
    ask = not (yes or dry_run)
    return session.act_on_named_or_all(named, lambda service, host: stopping.kill(service, host, options), ask=ask)
