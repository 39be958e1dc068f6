"""Check: every fault of every definition at once, before any of them is needed. Nothing is touched."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from ctl.model.backtracking import shape_of
from ctl.model.definition import fill_in, understand
from ctl.model.errors import CtlError
from ctl.model.outcome import Fault
from ctl.model.service import Service
from ctl.model.target import Target, parse_target
from ctl.system.host import Host
from ctl.system.logfile import is_sink
from ctl.system.regex import BUDGET
from ctl.system.users import gid_of, uid_of

# The instances as which a template is read. A number can stand for a name, a port and a user alike.
_SAMPLES: Final = ("1", "2")
_USERS: Final = (("start", "user", uid_of), ("start", "group", gid_of), ("match", "user", uid_of))


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong with one file."""

    target: str | None  # None for ctl.toml, and where no target could ever name the file
    file: str | None  # None where the target itself could be no file's name
    ok: bool
    errors: list[Fault] = []
    notes: list[str] = []  # what works, and may surprise


class _Definition(NamedTuple):
    """One definition, as whom it is read, and what came of that."""

    label: str
    file: Path
    services: list[Service]
    faults: list[Fault]

    def checked(self, shared: list[Fault]) -> Checked:
        faults = [*self.faults, *shared]
        notes = list(
            dict.fromkeys(
                note
                for service in self.services[:1]
                for note in (*notes_on_patterns(service), *notes_on_proof(service))
            )
        )
        return Checked(target=self.label, file=str(self.file), ok=not faults, errors=faults, notes=notes)


def check(
    host: Host, names: Sequence[str], settings_faults: Sequence[CtlError], proposed: Path | None = None
) -> list[Checked]:
    """The verdict on ctl.toml, and on every definition or those of `names`, also as seen beside all the others.

    With `proposed`, that file is read as the definition of the only name. Raises CtlError where it, or the service
    directory, cannot be read.
    """
    if proposed is not None:
        _propose(host, names[0], proposed)
    everything = [_by_file(host, file) for file in host.config.definition_files()]
    if names:
        chosen = [_by_name(host, name) for name in dict.fromkeys(names)]
        files = {one.file for one in chosen if isinstance(one, _Definition)}
        others = [one for one in everything if isinstance(one, _Definition) and one.file not in files]
    else:
        chosen, others = everything, []
    definitions = [one for one in chosen if isinstance(one, _Definition)]
    shared = _shared(host, [*definitions, *others])
    results = [one.checked(shared.get(one.label, [])) if isinstance(one, _Definition) else one for one in chosen]
    return [*_settings(host, settings_faults), *results]


def notes_on_patterns(service: Service) -> Iterator[str]:
    """The patterns for which no bound is known of how long a search takes."""
    for key, pattern in (("match.cmdline", service.cmdline), ("ready.log", service.ready_log)):
        if pattern is not None and not shape_of(pattern).is_bounded:
            yield (
                f"{key}: {pattern.pattern!r} has a repeat within a repeat, which may take for ever: it is matched in a "
                f"process of its own, and given up after {BUDGET:g} s"
            )


def notes_on_proof(service: Service) -> Iterator[str]:
    """A definition by which ctl can never tell which process is the service."""
    if service.start is None and not service.has_rules and service.stop.pid_file is not None:
        yield (
            "stop.pid_file: nothing proves that the process in it is the service, so it is never stopped: add a "
            "[match] rule, cmdline or executable"
        )


def _propose(host: Host, name: str, file: Path) -> None:
    """From here on the host reads `file` as the definition of `name`. Raises CtlError for what can be no name."""
    target = parse_target(name + _SAMPLES[0] if name.endswith("@") else name)
    if target.instance is not None and not name.endswith("@"):
        what = f"an instance has no file of its own: {target.definition} is for all of {target.name}@"
        raise CtlError("unknown_target", what, target=name)
    if not file.exists():
        raise CtlError("bad_config", "there is no such file", where=str(file), target=name)
    host.config = msgspec.structs.replace(host.config, proposed={target.definition: file.absolute()})


def _settings(host: Host, errors: Sequence[CtlError]) -> Iterator[Checked]:
    file = host.config.conf_dir / "ctl.toml"
    if errors or file.exists():
        faults = [fault for error in errors for fault in _untargeted(error)]
        yield Checked(target=None, file=str(file), ok=not faults, errors=faults)


def _by_file(host: Host, file: Path) -> _Definition | Checked:
    try:
        if file.stem.endswith("@"):
            return _template(host, file.stem)
        target = parse_target(file.stem)
    except CtlError as error:
        return _unnamed(file, error.what, error.fix)
    if target.instance is not None:
        return _unnamed(file, f"an instance has no file of its own: {target.definition} is for all of {target.name}@")
    return _definition(host, str(target), [target])


def _by_name(host: Host, name: str) -> _Definition | Checked:
    try:
        if name.endswith("@"):
            return _template(host, name)
        target = parse_target(name)
    except CtlError as error:
        return Checked(target=name, file=None, ok=False, errors=[Fault.of(error)])
    return _definition(host, str(target), [target])


def _template(host: Host, label: str) -> _Definition:
    """Raises CtlError where no instance could ever be named."""
    targets = [parse_target(label + sample) for sample in _SAMPLES]
    return _definition(host, label, targets)


def _unnamed(file: Path, what: str, fix: str | None = None) -> Checked:
    fault = Fault(reason="bad_config", what=what, where=str(file), fix=fix)
    return Checked(target=None, file=str(file), ok=False, errors=[fault])


def _definition(host: Host, label: str, targets: list[Target]) -> _Definition:
    config = host.config
    file = config.file_of(targets[0])
    services: list[Service] = []
    faults: list[Fault] = []
    try:
        raw = config.raw(targets[0])
        faults += _unknown_users(raw, targets, file, config.fill)
        services += [understand(raw, target, str(file), config.fill) for target in targets]
    except CtlError as error:
        faults[:0] = _untargeted(error)
    return _Definition(label, file, services, faults)


def _untargeted(error: CtlError) -> list[Fault]:
    """Each of its faults, which are those of a file here and not of a target."""
    return [msgspec.structs.replace(fault, target=None) for fault in Fault.each_of(error)]


def _unknown_users(raw: dict[str, Any], targets: list[Target], file: Path, fill: dict[str, str]) -> Iterator[Fault]:
    """Users and groups that this host does not have. A user that depends on the instance is not known yet."""
    for table, key, id_of in _USERS:
        given = raw.get(table)
        users = {_user(given.get(key), target, fill) for target in targets} if isinstance(given, dict) else set()
        user = users.pop() if len(users) == 1 else None
        if user:
            try:
                id_of(user, str(file))
            except CtlError as error:
                yield Fault(reason=error.reason, what=f"{table}.{key}: {error.what}", where=error.where, fix=error.fix)


def _user(value: object, target: Target, fill: dict[str, str]) -> str | None:
    return str(fill_in(value, target, fill)) if isinstance(value, str) else None


def _shared(host: Host, definitions: list[_Definition]) -> dict[str, list[Fault]]:
    """What two services, or all instances of a template, must not have in common, by who has it.

    A pid file would make one process two services; a log is rotated away from under the other at each start.
    """
    owners: dict[tuple[str, str], list[tuple[_Definition, Service]]] = {}
    for definition in definitions:
        for service in definition.services:
            for key, path in _own_files(host, service):
                owners.setdefault((key, path), []).append((definition, service))
    faults: dict[str, list[Fault]] = {}
    for (key, path), having in owners.items():
        is_kept = key == "start.log" and all(service.start and not service.start.log_keep for _, service in having)
        if len(having) > 1 and not is_kept:
            for definition in {definition.label: definition for definition, _ in having}.values():
                others = sorted({other.label for other, _ in having} - {definition.label})
                faults.setdefault(definition.label, []).append(_sharing(definition, key, path, others))
    return faults


def _own_files(host: Host, service: Service) -> Iterator[tuple[str, str]]:
    if service.stop.pid_file is not None:
        yield "stop.pid_file", str(Path(service.stop.pid_file))
    if service.start is not None and not is_sink(host.log_path(service)):
        yield "start.log", str(host.log_path(service))


def _sharing(definition: _Definition, key: str, path: str, others: list[str]) -> Fault:
    if others:
        what, fix = f"{path} is also that of {', '.join(others)}; each service needs its own", None
    else:
        what, fix = f"{path} would be that of every instance", "put {instance} into it"
    return Fault(reason="bad_config", what=f"{key}: {what}", where=str(definition.file), fix=fix)
