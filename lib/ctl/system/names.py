"""The names that a target can have here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from ctl.model.errors import CtlError
from ctl.model.target import parse_target
from ctl.system.config import Config


def target_names(config: Config) -> list[str]:
    """Services, templates as `NAME@`, and those of their instances that have a record, sorted. Raises OSError."""
    defined = set(_stems(config.service_dir.iterdir(), ".toml"))
    services = {name for name in defined if _is_target(name.removesuffix("@")) and "@" not in name[:-1]}
    try:
        recorded = list(_stems(config.run_dir.iterdir(), ".json"))
    except OSError:
        recorded = []
    instances = {name for name in recorded if _is_target(name) and f"{name.partition('@')[0]}@" in services}
    return sorted(services | {name for name in instances if "@" in name})


def _stems(files: Iterable[Path], suffix: str) -> Iterator[str]:
    return (file.name.removesuffix(suffix) for file in files if file.name.endswith(suffix))


def _is_target(name: str) -> bool:
    try:
        parse_target(name)
    except CtlError:
        return False
    return True
