"""The schema for editors: every key described, right where ctl is right, its bounds where ctl draws them."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import msgspec
import pytest

from ctl.model import service as structs
from ctl.model.definition import understand
from ctl.model.errors import CtlError
from ctl.model.schema import KEYS, schema
from ctl.model.target import parse_target
from support.sandbox import ROOT

SCHEMA = schema()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
START = {"start": {"command": ["/usr/bin/web"]}}
IN_TABLE = {"Start": "start", "Ready": "ready", "Match": "match", "Reload": "reload", "Drain": "drain"}
# What a table needs beside the key that is looked at.
BESIDE: dict[str, dict[str, Any]] = {
    "start": {"command": ["a"]}, "reload": {"command": ["a"]}, "drain": {"tcp": "a:1"},
}  # fmt: skip


def is_right_for_ctl(definition: dict[str, Any]) -> bool:
    try:
        understand(definition, parse_target("web"), "web.toml", {})
    except CtlError:
        return False
    return True


def test_it_is_a_schema() -> None:
    VALIDATOR.check_schema(SCHEMA)
    objects = [SCHEMA, *SCHEMA["$defs"].values()]
    assert all(found["additionalProperties"] is False for found in objects)


def test_every_key_is_described_and_no_other() -> None:
    for name, keys in KEYS.items():
        assert set(keys) == {field.encode_name for field in msgspec.structs.fields(getattr(structs, name))}, name
    assert set(KEYS) == {"Definition", *SCHEMA["$defs"]}


@pytest.mark.parametrize("file", sorted((ROOT / "conf").glob("*/*.toml")), ids=lambda file: file.name)
def test_what_comes_with_ctl_is_right(file: Path) -> None:
    VALIDATOR.validate(tomllib.loads(file.read_text()))


@pytest.mark.parametrize(
    "text",
    [
        'start = { command = ["a"], directory = "{run_dir}/x", umask = "0{instance}" }',
        'ready = { tcp = "127.0.0.1:80{instance}" }',
        'ready = { http = "http://localhost/", notify = false }',
        'stop = { before = [["a"], { command = ["b"], timeout = 2 }], pid_file = "/run/{target}.pid" }',
        'start = { command = ["a"], limits = { nofile = 5, core = "infinity" } }',
    ],
)
def test_right(text: str) -> None:
    definition = tomllib.loads(text)
    VALIDATOR.validate(definition)
    understand(definition, parse_target("web@1"), "web@.toml", {"run_dir": "/run/ctl"})


@pytest.mark.parametrize(
    "text",
    [
        'descripton = "x"',
        "start = {}",
        'start = { command = "a" }',
        'start = { command = ["a"], comand = ["a"] }',
        'start = { command = ["a"], type = "fork" }',
        'start = { command = ["a"], umask = "9" }',
        'start = { command = ["a"], log = "web.log" }',
        'start = { command = ["a"], limits = { nofiles = 1 } }',
        'start = { command = ["a"], limits = { nofile = "x" } }',
        'start = { command = ["a"], environment = { "A-B" = "1" } }',
        "ready = { tcp = 80 }",
        'ready = { tcp = "80" }',
        'ready = { http = "ftp://x/" }',
        'ready = { tcp = "a:1", log = "x" }',
        'ready = { notify = true, log = "x" }',
        'match = { cmdline = "" }',
        'stop = { kill_mode = "tres" }',
        'stop = { before = ["/x"] }',
        'stop = { before = [{ command = ["a"], timeot = 3 }] }',
        "stop = { after = [[]] }",
        "reload = {}",
        'reload = { signal = "HUP", command = ["a"] }',
        'drain = { tcp = "a:1", http = "http://a/" }',
    ],
)
def test_wrong(text: str) -> None:
    definition = tomllib.loads(text)
    assert not VALIDATOR.is_valid(definition)
    assert not is_right_for_ctl(definition), "what ctl takes, the schema must take"


BOUNDED = [
    (IN_TABLE[name], key, bounds)
    for name, keys in KEYS.items()
    for key, (_, bounds) in keys.items()
    if name in IN_TABLE and {"minimum", "exclusiveMinimum", "maximum"} & set(bounds)
]


@pytest.mark.parametrize(("table", "key", "bounds"), BOUNDED, ids=lambda part: part if isinstance(part, str) else "")
def test_the_bounds_are_those_of_ctl(table: str, key: str, bounds: dict[str, int]) -> None:
    for bound in bounds.values():
        for value in (int(bound) - 1, int(bound), int(bound) + 1):
            definition = {table: BESIDE.get(table, {}) | {key: value}}
            assert VALIDATOR.is_valid(definition) == is_right_for_ctl(definition), definition
