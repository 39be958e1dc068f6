from __future__ import annotations

from typing import TYPE_CHECKING

from ctl.model.outcome import Result
from ctl.model.service import Service
from ctl.shell.resolving import resolve
from ctl.shell.session import Session
from ctl.shell.usage import expected_pids
from ctl.shell.verb import verb
from ctl.system.environment import new_run_id
from ctl.system.host import Host
from ctl.system.keeper import keeper
from ctl.verbs import pause as pausing

if TYPE_CHECKING:
    from ctl.shell.options import DryRun, ExpectPid, For, LockTimeout, Targets


@verb
def pause(
    session: Session,
    targets: Targets,
    seconds: For = None,
    expect_pid: ExpectPid = None,
    dry_run: DryRun = False,
    lock_timeout: LockTimeout = 60.0,
) -> int:
    """Drain services, then hold all their processes (SIGSTOP).

    All of a service is held or none of it. One that is paused already stays so, for as long as is said now: with --for
    it is resumed by itself, also when this ctl is gone by then.

    Exit codes:
        0: paused
        1, 2, 4, 5, 6
        7: not running
        130, 143
        150: its processes could not all be held in time: none of them is
        152, 153, 199

    Examples:
        ctl pause gateway
        ctl pause --for 10m gateway    # resumed by itself
    """
    options = pausing.PauseOptions(
        seconds=seconds,
        id=new_run_id(),
        expect_pid=expected_pids(expect_pid, targets),
        lock_timeout=lock_timeout,
        dry_run=dry_run,
    )
    host = session.host()
    services = resolve(host, targets)

    def operation(service: Service, host: Host) -> Result:
        return pausing.pause(service, host, options)

    if seconds is None or dry_run:
        return session.act_on(host, services, operation)
    places = ["--conf", str(host.config.conf_dir), "--run-dir", str(host.config.run_dir)]
    names = [service.name for service in services]
    with keeper(["resume", *names, "--due", options.id, *places], host):
        return session.act_on(host, services, operation)
