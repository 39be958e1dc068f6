"""What of a service will not work, as its definition and its process are now: nothing of it is touched."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from ctl.model.diagnosis import ERROR, NOTE, WARNING, Finding
from ctl.model.errors import CtlError
from ctl.model.outcome import Fault
from ctl.model.pause import Pause
from ctl.model.record import Record
from ctl.model.service import Service
from ctl.model.supervisor import Supervisor
from ctl.model.unit import Call, Unit
from ctl.system import premises as asked
from ctl.system.host import Host
from ctl.system.keeper import is_kept
from ctl.system.pidfd import Handle
from ctl.system.trust import user_name
from ctl.verbs.check import notes_on_patterns, notes_on_proof
from ctl.verbs.locate import Located
from ctl.verbs.misfit import misfit
from ctl.verbs.start import require_loggable, require_startable
from ctl.verbs.supervision import Supervision

_RULE = '[match] cmdline = "...", which its command line and no other satisfies'


def check_definition(faults: list[Fault]) -> Iterator[Finding]:
    """What ctl check says of it."""
    for fault in faults:
        if fault.reason != "permission_denied":
            yield Finding(
                id="definition", severity=ERROR, what=fault.what, where=fault.where,
                fix=fault.fix or f"ctl check {fault.target or ''}".rstrip(),
            )  # fmt: skip


def check_service(service: Service, host: Host, *, as_root: bool) -> Iterator[Finding]:
    """What keeps it from being started, and its own pid file from being believed."""
    if service.start is not None:
        for name, require in (("program", require_startable), ("log", require_loggable)):
            try:
                require(service, host)
            except CtlError as error:
                if error.reason != "permission_denied":
                    yield Finding(id=name, severity=ERROR, what=error.what, where=error.where, fix=error.fix)
    for note in notes_on_patterns(service):
        yield Finding(id="pattern", severity=NOTE, what=note, where=service.file)
    for note in notes_on_proof(service):
        yield Finding(id="unproved", severity=WARNING, what=note, where=service.file, fix=_RULE)
    if service.stop.pid_file is not None:
        yield from check_pid_directory(Path(service.stop.pid_file).parent, service, host, as_root=as_root)


def check_pid_directory(directory: Path, service: Service, host: Host, *, as_root: bool) -> Iterator[Finding]:
    """Whether the service can write its pid file there, and whether ctl and systemd will believe it."""
    where = f"{service.file}, stop.pid_file"
    uid = host.service_uid(service)
    found = asked.place_of(directory)
    if found is None:
        if not asked.is_missing(directory):
            return
        what = f"{directory} is missing: the service can write no pid file there"
        fix = f"install -d -m 755 -o {user_name(uid)} '{directory}'"
        yield Finding(id="pid-file-directory", severity=WARNING, what=what, where=where, fix=fix)
    elif not found.is_directory:
        what = f"{directory} is not a directory"
        yield Finding(
            id="pid-file-directory", severity=ERROR, what=what, where=where, fix=f"mv '{directory}' elsewhere"
        )
    elif found.by_everyone:
        what = f"everyone may write to {directory} (mode {found.mode}): ctl believes no pid file there"
        yield Finding(id="pid-file-directory", severity=ERROR, what=what, where=where, fix=f"chmod o-w '{directory}'")
    elif as_root and found.found.st_uid not in (0, uid):
        what = f"{directory} belongs to {found.owner}: ctl believes no pid file there"
        fix = f"chown {user_name(uid)} '{directory}'"
        yield Finding(id="pid-file-directory", severity=ERROR, what=what, where=where, fix=fix)


def check_located(service: Service, host: Host, located: Located) -> Iterator[Finding]:
    """What its claims say. That it cannot be told whether it runs, is no finding, but an error."""
    for main in located.mains:
        if (fault := misfit(service, host, main)) is not None:
            yield Finding(id="match", severity=ERROR, what=fault.what, where=fault.where, fix=fault.fix)
    for claim in located.claims:
        if claim.verdict == "stale" and claim.source in ("record", "pid file"):
            what = f"its {claim.source} is stale: {claim.why}"
            fix = f"ctl stop {service.name}"
            yield Finding(id="stale", severity=NOTE, what=what, where=claim.where, fix=fix)
        elif claim.verdict == "refused":
            what = f"its {claim.source} {claim.why}; it is not believed"
            otherwise = f"rm '{claim.where}'" if claim.where else None
            yield Finding(
                id="claim-refused", severity=WARNING, what=what, where=claim.where, fix=claim.fix or otherwise
            )


def supervised(service: Service, located: Located) -> Supervisor | None:
    """Who else has it in their care."""
    return Supervision(service.name, located.mains).by("stop")


def check_supervisor(service: Service, by: Supervisor | None) -> Iterator[Finding]:
    """Another supervisor than systemd, whose units are looked at themselves."""
    if by is not None and by.kind != "systemd" and by.restarts is not False:
        may = "starts it again" if by.restarts else "may start it again"
        what = f"it belongs to {by.label}, which {may} after ctl stop {service.name}"
        yield Finding(id="supervisor", severity=NOTE, what=what, where=by.kind, fix=by.command)


def check_surroundings(service: Service, pid: int, unit: Unit | None, by: Supervisor | None) -> Iterator[Finding]:
    """A unit that holds it in its control group without being its own: what ends that unit ends it as well."""
    if unit is None or by is not None or unit.kill_mode not in ("control-group", "mixed"):
        return
    if any(service.name in call.targets for call in unit.calls):
        return  # that it calls ctl for this service, is looked at with the unit
    what = f"pid {pid} runs in the control group of {unit.name}: a stop or restart of that kills it"
    unless = "" if unit.of_user else f", or systemctl start ctl@{service.name}.service"
    fix = f"ctl restart {service.name} from outside of it{unless}"
    where = f"{unit.file or unit.name}, KillMode={unit.kill_mode}"
    yield Finding(id="in-other-unit", severity=WARNING, what=what, where=where, fix=fix)


def check_stop_signals(service: Service, main: Handle) -> Iterator[Finding]:
    """A main process that ignores what is to stop it: a wrapper, as a rule."""
    ignored = [signal for signal in service.schedule.catchable if main.ignores(signal)]
    if ignored:
        signals = " and ".join(ignored)
        goes_on = (
            "only KILL ends it" if service.stop.kill_mode == "process" else f"{signals} goes to its children at once"
        )
        what = f"pid {main.pid} ignores {signals}: {goes_on}"
        fix = "start the program itself, or with exec in its wrapper; or name a signal that is not ignored"
        yield Finding(
            id="stop-signal-ignored", severity=WARNING, what=what, where=f"{service.file}, stop.schedule", fix=fix
        )


def check_scope(service: Service, record: Record | None) -> Iterator[Finding]:
    """A run in a scope of its own: at shutdown systemd ends it, and calls no ctl."""
    skipped = [
        name
        for name, is_set in (
            ("drain", service.drain is not None),
            ("stop.before", service.stop.before),
            ("stop.after", service.stop.after),
        )
        if is_set
    ]
    if record is None or record.scope is None or not skipped:
        return
    schedule = service.schedule
    what = f"a shutdown ends it by {schedule.first_signal}, and by KILL after {schedule.first_wait:g} s, without "
    what += " and ".join(skipped)
    fix = f"systemctl enable ctl@{service.name}.service, and start it by that"
    yield Finding(id="shutdown-skips", severity=NOTE, what=what, where=record.scope, fix=fix)


def check_pause(service: Service, pause: Pause | None) -> Iterator[Finding]:
    """A pause with an end, of which the ctl that was to bring it about is gone."""
    if pause is not None and pause.until is not None and not is_kept(pause.id):
        what = f"it is paused until {pause.until}, and the ctl that was to resume it then is gone"
        fix = f"ctl resume {service.name}"
        yield Finding(id="pause-without-end", severity=WARNING, what=what, where="ctl pause --for", fix=fix)


def check_runs_in_unit(
    unit: Unit, name: str, calls: Iterable[Call], running: tuple[int, str | None] | None
) -> Iterator[Finding]:
    """A service that has a unit to run in, and runs elsewhere: what that unit promises does not hold for it."""
    if running is None or running[1] == unit.name or not any(call.verb in ("start", "run") for call in calls):
        return
    pid, elsewhere = running
    where = f"in {elsewhere}" if elsewhere is not None else "in no unit"
    what = f"{name} runs as pid {pid} {where}, started by hand: limits and Restart= of {unit.name} do not hold for it"
    fix = f"ctl stop {name} && {unit.systemctl} restart {unit.name}"
    yield Finding(id="outside-unit", severity=NOTE, what=what, where=f"/proc/{pid}/cgroup", fix=fix)
