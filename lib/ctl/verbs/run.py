"""Run: start in the foreground, as a container's first process or under a supervisor."""

from __future__ import annotations

from typing import NoReturn

from ctl.model.errors import CtlError
from ctl.model.service import Service
from ctl.system.environment import new_run_id
from ctl.system.host import Host
from ctl.system.pidfd import own_identity
from ctl.system.spawn import become, require_executable
from ctl.verbs.launch import Run, stop_copy
from ctl.verbs.locate import locate
from ctl.verbs.start import earlier_runs, put_down_earlier, start_of


def run(service: Service, host: Host, lock_timeout: float) -> NoReturn:
    """Record this process as the service's main process, then become it.

    It keeps stdout and stderr, the session and the environment that the caller gave it, so signals and the exit status
    pass through. Raises CtlError, also where the service runs already: a second one would not be a no-op here.
    """
    start = start_of(service)
    if start.type == "forking":
        raise CtlError(
            "bad_config", 'a service of type = "forking" leaves the foreground', where=service.file,
            fix=f"ctl start {service.name}",
        )  # fmt: skip
    # The descriptor of the lock is closed by exec, which releases it.
    with host.locked_to_start(service.name, "run", lock_timeout):
        located = locate(service, host)
        if located.doubt is not None and not located.may_start:
            raise located.doubt
        if located.mains:
            what = f"already running as pid {located.mains[0].pid}: run would start a second one"
            raise CtlError("failed", what, fix=f"ctl stop {service.name}")
        host.want(service.name, "up", located.state)
        run_id = new_run_id()
        program = host.program(start, service.name, run_id, service.file, inherit=True)
        require_executable(program)
        identity = own_identity()
        earlier, faults = earlier_runs(located, service, host)
        for fault in faults:
            host.say(service.name, fault.what, fault.where, fault.fix)
        put_down_earlier(host, located, earlier)
        program, key = host.with_token(program, service.name, run_id)
        run = Run(run_id, key, earlier, stop_copy(service, host))
        host.records.write(run.recorded(service.name, identity, ready=None), earlier)
        host.note(service.name, "run", identity=identity)
        try:
            become(program, host.patience)
        except CtlError:
            host.records.remove(service.name, identity)
            raise
    raise AssertionError("become does not return")
