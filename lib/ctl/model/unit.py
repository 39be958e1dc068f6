"""A service unit of systemd, as `systemctl show` describes it, and where ctl is called in it."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Final

import msgspec

from ctl.model.command_line import ACTING, FLAGS

SYSTEM: Final = "/etc/systemd/system"
EXEC: Final = (
    "ExecCondition", "ExecStartPre", "ExecStart", "ExecStartPost", "ExecReload", "ExecStop", "ExecStopPost",
)  # fmt: skip
# What a Unit is made of.
PROPERTIES: Final = (
    *(f"{setting}Ex" for setting in EXEC),
    "Id", "LoadState", "LoadError", "FragmentPath", "NeedDaemonReload", "Type", "NotifyAccess", "KillMode",
    "KillSignal", "SendSIGKILL", "TimeoutStartUSec", "TimeoutStopUSec", "PIDFile", "Restart", "User", "RemainAfterExit",
    "RuntimeDirectory", "RuntimeDirectoryPreserve", "MainPID", "ActiveState", "Environment", "ProtectSystem",
    "ReadWritePaths", "ProtectProc", "ProcSubset",
)  # fmt: skip

_LINE: Final = re.compile(r"argv\[\]=(?P<argv>.*?) ; flags=(?P<flags>.*?) ; ")
_SPAN: Final = re.compile(r"(?P<number>[0-9]+(\.[0-9]+)?)(?P<unit>[a-zµ]+)")
_SECONDS: Final = {
    "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0,
    "month": 2629800.0, "y": 31557600.0,
}  # fmt: skip
_SHELLS: Final = ";&|(){}<>"
_VERBS: Final = frozenset({*ACTING, "status", "wait"})
_FLAGS: Final = frozenset(word for words in FLAGS.values() for word in words)


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One call of ctl in a unit."""

    setting: str  # ExecStart, ExecStop...
    verb: str
    targets: tuple[str, ...]
    options: dict[str, str]
    program: str  # the path by which it is called
    privileged: bool = False  # as root and outside of the sandbox, whatever User= and Protect*= say: ExecStop=+...


class Unit(msgspec.Struct, frozen=True, kw_only=True):
    """What systemd does with a service, times in seconds."""

    name: str
    load: str
    problem: str  # why it is not loaded
    file: str
    changed: bool  # on disk, since systemd has read it
    type: str
    notify_access: str
    kill_mode: str
    kill_signal: int
    send_sigkill: bool
    start_timeout: float
    stop_timeout: float
    pid_file: str
    restart: str
    user: str
    remains: bool  # RemainAfterExit=
    runtime_directories: tuple[str, ...]  # below /run
    runtime_preserved: bool
    main_pid: int
    state: str
    environment: dict[str, str]
    protects_system: str
    writable: tuple[str, ...]
    protects_proc: str
    proc_subset: str
    calls: tuple[Call, ...]
    directory: str  # where what an administrator, or the user whose manager has it, says of units belongs

    @property
    def of_user(self) -> bool:
        """Whether it is one of a user's own manager."""
        return self.directory != SYSTEM

    @property
    def systemctl(self) -> str:
        """The command that reaches its manager."""
        return "systemctl --user" if self.of_user else "systemctl"

    def calls_in(self, *settings: str) -> Iterator[Call]:
        """Those in these settings."""
        return (call for call in self.calls if call.setting in settings)


def unit_from(name: str, properties: Mapping[str, list[str]], directory: str = SYSTEM) -> Unit:
    """The unit that these PROPERTIES describe."""

    def one(key: str, default: str = "") -> str:
        return next(iter(properties.get(key, [])), "") or default

    return Unit(
        name=one("Id", name),
        load=one("LoadState", "not-found"),
        problem=one("LoadError"),
        file=one("FragmentPath"),
        changed=one("NeedDaemonReload") == "yes",
        type=one("Type", "simple"),
        notify_access=one("NotifyAccess", "none"),
        kill_mode=one("KillMode", "control-group"),
        kill_signal=int(one("KillSignal", "15")),
        send_sigkill=one("SendSIGKILL", "yes") == "yes",
        start_timeout=seconds_of(one("TimeoutStartUSec", "infinity")),
        stop_timeout=seconds_of(one("TimeoutStopUSec", "infinity")),
        pid_file=one("PIDFile"),
        restart=one("Restart", "no"),
        user=one("User"),
        remains=one("RemainAfterExit") == "yes",
        runtime_directories=tuple(f"/run/{name.partition(':')[0]}" for name in one("RuntimeDirectory").split()),
        runtime_preserved=one("RuntimeDirectoryPreserve", "no") != "no",
        main_pid=int(one("MainPID", "0")),
        state=one("ActiveState"),
        environment=dict(word.partition("=")[::2] for word in _words(one("Environment"))),
        protects_system=one("ProtectSystem", "no"),
        writable=tuple(path.lstrip("-+") for path in one("ReadWritePaths").split()),
        protects_proc=one("ProtectProc", "default"),
        proc_subset=one("ProcSubset", "all"),
        calls=tuple(
            call
            for setting in EXEC
            for line in properties.get(f"{setting}Ex", [])
            if (call := call_in(setting, line)) is not None
        ),
        directory=directory,
    )


def call_in(setting: str, line: str) -> Call | None:
    """The call of ctl in one line of Exec*= as systemctl shows it, also one within a shell's."""
    found = _LINE.search(line)
    if found is None:
        return None
    words, flags = found["argv"].split(), found["flags"].split()
    for index, (program, verb) in enumerate(pairwise(words)):
        bare = program.lstrip("\"'({!@-+:")
        if bare.rpartition("/")[2] == "ctl" and verb in _VERBS:
            targets, options = _arguments(_command(words[index + 2 :]))
            return Call(
                setting=setting, verb=verb, targets=targets, options=options, program=bare,
                privileged="privileged" in flags,
            )  # fmt: skip
    return None


def _command(words: list[str]) -> list[str]:
    """The words up to where a shell begins another command."""
    end = next(
        (i for i, word in enumerate(words) if not word.strip(_SHELLS) or word.rstrip("\"'")[-1:] in _SHELLS), None
    )
    if end is None:
        return [word.strip("\"'") for word in words]
    return [word for word in (word.strip("\"'" + _SHELLS) for word in words[: end + 1]) if word]


def seconds_of(span: str) -> float:
    """A time span as systemctl shows it, systemd.time(7): "1min 30s", "infinity"."""
    if span == "infinity":
        return math.inf
    return sum(float(part["number"]) * _SECONDS.get(part["unit"], 0.0) for part in _SPAN.finditer(span))


def _arguments(words: list[str]) -> tuple[tuple[str, ...], dict[str, str]]:
    targets: list[str] = []
    options: dict[str, str] = {}
    left = iter(words)
    for word in left:
        name, equals, value = word.partition("=")
        if word.startswith("-"):
            options[name] = value if equals or name in _FLAGS else next(left, "")
        elif word and not word.startswith("$"):
            targets.append(word)
    return tuple(targets), options


def _words(text: str) -> list[str]:
    try:
        return [word for word in shlex.split(text) if "=" in word]
    except ValueError:
        return []
