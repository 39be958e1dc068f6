"""What will not work where systemd and ctl meet: a unit held against the definitions of the services it calls ctl for.

The rules are those of systemd.service(5), systemd.kill(5) and systemd.exec(5).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from ctl.model.diagnosis import ERROR, NOTE, WARNING, Finding, Severity
from ctl.model.schedule import SIGNALS, Schedule, parse_schedule, with_grace
from ctl.model.service import Service
from ctl.model.unit import Call, Unit
from ctl.system import premises as asked
from ctl.verbs.drain import longest as around_the_schedule

_SPARE: Final = 5  # seconds beyond the longest time: ctl has to start, and to look for survivors
_HEARS_HELPERS: Final = ("exec", "all")
_ROOT: Final = ("", "root", "0")
_STARTING: Final = ("run", "start", "restart")
_STAYS: Final = ("simple", "exec", "notify", "notify-reload", "idle")


class Called(NamedTuple):
    """A unit that calls ctl for a service."""

    unit: Unit
    service: Service
    run_dir: str
    by: tuple[Call, ...]  # the calls for this service

    def verbs(self, *settings: str) -> set[str]:
        """What it calls ctl to do in these settings."""
        return {call.verb for call in self.by if call.setting in settings}

    @property
    def own_pid_file(self) -> str:
        return f"{self.run_dir}/{self.service.name}.pid"


def drop_in(unit: Unit, name: str, *lines: str) -> str:
    """The text of a drop-in file; its first line says where it goes, as `systemctl cat` does."""
    return "\n".join(
        (
            f"# {unit.directory}/{unit.name}.d/{name}.conf",
            "[Service]",
            *lines,
            f"# and then: {unit.systemctl} daemon-reload",
        )
    )


def check_unit(unit: Unit) -> Iterator[Finding]:
    """What is wrong with the unit, whatever it calls ctl for."""
    if unit.load != "loaded":
        what = f"systemd cannot load it: {unit.problem or unit.load}"
        verify = f"systemd-analyze {'--user ' if unit.of_user else ''}verify {unit.name}"
        fix = f"{unit.systemctl} unmask {unit.name}" if unit.load == "masked" else verify
        yield Finding(id="unit-not-loaded", severity=ERROR, what=what, where=unit.file or unit.name, fix=fix)
    if unit.changed:
        what = "its file has changed since systemd read it: what is said here is of the old one"
        yield Finding(
            id="unit-changed", severity=WARNING, what=what, where=unit.file, fix=f"{unit.systemctl} daemon-reload"
        )
    for call in unit.calls_in("ExecStop", "ExecStopPost"):
        if call.verb == "stop" and not call.targets:
            what = f"{call.setting}= calls ctl stop without a target: that stops every service of this host"
            yield _finding(unit, "stops-everything", ERROR, what, call.setting, f"{call.setting}=", _call(call, "NAME"))
    yield from _sandboxed(unit)


def check_called(called: Called) -> Iterator[Finding]:
    """What of the unit does not go with the definition of the service."""
    for check in _CHECKS:
        yield from check(called)


def longest_stop(service: Service, call: Call | None) -> float:
    """The longest time, in seconds, that a stop can take, as its options have it: hooks, drain, schedule, survivors."""
    if call is not None and call.verb == "kill":
        return 5.0
    schedule = service.schedule
    if call is not None and (text := call.options.get("--schedule")):
        schedule = _understood(text, schedule)
    if call is not None and (grace := call.options.get("--grace", "")).replace(".", "", 1).isdecimal():
        schedule = with_grace(schedule, float(grace))
    return schedule.longest + around_the_schedule(service)


def _understood(text: str, otherwise: Schedule) -> Schedule:
    try:
        return parse_schedule(text)
    except ValueError:
        return otherwise


def _type(called: Called) -> Iterator[Finding]:
    """Type= must say what the process that systemd starts becomes."""
    unit, name = called.unit, called.service.name
    forks = called.service.start is not None and called.service.start.type == "forking"
    if "run" in called.verbs("ExecStart"):
        if forks:
            what = f'ctl run {name} would refuse: its definition says type = "forking", which leaves the foreground'
            lines = ("Type=forking", f"PIDFile={called.own_pid_file}", "ExecStart=", _start(called))
            yield _finding(unit, "type", ERROR, what, "ExecStart", *lines)
        elif unit.type not in _STAYS:
            what = f"Type={unit.type} waits for the end of what it starts, and ctl run becomes {name} and stays"
            yield _finding(unit, "type", ERROR, what, "Type", f"Type={_type_of(called)}")
        elif unit.type.startswith("notify") and not called.service.notifies:
            what = (
                f"Type={unit.type} waits for READY=1, which {name} does not send by its definition ({_ready(called)})"
            )
            yield _finding(unit, "type", ERROR, what, "Type", "Type=exec")
        elif called.service.notifies and not unit.type.startswith("notify"):
            what = f"{name} says READY=1 when it is ready, and Type={unit.type} does not wait for that"
            yield _finding(unit, "type", WARNING, what, "Type", "Type=notify")
    if "start" in called.verbs("ExecStart"):
        yield from _type_of_start(called)


def _type_of_start(called: Called) -> Iterator[Finding]:
    """`ctl start` ends when the service is ready: for systemd that is the end of all but two types."""
    unit, name = called.unit, called.service.name
    if unit.type in _STAYS:
        what = f"Type={unit.type} takes ctl start for the service: when it ends, systemd kills {name}, which it started"
        yield _finding(unit, "type", ERROR, what, "Type", "Type=forking", f"PIDFile={called.own_pid_file}")
    elif unit.type == "oneshot" and not unit.remains:
        what = f"a oneshot unit is over when ctl start ends, and then systemd kills {name}, which it started"
        yield _finding(unit, "type", ERROR, what, "Type", "RemainAfterExit=yes")
    elif unit.type == "forking" and not unit.pid_file:
        what = f"without PIDFile= systemd guesses which process of {name} is the main one"
        yield _finding(unit, "pid-file-missing", NOTE, what, "PIDFile", f"PIDFile={called.own_pid_file}")
    timeout = called.service.ready.timeout
    if unit.start_timeout <= timeout and unit.notify_access not in _HEARS_HELPERS:
        what = (
            f"systemd ends the start after {unit.start_timeout:g} s, and ready.timeout gives {name} {timeout:g} s: "
            f"of one that is not ready in time, ctl could neither tell nor clean up. "
            f"NotifyAccess={unit.notify_access} drops what ctl says in ExecStart=, so that it cannot ask for more"
        )
        lines = (f"TimeoutStartSec={_seconds(timeout)}", "NotifyAccess=exec")
        yield _finding(unit, "start-timeout", WARNING, what, "TimeoutStartSec", *lines)


def _stop_time(called: Called) -> Iterator[Finding]:
    """TimeoutStopSec= holds for each ExecStop=; ctl extends it where systemd listens to it, sd_notify(3)."""
    unit, name = called.unit, called.service.name
    calls = [call for call in called.by if call.setting == "ExecStop" and call.verb in ("stop", "kill", "restart")]
    if not calls:
        return
    longest = max(longest_stop(called.service, call) for call in calls)
    if unit.notify_access in _HEARS_HELPERS or longest == unit.stop_timeout == math.inf:
        return
    heard = f"NotifyAccess={unit.notify_access} drops what ctl says in ExecStop="
    if longest < unit.stop_timeout:
        what = f"{heard}: how far the stop of {name} is, and that it needs more time"
        yield _finding(unit, "notify-access", NOTE, what, "NotifyAccess", "NotifyAccess=exec")
        return
    takes = "as long as it takes" if longest == math.inf else f"up to {longest:g} s"
    what = (
        f"systemd gives ExecStop= {unit.stop_timeout:g} s, and a stop of {name} may take {takes} "
        f"(hooks, drain, {called.service.schedule}): then systemd ends ctl in the midst of it. {heard}, "
        "so that it cannot ask for more"
    )
    lines = (f"TimeoutStopSec={_seconds(longest)}", "NotifyAccess=exec")
    yield _finding(unit, "stop-timeout", ERROR, what, "TimeoutStopSec", *lines)


def _stopped_without_ctl(called: Called) -> Iterator[Finding]:
    """Without ExecStop=, `systemctl stop` is KillSignal=, TimeoutStopSec= and SIGKILL."""
    unit, service = called.unit, called.service
    if not called.verbs("ExecStart") & {"run", "start"} or called.verbs("ExecStop"):
        return
    signal = _signal_name(unit.kill_signal)
    lost = [key for key, given in (("stop.before", service.stop.before), ("stop.after", service.stop.after),
                                   ("drain", service.drain)) if given]  # fmt: skip
    if lost or signal != service.schedule.first_signal:
        severity: Severity = WARNING
        but = f"without {', '.join(lost)}" if lost else f"not {service.schedule}"
    else:
        severity, but = NOTE, "not by ctl"
    whom = f"{service.name} with {signal} to its whole control group"
    what = f"it has no ExecStop=: {unit.systemctl} stop ends {whom}, {but}"
    call = next(call for call in called.by if call.setting == "ExecStart")
    yield _finding(unit, "stop-without-ctl", severity, what, "ExecStop", f"ExecStop={_line(call, 'stop', called)}")


def _kill_mode(called: Called) -> Iterator[Finding]:
    """After ExecStop=, systemd goes on with what is left in the control group, systemd.kill(5)."""
    unit, service = called.unit, called.service
    if service.stop.kill_mode == "process" and unit.kill_mode in ("control-group", "mixed"):
        what = (
            f'kill_mode = "process" leaves what {service.name} has started, and KillMode={unit.kill_mode} '
            "kills that after ExecStop="
        )
        yield _finding(unit, "kill-mode", WARNING, what, "KillMode", "KillMode=process")
    if unit.kill_mode == "none":
        what = "KillMode=none: what ctl has not ended in time is never ended, and stays beside the next start"
        yield _finding(unit, "kill-mode", WARNING, what, "KillMode", "KillMode=mixed")
    if not unit.send_sigkill:
        never = service.schedule.forceful_wait is None
        what = "SendSIGKILL=no: what outlives the stop is left running"
        what += f", and {service.schedule} has no KILL either" if never else ""
        yield _finding(unit, "send-sigkill", WARNING if never else NOTE, what, "SendSIGKILL", "SendSIGKILL=yes")


def _pid_file(called: Called) -> Iterator[Finding]:
    unit, service = called.unit, called.service
    right = service.stop.pid_file or called.own_pid_file
    if unit.pid_file and unit.pid_file not in (right, called.own_pid_file):
        what = f"PIDFile={unit.pid_file} is not what {service.name} writes ({right}): systemd waits for it in vain"
        yield _finding(unit, "pid-file-differs", ERROR, what, "PIDFile", f"PIDFile={right}")


def _runtime_directory(called: Called) -> Iterator[Finding]:
    unit = called.unit
    for directory in unit.runtime_directories:
        for path, what_it_is in ((called.run_dir, "the run directory"), (unit.pid_file, "PIDFile=")):
            if path and f"{path}/".startswith(f"{directory}/") and not unit.runtime_preserved:
                what = f"{what_it_is} is in {directory}, which systemd removes with all in it when the unit stops"
                line = "RuntimeDirectoryPreserve=yes"
                yield _finding(unit, "runtime-directory", WARNING, what, "RuntimeDirectory", line)


def _restarts(called: Called) -> Iterator[Finding]:
    unit, name = called.unit, called.service.name
    if unit.restart != "no" and called.verbs("ExecStart", "ExecStop") & {"run", "start", "stop"}:
        what = f"ctl stop {name} by hand is undone (Restart={unit.restart})"
        yield Finding(
            id="restart",
            severity=NOTE,
            what=what,
            where=_where(unit, "Restart"),
            fix=f"{unit.systemctl} stop {unit.name}",
        )


def _user(called: Called) -> Iterator[Finding]:
    unit, service = called.unit, called.service
    wanted = service.start.user if service.start is not None else None
    if unit.user in _ROOT or wanted is None or wanted == unit.user:
        return
    if any(call.verb in _STARTING and not call.privileged for call in called.by):
        what = f"User={unit.user} may not start {service.name} as {wanted} (start.user): only root may"
        yield _finding(unit, "user", ERROR, what, "User", "User=root")


def _reload(called: Called) -> Iterator[Finding]:
    if "reload" in called.verbs("ExecReload") and called.service.reload is None:
        name, where = called.service.name, called.service.file
        what = f"{called.unit.systemctl} reload fails: ExecReload= calls ctl, and {name} has no [reload] (exit 6)"
        fix = f'# {where}\n[reload]\nsignal = "HUP"'
        yield Finding(id="reload", severity=NOTE, what=what, where=where, fix=fix)


def _writes(called: Called) -> Iterator[Finding]:
    """A unit whose file system is read-only for ctl, too, systemd.exec(5)."""
    unit, directory = called.unit, called.run_dir
    if all(call.privileged for call in called.by):
        return
    open_for = (*unit.writable, *unit.runtime_directories, "/dev", "/proc", "/sys")
    if unit.protects_system == "strict" and not any(f"{directory}/".startswith(f"{path}/") for path in open_for):
        what = f"ProtectSystem=strict keeps ctl from writing its records to {directory}"
        yield _finding(unit, "run-dir-read-only", ERROR, what, "ProtectSystem", f"ReadWritePaths={directory}")


def _run_directory(called: Called) -> Iterator[Finding]:
    """ctl as the unit's own user must be able to write its records, and its lock."""
    unit, service = called.unit, called.service
    calls = [call for call in called.by if not call.privileged and call.verb not in ("status", "wait")]
    if not calls or unit.user in _ROOT or called.run_dir in unit.runtime_directories:
        return
    if asked.may_write(Path(called.run_dir), unit.user):
        return
    what = f"ctl runs as {unit.user} (User=), who may not write to the run directory {called.run_dir}"
    if any(call.verb in _STARTING for call in calls):
        what += ": it starts nothing that it cannot write down"
        is_said = service.start is not None and service.start.user is not None
        lines = ["User=root", *([] if is_said else [f'# and in {service.file}, [start]: user = "{unit.user}"'])]
        yield _finding(unit, "run-dir", ERROR, what, "User", *lines)
    else:
        what += ": it stops without a lock, and leaves the record behind"
        settings = dict.fromkeys(call.setting for call in calls)
        lines = [f"{setting}=" for setting in settings]
        lines += [f"{call.setting}=+{_line(call, call.verb, called)}" for call in calls]
        yield _finding(unit, "run-dir", WARNING, what, "User", *lines)


def _sandboxed(unit: Unit) -> Iterator[Finding]:
    if all(call.privileged for call in unit.calls):
        return
    if unit.proc_subset == "pid":
        what = "ProcSubset=pid hides /proc/sys, where the boot id is: ctl cannot tell one process from another"
        yield _finding(unit, "proc-subset", ERROR, what, "ProcSubset", "ProcSubset=all")
    if unit.protects_proc in ("invisible", "noaccess", "ptraceable") and unit.user not in _ROOT:
        what = f"ProtectProc={unit.protects_proc} hides other users' processes from ctl, which runs as {unit.user}"
        yield _finding(unit, "protect-proc", WARNING, what, "ProtectProc", "ProtectProc=default")


_CHECKS: Final[tuple[Callable[[Called], Iterator[Finding]], ...]] = (
    _type, _stop_time, _stopped_without_ctl, _kill_mode, _pid_file, _runtime_directory, _restarts, _user, _reload,
    _writes, _run_directory,
)  # fmt: skip


def _finding(unit: Unit, name: str, severity: Severity, what: str, setting: str, *lines: str) -> Finding:
    where = _where(unit, setting)
    return Finding(id=name, severity=severity, what=what, where=where, fix=drop_in(unit, name, *lines))


def _where(unit: Unit, setting: str) -> str:
    return f"{unit.file or unit.name}, {setting}="


def _seconds(longest: float) -> str:
    return "infinity" if longest == math.inf else str(math.ceil(longest) + _SPARE)


def _signal_name(number: int) -> str:
    return SIGNALS[number - 1] if 0 < number <= len(SIGNALS) else str(number)


def _type_of(called: Called) -> str:
    return "notify" if called.service.notifies else "exec"


def _ready(called: Called) -> str:
    return f"ready: {called.service.readiness}"


def _start(called: Called) -> str:
    call = next(call for call in called.by if call.setting == "ExecStart")
    return f"ExecStart={_line(call, 'start', called)}"


def _call(call: Call, target: str) -> str:
    return f"{call.setting}={' '.join([call.program, call.verb, *_places(call), target])}"


def _line(call: Call, verb: str, called: Called) -> str:
    return " ".join([call.program, verb, *_places(call), called.service.name])


def _places(call: Call) -> list[str]:
    return [word for name in ("--conf", "--run-dir") if name in call.options for word in (name, call.options[name])]
