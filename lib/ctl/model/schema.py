"""The JSON Schema of a definition, for editors: the structs of service.py, with what their types do not say."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from ctl.model.checks import LIMITS
from ctl.model.schedule import LONGEST_WAIT
from ctl.model.service import Definition

Schema = dict[str, Any]
DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

# Beside the structs and not in them: every ctl reads those, and only this schema needs these. What is a placeholder in
# a definition may stand for anything, so the patterns let it pass.
_SECONDS: Final = {"exclusiveMinimum": 0, "maximum": LONGEST_WAIT}
_PATH: Final = {"pattern": "^[/{]"}
_TCP: Final = {"pattern": "^.+:([0-9]+|.*\\{.*)$"}
_HTTP: Final = {"pattern": "^(https?://|.*\\{)"}
_NOT_EMPTY: Final = {"minLength": 1}
_ARGV: Final = {"minItems": 1}
_HOOKS: Final = {
    "items": {"anyOf": [{"type": "array", "items": {"type": "string"}, **_ARGV}, {"$ref": "#/$defs/Hook"}]}
}
_LIMIT: Final = {"anyOf": [{"type": "integer", "minimum": 0}, {"const": "infinity"}]}

# Of each key: what it is, and its bounds.
KEYS: Final[dict[str, dict[str, tuple[str, Schema]]]] = {
    "Definition": {
        "description": ("What it is, in a few words.", {}),
        "start": (
            "How ctl starts it, and what its processes inherit. Without it, ctl can stop it but not start it.",
            {},
        ),
        "ready": ("What must hold before it counts as started: one probe, else that it lives for `settle`.", {}),
        "match": ("How its main process looks, for the day its record is lost; every rule given must hold.", {}),
        "stop": ("How it is ended.", {}),
        "reload": ("How it takes in a new configuration: either signal or command.", {}),
        "drain": ("How to ask, before the stop schedule, whether its work is done: one of command, http, tcp.", {}),
    },
    "Start": {
        "command": ("The program and its arguments; never a shell.", _ARGV),
        "type": (
            "simple: it is the service; forking: it exits when its daemon is there; notify: it sends READY=1.",
            {},
        ),
        "directory": ("The working directory.", _PATH),
        "user": ("Whom it runs as, by name or number, with their group and supplementary groups; ctl's own user.", {}),
        "group": ("Its group; the user's own.", {}),
        "umask": ("The file mode creation mask, in octal digits.", {"pattern": "^(0?[0-7]{1,3}|.*\\{.*)$"}),
        "nice": ("Its priority, setpriority(2): -20 is the highest.", {"minimum": -20, "maximum": 19}),
        "limits": (
            "Resource limits, soft and hard alike, as setrlimit(2) names them.",
            {"propertyNames": {"enum": sorted(LIMITS)}, "additionalProperties": _LIMIT},
        ),
        "environment": (
            "Variables added to PATH, HOME, USER, LOGNAME, SHELL and the caller's LANG, LC_* and TZ.",
            {"propertyNames": {"pattern": "^[A-Za-z_][A-Za-z0-9_]*$"}},
        ),
        "log": (
            "The file, or /dev/null or /dev/stdout, that stdout and stderr go to; LOG_DIR/TARGET.log.",
            _PATH,
        ),
        "log_keep": ("How many old logs are kept; the log is rotated at each start.", {"minimum": 0, "maximum": 1000}),
    },
    "Ready": {
        "tcp": ("HOST:PORT that accepts a connection.", _TCP),
        "http": ("A URL whose GET answers 2xx.", _HTTP),
        "command": ("A command that exits 0, run as the service's user.", _ARGV),
        "log": ("A regex that is found in a line of its log.", {}),
        "notify": ("It sends READY=1, sd_notify(3).", {}),
        "timeout": ("Seconds to become ready.", _SECONDS),
        "settle": ("Without a probe: alive for so many seconds.", {"minimum": 0, "maximum": LONGEST_WAIT}),
        "listener": ("Who may answer tcp or http: own, one of its own processes; any, whoever listens there.", {}),
    },
    "Match": {
        "cmdline": ("A regex, searched in the arguments joined by spaces.", _NOT_EMPTY),
        "executable": ("A glob on the real path of the file it executes.", _NOT_EMPTY),
        "java_main": ("The main class or jar of a JVM, as `jps -l` prints it.", _NOT_EMPTY),
        "user": ("Whose process it is.", _NOT_EMPTY),
        "max": ("How many main processes there may be; more are refused, and listed.", {"minimum": 1}),
    },
    "Stop": {
        "schedule": ("Signals and seconds in start-stop-daemon's grammar: TERM/30/KILL/5.", _NOT_EMPTY),
        "kill_mode": (
            "mixed: each step to the main process, then TERM and KILL to the rest; tree: to all; process: it alone.",
            {},
        ),
        "protected": ("Never taken by a bare or --all stop or kill, only by its own name.", {}),
        "pid_file": ("A pid file that the service writes itself.", _PATH),
        "before": ("Hooks before the stop schedule.", _HOOKS),
        "after": ("Hooks after the stop schedule.", _HOOKS),
    },
    "Hook": {
        "command": ("The program and its arguments, run as the service's user.", _ARGV),
        "timeout": ("Seconds until it is killed.", _SECONDS),
    },
    "Reload": {
        "signal": ("A signal for the main process, such as HUP.", _NOT_EMPTY),
        "command": ("A command, run as the service's user with MAINPID in its environment.", _ARGV),
        "timeout": ("Seconds until the command is killed.", _SECONDS),
    },
    "Drain": {
        "command": ("Drained where it exits 0.", _ARGV),
        "http": ("Drained where a GET of this URL answers 2xx.", _HTTP),
        "tcp": ("Drained where HOST:PORT accepts a connection.", _TCP),
        "interval": ("Seconds between two questions.", _SECONDS),
        "timeout": ("Seconds for all questions; then the schedule runs, drained or not.", _SECONDS),
    },
}


def schema() -> Schema:
    """The JSON Schema (2020-12) of a definition. What it accepts, `ctl check` may still refuse; never the reverse."""
    _, components = msgspec.json.schema_components((Definition,), ref_template="#/$defs/{name}")
    for name, component in components.items():
        component["additionalProperties"] = False
        component["properties"] = {
            key: _described(found, *KEYS[name][key]) for key, found in component["properties"].items()
        }
    components["Ready"]["oneOf"] = _one_of("tcp", "http", "command", "log", "notify", or_none=True)
    components["Reload"]["oneOf"] = _one_of("signal", "command")
    components["Drain"]["oneOf"] = _one_of("command", "http", "tcp")
    top = components.pop("Definition")
    return {"$schema": DIALECT, **top, "title": "A service of ctl", "$defs": components}


def _described(found: Schema, description: str, bounds: Schema) -> Schema:
    """One key: TOML has no null, so a value that may be missing is just not required."""
    default = found.pop("default", None)
    kinds = [kind for kind in found.pop("anyOf", []) if kind != {"type": "null"}]
    described = {"description": description, **(kinds[0] if kinds else found), **bounds}
    if default is not None and not isinstance(default, dict):
        described["default"] = default
    return described


def _one_of(*names: str, or_none: bool = False) -> list[Schema]:
    given: list[Schema] = [
        {"required": [name], **({"properties": {name: {"const": True}}} if name == "notify" else {})} for name in names
    ]
    return [*given, {"not": {"anyOf": given}}] if or_none else given
