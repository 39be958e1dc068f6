from __future__ import annotations

from ctl.shell.options import DryRun, ExpectPid, LockTimeout, Pid, Targets, require_one
from ctl.shell.session import Session
from ctl.shell.verb import verb
from ctl.verbs import stop as stopping


@verb
def kill(
    session: Session,
    targets: Targets,
    pid: Pid = None,
    expect_pid: ExpectPid = None,
    dry_run: DryRun = False,
    lock_timeout: LockTimeout = 60.0,
) -> int:
    """Kill services and all their processes at once. It waits for no lock, and cuts the work of another ctl short."""
    require_one(targets, pid, expect_pid)
    options = stopping.StopOptions(pid=pid, expect_pid=expect_pid, lock_timeout=lock_timeout, dry_run=dry_run)
    return session.act(targets, lambda service, host: stopping.kill(service, host, options))
