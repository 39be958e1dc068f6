"""Puts a test's mark into a service definition. As a command (`definition.py MARK < in > out`), for bats."""

from __future__ import annotations

import copy
import sys
import tomllib
from collections.abc import Mapping
from typing import Any

from support import toml
from support.mark import MARK


def marked(definition: Mapping[str, Any] | str, mark: str) -> str:
    """The definition as TOML, with the mark in [start].environment, which every process of the service inherits."""
    table: dict[str, Any] = (
        tomllib.loads(definition) if isinstance(definition, str) else copy.deepcopy(dict(definition))
    )
    if isinstance(start := table.get("start"), dict):
        environment = start.setdefault("environment", {})
        if isinstance(environment, dict):
            environment[MARK] = mark
    return toml.dump(table)


if __name__ == "__main__":
    print(marked(sys.stdin.read(), sys.argv[1]))
