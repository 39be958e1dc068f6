"""Understanding a definition: filled in, typed, checked whole, and every fault of it named at once."""

from __future__ import annotations

import re
from functools import cache
from typing import Any, Literal, TypeVar, get_args, get_origin

import msgspec

from ctl.model import schedule as schedules
from ctl.model.checks import check
from ctl.model.flaw import Flaw, Flaws
from ctl.model.schedule import BadSchedule
from ctl.model.service import Argv, Definition, Hook, Hooks, Service
from ctl.model.suggest import instead, shown
from ctl.model.target import INSTANCE, Target

T = TypeVar("T", bound=msgspec.Struct)
_PLACEHOLDER = re.compile(r"\{(name|instance|target|run_dir|log_dir)\}")


def understand(raw: dict[str, Any], target: Target, file: str, fill: dict[str, str]) -> Service:
    """The service that a parsed definition describes. Raises CtlError (bad_config) that names every fault in it."""
    faults = Flaws()
    filled = fill_in(raw, target, fill)
    definition = understand_table(Definition, filled, "", faults)
    cmdline = ready_log = None
    schedule = schedules.parse_schedule(schedules.DEFAULT)
    if definition is not None:
        cmdline = _pattern(definition.match.cmdline, "match.cmdline", faults)
        ready_log = _pattern(definition.ready.log, "ready.log", faults)
        try:
            schedule = schedules.parse_schedule(definition.stop.schedule)
        except BadSchedule as error:
            faults.add("stop.schedule", f"{definition.stop.schedule!r} {error}", error.fix)
        check(definition, faults)
    if faults or definition is None:
        raise faults.error(file, str(target))
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


def instance_pattern(raw: dict[str, Any], template: str, fill: dict[str, str]) -> re.Pattern[str] | None:
    """A regex that finds in a command line the instance that `match.cmdline` of a template speaks of.

    Its group "instance" holds the ID. None where the rule does not name the instance, or is none.
    """
    match = raw.get("match")
    cmdline = match.get("cmdline") if isinstance(match, dict) else None
    if not isinstance(cmdline, str):
        return None
    first = f"(?P<instance>{INSTANCE}(?<![.:-]))"  # of "worker@1: busy" it is 1, as for _whole_word
    values = {"name": re.escape(template), **{key: re.escape(value) for key, value in fill.items()}}

    def filled(found: re.Match[str]) -> str:
        nonlocal first
        if found[1] not in ("instance", "target"):
            return values[found[1]]
        instance, first = first, "(?P=instance)"
        return instance if found[1] == "instance" else f"{values['name']}@{instance}"

    try:
        pattern = re.compile(_PLACEHOLDER.sub(filled, cmdline))
    except (re.error, OverflowError, RecursionError):
        return None
    return pattern if "instance" in pattern.groupindex else None


def fill_in(raw: Any, target: Target, fill: dict[str, str], key: str = "") -> Any:
    """`raw` with {name}, {instance}, {target}, {run_dir} and {log_dir} filled in; other braces are left alone."""
    if isinstance(raw, str):
        values = {"name": target.name, "target": str(target), "instance": target.instance or "", **fill}
        if key in ("match.cmdline", "ready.log"):
            return _PLACEHOLDER.sub(lambda found: _whole_word(values[found[1]], found), raw)
        return _PLACEHOLDER.sub(lambda found: values[found[1]], raw)
    if isinstance(raw, list):
        return [fill_in(item, target, fill, key) for item in raw]
    if isinstance(raw, dict):
        return {name: fill_in(value, target, fill, f"{key}.{name}" if key else name) for name, value in raw.items()}
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


def understand_table(kind: type[T], raw: Any, key: str, faults: Flaws) -> T | None:
    """`raw` as a struct of `kind` without what is faulty, after that has been noted: all of it, not just the first."""
    if not isinstance(raw, dict):
        faults.add(key, f"expected a table, found {shown(raw)}")
        return None
    fields = _fields_of(kind)
    values: dict[str, Any] = {}
    for name, value in raw.items():
        path = f"{key}.{name}" if key else name
        if name not in fields:
            faults.add(path, f"no such key (valid: {', '.join(fields)})", instead(name, fields))
            continue
        before = len(faults)
        understood = _value(fields[name].type, value, path, faults)
        if len(faults) == before or _struct_of(fields[name].type) is not None:
            values[name] = understood
    values = {name: value for name, value in values.items() if value is not None}
    faults.extend(
        Flaw(f"{key}.{name}", "missing") for name, field in fields.items() if field.required and name not in raw
    )
    # Only an argv is ever required. A stand-in lets the rest be checked, too; with a fault noted, nobody sees it.
    stand_ins = {name: ("-",) for name, field in fields.items() if field.required and name not in values}
    return kind(**values, **stand_ins)


@cache  # msgspec evaluates the annotations anew each time
def _fields_of(kind: type[msgspec.Struct]) -> dict[str, msgspec.structs.FieldInfo]:
    """The fields of a struct by their keys."""
    return {field.encode_name: field for field in msgspec.structs.fields(kind)}


def _value(kind: Any, value: Any, path: str, faults: Flaws) -> Any:
    """`value` as `kind`; what is wrong with it is noted under the path of the very item that is."""
    table = _struct_of(kind)
    if table is not None:
        return understand_table(table, value, path, faults)
    if kind == Hooks and isinstance(value, list):
        return tuple(_value(Hook if isinstance(item, dict) else Argv, item, f"{path}[{index}]", faults)
                     for index, item in enumerate(value))  # fmt: skip
    if get_origin(kind) is dict and isinstance(value, dict):
        return {name: _value(get_args(kind)[1], item, f"{path}.{name}", faults) for name, item in value.items()}
    choices = get_args(kind) if get_origin(kind) is Literal else ()
    if choices and value not in choices:
        near = instead(value, choices) if isinstance(value, str) else None
        faults.add(path, f"expected {', '.join(choices[:-1])} or {choices[-1]}, found {shown(value)}", near)
        return None
    if isinstance(value, str) and "\0" in value:
        faults.add(path, "holds a NUL")
        return None
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        faults.add(path, f"{_plain(error)}, found {shown(value)}")
        return None


def _struct_of(kind: Any) -> type[msgspec.Struct] | None:
    """The struct in `Struct` or `Struct | None`."""
    for option in getattr(kind, "__args__", (kind,)):
        if isinstance(option, type) and issubclass(option, msgspec.Struct):
            return option
    return None


def _plain(error: msgspec.ValidationError) -> str:
    """What msgspec expected, with TOML's word for an object.

    The one sentence that is taken apart: it is a library's, and says in no other way where in a value the fault is.
    """
    text, _, path = str(error).partition(" - at `")
    where = path.removeprefix("$").rstrip("`")
    plain = text.partition(", got")[0].replace("Expected", "expected").replace("`", "").replace("object", "table")
    return plain.replace(" | null", "") + (f" at {where}" if where else "")


def _pattern(text: str | None, key: str, faults: Flaws) -> re.Pattern[str] | None:
    if text is None:
        return None
    try:
        found = re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        faults.add(key, f"{text!r} is no regular expression: {error}")
        return None
    if text and found.search(""):
        faults.add(key, f"{text!r} matches everything")
    return found
