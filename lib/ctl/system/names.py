"""The names that a target can have here."""

from __future__ import annotations

from ctl.model.target import is_target
from ctl.system.config import Config


def target_names(config: Config) -> list[str]:
    """Services, templates as `NAME@`, and those of their instances that have a record, sorted. Raises CtlError."""
    templates = config.templates()
    names = {*config.service_names(), *(f"{template}@" for template in templates)}
    try:
        recorded = [file.name.removesuffix(".json") for file in config.run_dir.iterdir() if file.suffix == ".json"]
    except OSError:
        recorded = []
    names |= {name for name in recorded if "@" in name and is_target(name) and name.partition("@")[0] in templates}
    return sorted(names)
