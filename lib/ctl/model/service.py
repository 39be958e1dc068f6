"""A service: what its definition says, with every text in it understood."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import Literal

import msgspec

from ctl.model import schedule as schedules
from ctl.model.errors import CtlError
from ctl.model.match import Marker, Program, Rules, glob, necessary_literals
from ctl.model.schedule import Schedule
from ctl.model.target import Target

Argv = tuple[str, ...]
_TCP = r"(?P<host>\[[^\]]+\]|[^:\[\]]+):(?P<port>[0-9]{1,5})"  # compiled when it is needed: start-up time


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """How ctl starts it, and what its processes inherit."""

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
    """What must hold before it counts as started."""

    tcp: str | None = None
    http: str | None = None
    command: Argv | None = None
    log: str | None = None
    notify: bool = False
    timeout: float = 60.0
    settle: float = 0.5
    listener: Literal["own", "any"] = "own"  # who may answer tcp and http

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
    """How its main process looks; every rule given must hold."""

    cmdline: str | None = None
    executable: str | None = None
    java_main: str | None = None
    user: str | None = None
    max: int = 1


class Hook(msgspec.Struct, frozen=True, kw_only=True):
    """A command around the stop schedule, with its own time in seconds."""

    command: Argv
    timeout: float = 30.0


Hooks = tuple[Argv | Hook, ...]


class Stop(msgspec.Struct, frozen=True, kw_only=True):
    """How it is ended."""

    schedule: str = schedules.DEFAULT
    kill_mode: Literal["mixed", "process", "tree"] = "mixed"
    protected: bool = False
    pid_file: str | None = None
    before: Hooks = ()
    after: Hooks = ()


class Reload(msgspec.Struct, frozen=True, kw_only=True):
    """How it takes in a new configuration."""

    signal: str | None = None
    command: Argv | None = None
    timeout: float = 30.0  # of the command, in seconds


class Drain(msgspec.Struct, frozen=True, kw_only=True):
    """How to ask whether its work is done."""

    command: Argv | None = None
    http: str | None = None
    tcp: str | None = None
    interval: float = 1.0
    timeout: float = 30.0


class Definition(msgspec.Struct, frozen=True, kw_only=True):
    """What one file says, each key as written."""

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
    uid: int | None = None  # as whom its processes run, where its state file tells that and not its definition
    fault: CtlError | None = None  # why its definition cannot be used, so that its state file has to do

    @property
    def name(self) -> str:
        return str(self.target)

    @property
    def notifies(self) -> bool:
        """Whether it says READY=1 when it is ready, sd_notify(3)."""
        return self.ready.notify or (self.start is not None and self.start.type == "notify")

    @property
    def readiness(self) -> str:
        """What makes it ready, in words."""
        return "READY=1" if self.notifies else self.ready.kind

    @property
    def has_rules(self) -> bool:
        """Whether [match] says how its processes look; where it does not, only ctl's own marker can tell."""
        match = self.match
        return any((match.cmdline, match.executable, match.java_main, match.user))

    def rules(self, uid: int | None, marker: Marker, programs: Callable[[], Collection[Program]] = tuple) -> Rules:
        """The rules its main process satisfies; `uid` is that of match.user, else of the service's own user."""
        if not self.has_rules:
            return Rules(uid=uid, marker=marker, programs=programs)
        return Rules(
            uid=uid if self.match.user is not None else None,
            default_uid=uid if self.match.user is None else None,
            cmdline=self.cmdline,
            literals=necessary_literals(self.cmdline) if self.cmdline else (),
            java_main=self.match.java_main,
            executable=glob(self.match.executable) if self.match.executable else None,
            programs=programs,
        )


def tcp_address(text: str) -> tuple[str, int]:
    """Host and port of "HOST:PORT" or "[IPV6]:PORT". Raises ValueError."""
    found = re.fullmatch(_TCP, text)
    if found is None or not 0 < int(found["port"]) < 65536:
        raise ValueError(f"{text!r} is not HOST:PORT")
    return found["host"].strip("[]"), int(found["port"])
