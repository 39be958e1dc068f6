"""Doctor: what will not work, before it has to, and what fixes it. It has no effect at all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from ctl.model.diagnosis import Diagnosis, Finding, diagnosis
from ctl.model.errors import CtlError
from ctl.model.outcome import Fault
from ctl.model.service import Service
from ctl.model.suggest import instead
from ctl.model.target import parse_target, template_of
from ctl.model.unit import Call, Unit
from ctl.system import premises as asked
from ctl.system import systemd
from ctl.system.host import Host
from ctl.system.premises import Logins, Premises
from ctl.verbs.check import Checked, check
from ctl.verbs.host_checks import beyond_the_login, check_directories, check_logins, check_premises, refusal
from ctl.verbs.locate import Located, locate
from ctl.verbs.service_checks import (
    check_definition,
    check_located,
    check_pause,
    check_runs_in_unit,
    check_scope,
    check_service,
    check_stop_signals,
    check_supervisor,
    check_surroundings,
    supervised,
)
from ctl.verbs.stop import state_before
from ctl.verbs.targets import instances
from ctl.verbs.unit_checks import Called, check_called, check_unit
from ctl.verbs.unit_pid_files import check_unit_pid_file

_NO_ANSWER = Fault(
    reason="failed", what="systemd does not answer: its units were not looked at", where="systemctl show"
)

_NO_SYSTEMD = Finding(
    id="no-systemd",
    severity="note",
    what="systemd is not this host's init system: there are no units to look at, and no logins that it ends",
    where="/run/systemd/system",
)


def doctor_of_nothing(error: CtlError) -> list[Diagnosis]:
    """What there is to say where ctl itself refuses this configuration."""
    found = asked.premises()
    findings = [refusal(error), *check_premises(found, 0)]
    return [diagnosis("host", None, _facts(found, _version()), findings, [])]


class Doctor:
    """One look at a host: systemd is asked only once, and only where there is one."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._premises = asked.premises()
        self._booted = systemd.is_booted()
        self._has_own_manager = self._booted and asked.has_own_manager()
        self._logins: Logins | None = asked.logins() if self._booted else None
        self._services: dict[str, Service | CtlError] = {}
        self._running: dict[str, tuple[int, str | None]] = {}  # by target: its main process, and the unit of that
        self._around: list[Unit] = []  # those in whose control groups the main processes are

    def everything(self, settings_faults: Sequence[CtlError]) -> list[Diagnosis]:
        """The host, every definition and known instance, and every unit that calls ctl. Raises CtlError."""
        checked = check(self._host, [], settings_faults)
        services = [one for checking in checked for one in self._services_of(checking)]
        unnamed = [finding for one in checked if one.target is None for finding in check_definition(one.errors)]
        units = self._units_that_call() if self._booted else []
        return [
            self._of_host(len(services), unnamed),
            *services,
            *self._of_units(units or []),
            *([diagnosis("unit", None, {}, [], [_NO_ANSWER])] if units is None else []),
        ]

    def targets(self, services: Sequence[Service]) -> list[Diagnosis]:
        """These services, and the units that call ctl for one of them or in whose control group one runs."""
        names = [service.name for service in services]
        self._services |= {service.name: service for service in services}
        units = self._units_that_call(names) if self._booted else []
        found = [self._of_service(service) for service in services]
        around = {unit.name: unit for unit in self._around}
        chosen = [unit for unit in units or [] if unit.name in around or self._calls_for(unit, names)]
        chosen += [unit for name, unit in sorted(around.items()) if name not in {unit.name for unit in chosen}]
        unanswered = [diagnosis("unit", None, {}, [], [_NO_ANSWER])] if units is None else []
        return [*found, *self._of_units(chosen), *unanswered]

    def units(self, names: Sequence[str]) -> list[Diagnosis]:
        """These units. Raises CtlError (unknown_target) where there is none of a name."""
        if not self._booted:
            what = "systemd is not this host's init system: there are no units"
            raise CtlError("unknown_target", what, target=names[0])
        found = asked.units(list(names))
        if found is None:
            raise CtlError("failed", _NO_ANSWER.what, where=_NO_ANSWER.where, target=names[0])
        if self._has_own_manager:
            own = {unit.name: unit for unit in asked.units(list(names), of_user=True) or []}
            found = [own.get(unit.name, unit) if unit.load == "not-found" else unit for unit in found]
        for unit in found:
            if unit.load == "not-found":
                near = instead(unit.name, [*(asked.unit_names() or []), *self._host.config.service_names()])
                raise CtlError("unknown_target", "no such unit and no such service", fix=near, target=unit.name)
        return self._of_units(found)

    def _of_host(self, services: int, unnamed: Iterable[Finding]) -> Diagnosis:
        is_root = self._premises.is_root
        findings = [
            *unnamed,
            *check_premises(self._premises, services),
            *check_directories(self._host.config, as_root=is_root),
            *check_logins(self._logins, asked.user()),
            *([] if self._booted else [_NO_SYSTEMD]),
        ]
        return diagnosis("host", None, _facts(self._premises, _version() if self._booted else None), findings, [])

    def _services_of(self, checked: Checked) -> list[Diagnosis]:
        """What there is to say of a definition, and of each instance of it."""
        if checked.target is None:
            return []
        denied = [fault for fault in checked.errors if fault.reason == "permission_denied"]
        if checked.errors:
            return [_diagnosis_of_definition(checked, denied)]
        template = template_of(checked.target)
        try:
            targets = instances(self._host, [template]) if template is not None else [parse_target(checked.target)]
        except CtlError as error:
            return [_diagnosis_of_definition(checked, [Fault.of(error)])]
        found = [self._service(str(target)) for target in targets]
        known = [one for one in found if isinstance(one, Service)]
        return [self._of_service(one) for one in known] or [_diagnosis_of_definition(checked, [])]

    def _of_service(self, service: Service) -> Diagnosis:
        findings = list(check_service(service, self._host, as_root=self._premises.is_root))
        errors: list[Fault] = []
        facts: dict[str, str] = {}
        try:
            located = locate(service, self._host)
        except CtlError as error:
            errors += Fault.each_of(error)
        else:
            try:
                errors += Fault.each_of(located.doubt) if located.doubt is not None else []
                findings += self._of_process(service, located, facts)
            finally:
                located.close()
        return diagnosis("service", service.name, facts, findings, errors)

    def _of_process(self, service: Service, located: Located, facts: dict[str, str]) -> list[Finding]:
        findings = list(check_located(service, self._host, located))
        if not located.mains:
            facts["state"] = "stopped"
            return findings
        main = located.mains[0]
        facts["state"] = f"{state_before(located)}, pid {main.pid}"
        findings += check_pause(service, self._host.pause_of(service, main) if main.is_stopped else None)
        for each in located.mains:
            findings += check_stop_signals(service, each)
        findings += check_scope(service, located.record if located.source == "record" else None)
        by = supervised(service, located)
        findings += check_supervisor(service, by)
        place = asked.place_in_cgroups(main.pid)
        self._running[service.name] = main.pid, place.unit
        if place.unit is not None:
            facts["user unit" if place.of_user else "unit"] = place.unit
            units = asked.units([place.unit], of_user=place.of_user) if self._booted and place.is_own else None
            self._around += units or []
            findings += check_surroundings(service, main.pid, units[0] if units else None, by)
        elif place.session is not None:
            facts["session"] = place.session
            if self._logins is not None and self._logins.kills_those_of(place.owner):
                findings.append(_ends_with_the_session(service, place.session, place.owner))
        return findings

    def _units_that_call(self, targets: Sequence[str] = ()) -> list[Unit] | None:
        """None where systemd does not answer. Templates are looked at as instances for the targets."""
        of_system = _calling(targets, of_user=False)
        of_user = _calling(targets, of_user=True) if self._has_own_manager else []
        return None if of_system is None or of_user is None else [*of_system, *of_user]

    def _of_units(self, units: Sequence[Unit]) -> list[Diagnosis]:
        return [self._of_unit(unit) for unit in units]

    def _of_unit(self, unit: Unit) -> Diagnosis:
        findings = list(check_unit(unit))
        findings += check_unit_pid_file(unit, self._run_dir(unit, unit.calls))
        if unit.of_user and not asked.lingers():
            findings.append(_ends_with_the_last_login(unit))
        called: list[str] = []
        if (elsewhere := self._other_conf(unit)) is not None:
            findings.append(elsewhere)
            return diagnosis("unit", unit.name, _facts_of(unit, called), findings, [])
        for name in dict.fromkeys(target for call in unit.calls for target in call.targets):
            found = self._service(name)
            called.append(name)
            if isinstance(found, CtlError):
                findings += self._unknown(unit, name, found)
            elif found is not None:
                by = tuple(call for call in unit.calls if name in call.targets)
                findings += check_called(Called(unit, found, str(self._run_dir(unit, by)), by))
                findings += check_runs_in_unit(unit, name, by, self._running.get(name))
        return diagnosis("unit", unit.name, _facts_of(unit, called), findings, [])

    def _calls_for(self, unit: Unit, names: Sequence[str]) -> bool:
        templates = {f"{name.partition('@')[0]}@" for name in names if "@" in name}
        named = any(target in names or target in templates for call in unit.calls for target in call.targets)
        return named and self._other_conf(unit) is None

    def _other_conf(self, unit: Unit) -> Finding | None:
        """A unit whose ctl reads other definitions: what is known here says nothing of them."""
        own = self._host.config.conf_dir
        given = {_conf_of(unit, call) for call in unit.calls} - {None}
        others = sorted(conf for conf in given if conf is not None and Path(conf) != own)
        if not others:
            return None
        what = f"its ctl reads the definitions of {others[0]}, not those of {own}: they were not looked at"
        fix = f"ctl doctor {unit.name} --conf {others[0]}"
        return Finding(id="other-conf", severity="note", what=what, where=unit.file, fix=fix)

    def _unknown(self, unit: Unit, name: str, error: CtlError) -> list[Finding]:
        if error.reason != "unknown_target":
            return []  # the definition's own diagnosis tells
        settings = ", ".join(dict.fromkeys(f"{call.setting}=" for call in unit.calls if name in call.targets))
        what = f"{settings} calls ctl for {name!r}: {error.what}"
        fixes = [error.fix] if error.fix is not None else []
        with suppress(CtlError):  # what can be nobody's name has no file either
            fixes.insert(0, f"put a definition into {self._host.config.file_of(parse_target(name))}")
        return [
            Finding(id="unknown-service", severity="error", what=what, where=unit.file, fix=", or ".join(fixes) or None)
        ]

    def _run_dir(self, unit: Unit, calls: Iterable[Call]) -> Path:
        given = next((call.options["--run-dir"] for call in calls if "--run-dir" in call.options), None)
        given = given or unit.environment.get("CTL_RUN_DIR")
        return Path(given) if given else self._host.config.run_dir

    def _service(self, name: str) -> Service | CtlError | None:
        """The service of that name, why there is none, or None for a template as a whole."""
        if template_of(name) is not None:
            return None
        if name not in self._services:
            try:
                self._services[name] = self._host.service(parse_target(name))
            except CtlError as error:
                self._services[name] = error
        return self._services[name]


def _diagnosis_of_definition(checked: Checked, denied: list[Fault]) -> Diagnosis:
    facts = {"file": checked.file} if checked.file else {}
    faults = [msgspec.structs.replace(fault, target=checked.target) for fault in checked.errors]
    return diagnosis("service", checked.target, facts, list(check_definition(faults)), denied)


def _calling(targets: Sequence[str], *, of_user: bool) -> list[Unit] | None:
    names = asked.unit_names(of_user=of_user)
    if names is None:
        return None
    if targets:
        templates = [name.removesuffix(".service") for name in asked.templates_that_mention("ctl ", of_user=of_user)]
        names += [f"{template}{target}.service" for template in templates for target in targets]
    found = asked.units(list(dict.fromkeys(names)), of_user=of_user)
    return None if found is None else [unit for unit in found if unit.calls]


def _ends_with_the_session(service: Service, session: str, owner: str) -> Finding:
    what = f"it runs in {session} of {owner}, and ends with it: KillUserProcesses=yes"
    fix = beyond_the_login(owner, service.name)
    return Finding(id="in-session", severity="warning", what=what, where="/etc/systemd/logind.conf", fix=fix)


def _ends_with_the_last_login(unit: Unit) -> Finding:
    user = asked.user()
    what = f"it ends when {user} logs out, with all of that user's own systemd, and is not there at boot: Linger=no"
    fix = f"loginctl enable-linger {user}"
    return Finding(id="linger", severity="warning", what=what, where=unit.file, fix=fix)


def _conf_of(unit: Unit, call: Call) -> str | None:
    return call.options.get("--conf") or unit.environment.get("CTL_CONF")


def _facts_of(unit: Unit, called: list[str]) -> dict[str, str]:
    calls = "; ".join(f"{call.setting}: ctl {' '.join([call.verb, *call.targets])}" for call in unit.calls)
    return {
        "file": unit.file,
        "state": unit.state,
        **({"calls": calls} if calls else {}),
        **({"services": " ".join(called)} if called else {}),
    }


def _version() -> str | None:
    return asked.systemd_version() if systemd.is_booted() else None


def _facts(found: Premises, version: str | None) -> dict[str, str]:
    return {
        "kernel": found.kernel,
        "python": found.python,
        "systemd": version or "not the init system",
        "cgroups": "v2" if found.unified_cgroups else "v1",
        "user": "root" if found.is_root else asked.user(),
    }
