"""Reload: have a running service take in its new configuration, by a signal or a command, and see that it lives on."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Final

import msgspec

from ctl.model.errors import CtlError
from ctl.model.outcome import Plan, Result, Signalled, State
from ctl.model.schedule import signal_name
from ctl.model.service import Argv, Reload, Service
from ctl.model.verdict import YES
from ctl.system.failure import as_ctl_error
from ctl.system.host import Host
from ctl.system.pidfd import Handle
from ctl.system.portrait import seen
from ctl.system.probe import command
from ctl.system.wait import now
from ctl.verbs.asking import ask, still_there
from ctl.verbs.locate import Located, locate
from ctl.verbs.stop import require_expected, state_before
from ctl.verbs.unit import is_elsewhere

# What by default ends no process, signal(7): those it ignores, and those that stop it until the CONT that follows.
_HARMLESS: Final = frozenset("CHLD CONT URG WINCH TSTP TTIN TTOU".split())
_DIES_WITHIN: Final = 0.1  # seconds


class ReloadOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line may add to the definition."""

    expect_pid: Mapping[str, int] = {}  # by target
    lock_timeout: float = 60.0  # seconds
    dry_run: bool = False


def reload(service: Service, host: Host, options: ReloadOptions) -> Result:
    """Send the signal, or run the command, of [reload]. The result fails where the service is not running or paused,
    where the signal would end it or did so, and where the command fails.

    Raises CtlError: bad_config where there is no [reload], busy, and where it cannot be told which process it is.
    """
    if service.reload is None:
        raise CtlError("bad_config", "has no [reload] table: ctl does not know how to reload it", where=service.file)
    began = now()
    if options.dry_run:
        return _reload(service, service.reload, host, options, began)
    with host.locked(service.name, "reload", options.lock_timeout):
        return _reload(service, service.reload, host, options, began)


def _reload(service: Service, given: Reload, host: Host, options: ReloadOptions, began: float) -> Result:
    located = locate(service, host)
    mains, before = located.mains, state_before(located)
    result = Result(
        target=service.name, ok=True, changed=False, before=before, after=before, reason="reloaded",
        pid=mains[0].pid if mains else None, claims=located.claims,
    )  # fmt: skip
    signal = None if given.signal is None else signal_name(given.signal)
    try:
        _require_running(service, host, located, options)
        if signal is not None:
            _require_heeded(service, mains, signal)
        if options.dry_run:
            result.reason, result.plan = "planned", _plan(mains, signal, given, before)
        elif signal is not None:
            _send(service, host, located, signal, result, began)
        else:
            _run(service, host, located, given.command or (), given.timeout, result)
    except (CtlError, OSError) as error:  # what has been sent stays in the result
        result.fail(as_ctl_error(error))
    finally:
        located.close()
    result.duration_s = round(now() - began, 3)
    return result


def _require_running(service: Service, host: Host, located: Located, options: ReloadOptions) -> None:
    """Raises CtlError unless it runs, as the expected process, and can act on what it is told."""
    if located.doubt is not None:
        raise located.doubt
    if not located.mains or is_elsewhere(service.name, located, host):
        raise CtlError("not_running", "is not running", fix=f"ctl start {service.name}")
    require_expected(located.mains, options.expect_pid.get(service.name))
    if any(main.is_stopped for main in located.mains):
        # A signal brings CONT with it, which would resume it; a command could wait for it in vain.
        raise CtlError("failed", "is paused", fix=f"ctl resume {service.name}")


def _require_heeded(service: Service, mains: list[Handle], signal: str) -> None:
    """Raises CtlError where the signal would end a main process. Where that cannot be seen, it is believed to be fine.

    Asked before anything is sent: a service that has not installed its handler yet would die of a reload.
    """
    for main in mains if signal not in _HARMLESS else ():
        if main.defaults_to(signal):
            what = f"catches no {signal}, which would end it"
            raise CtlError("failed", what, where=f"{service.file}, reload.signal")


def _plan(mains: list[Handle], signal: str | None, given: Reload, after: State) -> Plan:
    pids = ", ".join(str(main.pid) for main in mains)
    step = f"{signal} to {pids}" if signal is not None else f"execute {shlex.join(given.command or ())}"
    longest = _DIES_WITHIN if signal is not None else given.timeout + _DIES_WITHIN
    return Plan(steps=(step,), processes=tuple(seen(main) for main in mains), longest_s=longest, after=after)


def _send(service: Service, host: Host, located: Located, signal: str, result: Result, began: float) -> None:
    for main in located.mains:
        if main.send(signal):
            result.signals = [*result.signals, Signalled(main.pid, signal, round(now() - began, 3))]
            result.changed = True
            host.note(service.name, "signal", identity=main.identity, signal=signal)
    if not result.signals:
        raise CtlError("not_running", f"has ended before {signal} could be sent")
    _require_alive(service, host, located, f"has ended on {signal}", result)


def _run(service: Service, host: Host, located: Located, argv: Argv, timeout: float, result: Result) -> None:
    """It carries the service's run id: a kill of the service meanwhile ends the command, too."""
    program = host.command_program(service, located.record)
    # As systemd.service(5) has it for ExecReload=.
    program = msgspec.structs.replace(program, environment=program.environment | {"MAINPID": str(located.mains[0].pid)})
    host.progress(service.name, f"reload: {argv[0]}", now() + timeout)
    answer = ask(host, command(argv, program), timeout, located.mains)
    _require_alive(service, host, located, f"has ended while {argv[0]} was to reload it", result)
    if answer.verdict != YES:
        raise CtlError("hook_failed", answer.text, where=f"{service.file}, reload.command")
    result.changed = True


def _require_alive(service: Service, host: Host, located: Located, what: str, result: Result) -> None:
    """Look for a moment whether it survives. Raises CtlError where it does not, and Interrupted."""
    host.pause(still_there(located.mains), now() + _DIES_WITHIN)
    if any(main.is_gone for main in located.mains):
        result.changed = True
        if not still_there(located.mains):
            result.after = "ended" if located.claims else "stopped"
        raise CtlError("failed", what, where=f"log {host.log_path(service)}")
