from __future__ import annotations

from ctl.shell.options import DryRun, ExpectPid, LockTimeout, Targets, Timeout, expected_pids
from ctl.shell.session import Session
from ctl.shell.verb import verb
from ctl.verbs import start as starting


@verb
def start(
    session: Session,
    targets: Targets,
    timeout: Timeout = None,
    expect_pid: ExpectPid = None,
    dry_run: DryRun = False,
    lock_timeout: LockTimeout = 60.0,
) -> int:
    """Start services, and wait until they are ready. One that runs already is left alone."""
    expected = expected_pids(expect_pid, targets)
    options = starting.StartOptions(timeout=timeout, expect_pid=expected, lock_timeout=lock_timeout, dry_run=dry_run)
    return session.act(targets, lambda service, host: starting.start(service, host, options))
