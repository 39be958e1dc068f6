"""A service's definition: what its file may say, checked whole before anything is done."""

from __future__ import annotations

import re
from typing import Any, Literal, TypeVar, get_args, get_origin

import msgspec

from ctl.model import schedule as schedules
from ctl.model.errors import CtlError
from ctl.model.match import Marker, Rules, glob, necessary_literal
from ctl.model.schedule import BadSchedule, Schedule
from ctl.model.suggest import did_you_mean
from ctl.model.target import Target

T = TypeVar("T", bound=msgspec.Struct)
Argv = tuple[str, ...]
# systemd.exec(5) allows the same: a name that a POSIX shell could hold, so that every wrapper script passes it on.
_ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_UMASK = re.compile(r"0?[0-7]{1,3}")
_PLACEHOLDER = re.compile(r"\{(name|instance|target|run_dir|log_dir)\}")
_TCP = re.compile(r"(?P<host>\[[^\]]+\]|[^:\[\]]+):(?P<port>[0-9]{1,5})")
_HTTP = re.compile(r"https?://(\[[0-9A-Fa-f:.]+\]|[^\s/:@\[\]]+)(:(?P<port>[0-9]{1,5}))?(/\S*)?")
# What setrlimit(2) knows on Linux; "infinity" lifts a limit.
LIMITS = frozenset(
    "as core cpu data fsize memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack".split()
)
RESERVED = frozenset({"CTL_TARGET", "CTL_RUN_DIR", "CTL_RUN_ID"})


class Start(msgspec.Struct, frozen=True, kw_only=True):
    command: Argv
    type: Literal["simple", "forking", "notify"] = "simple"
    directory: str = "/"
    user: str | None = None
    group: str | None = None
    umask: str = "022"
    nice: int | None = None
    limits: dict[str, int | str] = {}
    environment: dict[str, str] = {}
    log: str | None = None
    log_keep: int = 5


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    tcp: str | None = None
    http: str | None = None
    command: Argv | None = None
    log: str | None = None
    notify: bool = False
    timeout: float = 60.0
    settle: float = 0.5

    @property
    def kind(self) -> str:
        """What it waits for, in words."""
        for name in ("tcp", "http", "log"):
            if (value := getattr(self, name)) is not None:
                return f"{name} {value}"
        if self.command is not None:
            return f"command {self.command[0]}"
        return "READY=1" if self.notify else f"alive for {self.settle:g} s"


class Match(msgspec.Struct, frozen=True, kw_only=True):
    cmdline: str | None = None
    executable: str | None = None
    java_main: str | None = None
    user: str | None = None
    max: int = 1


class Hook(msgspec.Struct, frozen=True, kw_only=True):
    command: Argv
    timeout: float = 30.0


Hooks = tuple[Argv | Hook, ...]


class Stop(msgspec.Struct, frozen=True, kw_only=True):
    schedule: str = schedules.DEFAULT
    kill_mode: Literal["mixed", "process", "tree"] = "mixed"
    protected: bool = False
    pid_file: str | None = None
    before: Hooks = ()
    after: Hooks = ()


class Reload(msgspec.Struct, frozen=True, kw_only=True):
    signal: str | None = None
    command: Argv | None = None


class Drain(msgspec.Struct, frozen=True, kw_only=True):
    command: Argv | None = None
    http: str | None = None
    tcp: str | None = None
    interval: float = 1.0
    timeout: float = 30.0


class Definition(msgspec.Struct, frozen=True, kw_only=True):
    description: str = ""
    start: Start | None = None
    ready: Ready = Ready()
    match: Match = Match()
    stop: Stop = Stop()
    reload: Reload | None = None
    drain: Drain | None = None


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """A target with its definition, every text in it understood."""

    target: Target
    file: str
    description: str
    start: Start | None
    ready: Ready
    match: Match
    stop: Stop
    reload: Reload | None
    drain: Drain | None
    schedule: Schedule
    cmdline: re.Pattern[str] | None
    ready_log: re.Pattern[str] | None

    @property
    def name(self) -> str:
        return str(self.target)

    @property
    def notifies(self) -> bool:
        """Whether it says READY=1 when it is ready, sd_notify(3)."""
        return self.ready.notify or (self.start is not None and self.start.type == "notify")

    @property
    def has_rules(self) -> bool:
        """Whether [match] says how its processes look; where it does not, only ctl's own marker can tell."""
        match = self.match
        return any((match.cmdline, match.executable, match.java_main, match.user))

    def rules(self, uid: int | None, marker: Marker) -> Rules:
        """The rules its main process satisfies; `uid` is that of match.user, else of the service's own user."""
        if not self.has_rules:
            return Rules(uid=uid, marker=marker)
        return Rules(
            uid=uid if self.match.user is not None else None,
            cmdline=self.cmdline,
            literal=necessary_literal(self.cmdline) if self.cmdline else b"",
            java_main=self.match.java_main,
            executable=glob(self.match.executable) if self.match.executable else None,
        )


def understand(raw: dict[str, Any], target: Target, file: str, fill: dict[str, str]) -> Service:
    """The service that a parsed definition describes. Raises CtlError (bad_config) that names every fault in it."""
    faults: list[str] = []
    filled = _fill(raw, target, fill)
    definition = _table(Definition, filled, "", faults)
    cmdline = ready_log = None
    schedule = schedules.parse_schedule(schedules.DEFAULT)
    if definition is not None:
        cmdline = _pattern(definition.match.cmdline, "match.cmdline", faults)
        ready_log = _pattern(definition.ready.log, "ready.log", faults)
        try:
            schedule = schedules.parse_schedule(definition.stop.schedule)
        except BadSchedule as error:
            faults.append(f"stop.schedule: {definition.stop.schedule!r} {error}")
        _check(definition, faults)
    if faults or definition is None:
        faults = list(dict.fromkeys(faults))
        raise CtlError("bad_config", faults[0], where=file, details=tuple(faults[1:]), target=str(target))
    return Service(
        target=target,
        file=file,
        description=definition.description,
        start=definition.start,
        ready=definition.ready,
        match=definition.match,
        stop=definition.stop,
        reload=definition.reload,
        drain=definition.drain,
        schedule=schedule,
        cmdline=cmdline,
        ready_log=ready_log,
    )


def tcp_address(text: str) -> tuple[str, int]:
    """Host and port of "HOST:PORT" or "[IPV6]:PORT". Raises ValueError."""
    found = _TCP.fullmatch(text)
    if found is None or not 0 < int(found["port"]) < 65536:
        raise ValueError(f"{text!r} is not HOST:PORT")
    return found["host"].strip("[]"), int(found["port"])


def _fill(raw: Any, target: Target, fill: dict[str, str], key: str = "") -> Any:
    """`raw` with {name}, {instance}, {target}, {run_dir} and {log_dir} filled in; other braces are left alone."""
    if isinstance(raw, str):
        values = {"name": target.name, "target": str(target), "instance": target.instance or "", **fill}
        if key in ("match.cmdline", "ready.log"):
            return _PLACEHOLDER.sub(lambda found: _whole_word(values[found[1]], found), raw)
        return _PLACEHOLDER.sub(lambda found: values[found[1]], raw)
    if isinstance(raw, list):
        return [_fill(item, target, fill, key) for item in raw]
    if isinstance(raw, dict):
        return {name: _fill(value, target, fill, f"{key}.{name}" if key else name) for name, value in raw.items()}
    return raw


def _whole_word(value: str, found: re.Match[str]) -> str:
    """A regex for `value` and nothing longer: the 1 of worker@1 is not the beginning of 10, 1x, 1-a or 1.5.

    Where the pattern itself says what stands beside it, as in worker{instance} or {name}.jar, that decides.
    """
    before, after = found.string[: found.start()], found.string[found.end() :]
    left = "" if re.search(r"[A-Za-z0-9_}]$", before) else "(?<![A-Za-z0-9_])"
    if re.match(r"[A-Za-z0-9_{]", after):
        right = ""
    elif re.match(r"$|[)|$\s]|\\[bs]", after):
        right = "(?![A-Za-z0-9_]|[.:-][A-Za-z0-9_])"
    else:
        right = "(?![A-Za-z0-9_])"
    return left + re.escape(value) + right


def _table(kind: type[T], raw: Any, key: str, faults: list[str]) -> T | None:
    """`raw` as a struct of `kind` without what is faulty, after that has been noted: all of it, not just the first."""
    if not isinstance(raw, dict):
        faults.append(f"{key}: expected a table, found {_shown(raw)}")
        return None
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    values: dict[str, Any] = {}
    for name, value in raw.items():
        path = f"{key}.{name}" if key else name
        if name not in fields:
            faults.append(f"{path}: no such key{did_you_mean(name, fields)} (valid: {', '.join(fields)})")
            continue
        before = len(faults)
        understood = _value(fields[name].type, value, path, faults)
        if len(faults) == before or _struct_of(fields[name].type) is not None:
            values[name] = understood
    values = {name: value for name, value in values.items() if value is not None}
    faults.extend(f"{key}.{name}: missing" for name, field in fields.items() if field.required and name not in raw)
    # Only an argv is ever required. A stand-in lets the rest be checked, too; with a fault noted, nobody sees it.
    stand_ins = {name: ("-",) for name, field in fields.items() if field.required and name not in values}
    return kind(**values, **stand_ins)


def _value(kind: Any, value: Any, path: str, faults: list[str]) -> Any:
    """`value` as `kind`; what is wrong with it is noted under the path of the very item that is."""
    table = _struct_of(kind)
    if table is not None:
        return _table(table, value, path, faults)
    if kind == Hooks and isinstance(value, list):
        return tuple(_value(Hook if isinstance(item, dict) else Argv, item, f"{path}[{index}]", faults)
                     for index, item in enumerate(value))  # fmt: skip
    if get_origin(kind) is dict and isinstance(value, dict):
        return {name: _value(get_args(kind)[1], item, f"{path}.{name}", faults) for name, item in value.items()}
    choices = get_args(kind) if get_origin(kind) is Literal else ()
    if choices and value not in choices:
        near = did_you_mean(value, choices) if isinstance(value, str) else ""
        faults.append(f"{path}: expected {', '.join(choices[:-1])} or {choices[-1]}, found {_shown(value)}{near}")
        return None
    if isinstance(value, str) and "\0" in value:
        faults.append(f"{path}: holds a NUL")
        return None
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        faults.append(f"{path}: {_plain(error)}, found {_shown(value)}")
        return None


def _struct_of(kind: Any) -> type[msgspec.Struct] | None:
    """The struct in `Struct` or `Struct | None`."""
    for option in getattr(kind, "__args__", (kind,)):
        if isinstance(option, type) and issubclass(option, msgspec.Struct):
            return option
    return None


def _plain(error: msgspec.ValidationError) -> str:
    """What msgspec expected, with TOML's word for an object."""
    text, _, path = str(error).partition(" - at `")
    where = path.removeprefix("$").rstrip("`")
    plain = text.partition(", got")[0].replace("Expected", "expected").replace("`", "").replace("object", "table")
    return plain.replace(" | null", "") + (f" at {where}" if where else "")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _pattern(text: str | None, key: str, faults: list[str]) -> re.Pattern[str] | None:
    if text is None:
        return None
    try:
        found = re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        faults.append(f"{key}: {text!r} is no regular expression: {error}")
        return None
    if text and found.search(""):
        faults.append(f"{key}: {text!r} matches everything")
    return found


def _check(definition: Definition, faults: list[str]) -> None:
    """What no type can say."""
    if definition.start is not None:
        _check_start(definition.start, faults)
        if definition.start.type == "forking" and definition.ready.notify:
            faults.append('ready.notify: a service of type "forking" sends no readiness message; use type = "notify"')
    _check_ready(definition.ready, faults)
    _check_match(definition.match, faults)
    _check_stop(definition.stop, faults)
    if definition.reload is not None:
        _check_reload(definition.reload, faults)
    if definition.drain is not None:
        _check_drain(definition.drain, faults)


def _check_start(start: Start, faults: list[str]) -> None:
    _check_argv(start.command, "start.command", faults)
    _absolute({"start.directory": start.directory, "start.log": start.log}, faults)
    if not 0 <= start.log_keep <= 1000:
        faults.append(
            f"start.log_keep: expected {'0 or more' if start.log_keep < 0 else 'at most 1000'}, found {start.log_keep}"
        )
    if not _UMASK.fullmatch(start.umask):
        faults.append(f'start.umask: expected octal digits such as "027", found {start.umask!r}')
    if start.nice is not None and not -20 <= start.nice <= 19:
        faults.append(f"start.nice: expected -20 to 19, found {start.nice}")
    if start.group is not None and start.user is None:
        faults.append("start.group: given without start.user")
    _check_limits(start.limits, faults)
    _check_environment(start.environment, faults)


def _check_limits(limits: dict[str, int | str], faults: list[str]) -> None:
    for name, value in limits.items():
        if name not in LIMITS:
            faults.append(f"start.limits.{name}: no such limit{did_you_mean(name, LIMITS)}")
        elif value != "infinity" and (isinstance(value, str) or not 0 <= value < 2**63):
            faults.append(f'start.limits.{name}: expected a number from 0 or "infinity", found {_shown(value)}')


def _check_environment(environment: dict[str, str], faults: list[str]) -> None:
    for name, value in environment.items():
        if not _ENVIRONMENT_NAME.fullmatch(name):
            faults.append(f"start.environment: {name!r} is no variable's name (letters, digits and _)")
        elif name in RESERVED:
            faults.append(f"start.environment.{name}: ctl sets it itself")
        elif "\0" in value:
            faults.append(f"start.environment.{name}: holds a NUL")


def _check_ready(ready: Ready, faults: list[str]) -> None:
    probes = [name for name in ("tcp", "http", "command", "log", "notify") if getattr(ready, name) not in (None, False)]
    if len(probes) > 1:
        faults.append(f"ready: one probe at most, found {' and '.join(probes)}")
    _check_probe(ready, "ready", faults)
    _positive({"ready.timeout": ready.timeout}, faults)
    if not 0 <= ready.settle <= schedules.LONGEST_WAIT:
        faults.append(f"ready.settle: expected {_range(ready.settle, '0 or more')}, found {ready.settle:g}")


def _check_match(match: Match, faults: list[str]) -> None:
    given = ("cmdline", "executable", "java_main", "user")
    faults.extend(f"match.{key}: is empty" for key in given if getattr(match, key) == "")
    if match.executable and not match.executable.strip("*?/"):
        faults.append(f"match.executable: {match.executable!r} matches everything")
    if match.max < 1:
        faults.append(f"match.max: expected 1 or more, found {match.max}")
    if match.user is not None and not any((match.cmdline, match.executable, match.java_main)):
        faults.append(
            "match.user: a user alone would match all that this user runs; add cmdline, executable or java_main"
        )


def _check_stop(stop: Stop, faults: list[str]) -> None:
    _absolute({"stop.pid_file": stop.pid_file}, faults)
    for key, hooks in (("stop.before", stop.before), ("stop.after", stop.after)):
        for index, hook in enumerate(hooks):
            _check_argv(hook.command if isinstance(hook, Hook) else hook, f"{key}[{index}]", faults)
            _positive({f"{key}[{index}].timeout": hook.timeout if isinstance(hook, Hook) else 1.0}, faults)


def _check_drain(drain: Drain, faults: list[str]) -> None:
    given = [name for name in ("command", "http", "tcp") if getattr(drain, name) is not None]
    if len(given) != 1 and not any(fault.startswith("drain.") for fault in faults):
        faults.append(f"drain: expected one of command, http, tcp, found {' and '.join(given) or 'none'}")
    _check_probe(drain, "drain", faults)
    _positive({"drain.interval": drain.interval, "drain.timeout": drain.timeout}, faults)


def _check_argv(argv: Argv, key: str, faults: list[str]) -> None:
    if not argv or not argv[0]:
        faults.append(f'{key}: expected a program and its arguments, such as ["/usr/bin/sleep", "60"]')
    elif any("\0" in argument for argument in argv):
        faults.append(f"{key}: holds a NUL")


def _check_probe(probe: Ready | Drain, key: str, faults: list[str]) -> None:
    if probe.tcp is not None:
        try:
            tcp_address(probe.tcp)
        except ValueError as error:
            faults.append(f'{key}.tcp: {error}, such as "127.0.0.1:8080"')
    found = _HTTP.fullmatch(probe.http) if probe.http is not None else None
    if probe.http is not None and (found is None or not 0 < int(found["port"] or 80) < 65536):
        faults.append(f"{key}.http: expected http://HOST[:PORT]/PATH, found {probe.http!r}")
    if probe.command is not None:
        _check_argv(probe.command, f"{key}.command", faults)


def _check_reload(reload: Reload, faults: list[str]) -> None:
    if (reload.signal is None) == (reload.command is None) and not any(fault.startswith("reload.") for fault in faults):
        faults.append("reload: expected either signal or command")
    if reload.signal is not None:
        try:
            schedules.signal_name(reload.signal)
        except BadSchedule as error:
            faults.append(f"reload.signal: {error}")
    if reload.command is not None:
        _check_argv(reload.command, "reload.command", faults)


def _absolute(paths: dict[str, str | None], faults: list[str]) -> None:
    faults.extend(
        f"{key}: expected an absolute path, found {path!r}"
        for key, path in paths.items()
        if path is not None and not path.startswith("/")
    )


def _positive(values: dict[str, float], faults: list[str]) -> None:
    faults.extend(
        f"{key}: expected {_range(value, 'more than 0')}, found {value:g}"
        for key, value in values.items()
        if not 0 < value <= schedules.LONGEST_WAIT
    )


def _range(value: float, least: str) -> str:
    return "at most a week (604800 seconds)" if value > schedules.LONGEST_WAIT else f"{least} seconds"
