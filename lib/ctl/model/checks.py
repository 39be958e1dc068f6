"""What a definition must hold to beyond the types of its values."""

from __future__ import annotations

import re

from ctl.model import schedule as schedules
from ctl.model.flaw import Flaw, Flaws
from ctl.model.schedule import BadSchedule
from ctl.model.service import Argv, Definition, Drain, Hook, Match, Ready, Reload, Start, Stop, tcp_address
from ctl.model.suggest import instead, shown

# Each is compiled when it is needed: start-up time.
# systemd.exec(5) allows the same: a name that a POSIX shell could hold, so that every wrapper script passes it on.
_ENVIRONMENT_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_UMASK = r"0?[0-7]{1,3}"
_HTTP = r"https?://(\[[0-9A-Fa-f:.]+\]|[^\s/:@\[\]]+)(:(?P<port>[0-9]{1,5}))?(/\S*)?"
# What setrlimit(2) knows on Linux; "infinity" lifts a limit.
LIMITS = frozenset(
    "as core cpu data fsize memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack".split()
)
RESERVED = frozenset({"CTL_TARGET", "CTL_RUN_DIR", "CTL_RUN_ID", "CTL_TOKEN"})


def check(definition: Definition, faults: Flaws) -> None:
    """Note every fault that no type can rule out."""
    if definition.start is not None:
        _check_start(definition.start, faults)
        if definition.start.type == "forking" and definition.ready.notify:
            faults.add("ready.notify", 'a service of type "forking" sends no readiness message', 'use type = "notify"')
    _check_ready(definition.ready, faults)
    _check_match(definition.match, faults)
    _check_stop(definition.stop, faults)
    if definition.reload is not None:
        _check_reload(definition.reload, faults)
    if definition.drain is not None:
        _check_drain(definition.drain, faults)


def _check_start(start: Start, faults: Flaws) -> None:
    _check_argv(start.command, "start.command", faults)
    _absolute({"start.directory": start.directory, "start.log": start.log}, faults)
    if not 0 <= start.log_keep <= 1000:
        expected = "0 or more" if start.log_keep < 0 else "at most 1000"
        faults.add("start.log_keep", f"expected {expected}, found {start.log_keep}")
    if not re.fullmatch(_UMASK, start.umask):
        faults.add("start.umask", f'expected octal digits such as "027", found {start.umask!r}')
    if start.nice is not None and not -20 <= start.nice <= 19:
        faults.add("start.nice", f"expected -20 to 19, found {start.nice}")
    if start.group is not None and start.user is None:
        faults.add("start.group", "given without start.user")
    _check_limits(start.limits, faults)
    _check_environment(start.environment, faults)


def _check_limits(limits: dict[str, int | str], faults: Flaws) -> None:
    for name, value in limits.items():
        if name not in LIMITS:
            faults.add(f"start.limits.{name}", "no such limit", instead(name, LIMITS))
        elif value != "infinity" and (isinstance(value, str) or not 0 <= value < 2**63):
            faults.add(f"start.limits.{name}", f'expected a number from 0 or "infinity", found {shown(value)}')


def _check_environment(environment: dict[str, str], faults: Flaws) -> None:
    for name, value in environment.items():
        if not re.fullmatch(_ENVIRONMENT_NAME, name):
            faults.add("start.environment", f"{name!r} is no variable's name (letters, digits and _)")
        elif name in RESERVED:
            faults.add(f"start.environment.{name}", "ctl sets it itself")
        elif "\0" in value:
            faults.add(f"start.environment.{name}", "holds a NUL")


def _check_ready(ready: Ready, faults: Flaws) -> None:
    probes = [name for name in ("tcp", "http", "command", "log", "notify") if getattr(ready, name) not in (None, False)]
    if len(probes) > 1:
        faults.add("ready", f"one probe at most, found {' and '.join(probes)}")
    _check_probe(ready, "ready", faults)
    _positive({"ready.timeout": ready.timeout}, faults)
    if ready.listener == "any" and ready.tcp is None and ready.http is None:
        faults.add("ready.listener", "given without ready.tcp or ready.http")
    if not 0 <= ready.settle <= schedules.LONGEST_WAIT:
        faults.add("ready.settle", f"expected {_range(ready.settle, '0 or more')}, found {ready.settle:g}")


def _check_match(match: Match, faults: Flaws) -> None:
    given = ("cmdline", "executable", "java_main", "user")
    faults.extend(Flaw(f"match.{key}", "is empty") for key in given if getattr(match, key) == "")
    if match.executable and not match.executable.strip("*?/"):
        faults.add("match.executable", f"{match.executable!r} matches everything")
    if match.max < 1:
        faults.add("match.max", f"expected 1 or more, found {match.max}")
    if match.user is not None and not any((match.cmdline, match.executable, match.java_main)):
        what = "a user alone would match all that this user runs"
        faults.add("match.user", what, "add cmdline, executable or java_main")


def _check_stop(stop: Stop, faults: Flaws) -> None:
    _absolute({"stop.pid_file": stop.pid_file}, faults)
    for key, hooks in (("stop.before", stop.before), ("stop.after", stop.after)):
        for index, hook in enumerate(hooks):
            _check_argv(hook.command if isinstance(hook, Hook) else hook, f"{key}[{index}]", faults)
            _positive({f"{key}[{index}].timeout": hook.timeout if isinstance(hook, Hook) else 1.0}, faults)


def _check_drain(drain: Drain, faults: Flaws) -> None:
    given = [name for name in ("command", "http", "tcp") if getattr(drain, name) is not None]
    if len(given) != 1 and not faults.has_any_in("drain"):
        faults.add("drain", f"expected one of command, http, tcp, found {' and '.join(given) or 'none'}")
    _check_probe(drain, "drain", faults)
    _positive({"drain.interval": drain.interval, "drain.timeout": drain.timeout}, faults)


def _check_argv(argv: Argv, key: str, faults: Flaws) -> None:
    if not argv or not argv[0]:
        faults.add(key, 'expected a program and its arguments, such as ["/usr/bin/sleep", "60"]')
    elif any("\0" in argument for argument in argv):
        faults.add(key, "holds a NUL")


def _check_probe(probe: Ready | Drain, key: str, faults: Flaws) -> None:
    if probe.tcp is not None:
        try:
            tcp_address(probe.tcp)
        except ValueError as error:
            faults.add(f"{key}.tcp", f'{error}, such as "127.0.0.1:8080"')
    found = re.fullmatch(_HTTP, probe.http) if probe.http is not None else None
    if probe.http is not None and (found is None or not 0 < int(found["port"] or 80) < 65536):
        faults.add(f"{key}.http", f"expected http://HOST[:PORT]/PATH, found {probe.http!r}")
    if probe.command is not None:
        _check_argv(probe.command, f"{key}.command", faults)


def _check_reload(reload: Reload, faults: Flaws) -> None:
    if (reload.signal is None) == (reload.command is None) and not faults.has_any_in("reload"):
        faults.add("reload", "expected either signal or command")
    if reload.signal is not None:
        try:
            name = schedules.signal_name(reload.signal)
        except BadSchedule as error:
            faults.add("reload.signal", str(error), error.fix)
        else:
            if name in ("KILL", "STOP"):
                faults.add("reload.signal", f"no program can catch {name}, signal(7)")
    if reload.command is not None:
        _check_argv(reload.command, "reload.command", faults)
    _positive({"reload.timeout": reload.timeout}, faults)


def _absolute(paths: dict[str, str | None], faults: Flaws) -> None:
    faults.extend(
        Flaw(key, f"expected an absolute path, found {path!r}")
        for key, path in paths.items()
        if path is not None and not path.startswith("/")
    )


def _positive(values: dict[str, float], faults: Flaws) -> None:
    faults.extend(
        Flaw(key, f"expected {_range(value, 'more than 0')}, found {value:g}")
        for key, value in values.items()
        if not 0 < value <= schedules.LONGEST_WAIT
    )


def _range(value: float, least: str) -> str:
    return "at most a week (604800 seconds)" if value > schedules.LONGEST_WAIT else f"{least} seconds"
