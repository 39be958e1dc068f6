"""What a user names: NAME, or NAME@ID for one instance of a template, as in systemd.unit(5)."""

from __future__ import annotations

import re

import msgspec

from ctl.model.errors import CtlError

# No slash, no blank, no leading dash or dot: a target's name becomes the name of a file.
_NAME = r"[A-Za-z0-9][A-Za-z0-9_.:-]*"
_TARGET = re.compile(rf"(?P<name>{_NAME})(?:@(?P<instance>{_NAME}))?")
INSTANCE = _NAME  # a regex
LONGEST = 200  # bytes; NAME_MAX (255) less the suffixes of the files in the run directory


class Target(msgspec.Struct, frozen=True):
    """One service, or one instance of a template."""

    name: str
    instance: str | None = None

    def __str__(self) -> str:
        return self.name if self.instance is None else f"{self.name}@{self.instance}"

    @property
    def definition(self) -> str:
        """The file name of its definition."""
        return f"{self.name}.toml" if self.instance is None else f"{self.name}@.toml"


def template_of(text: str) -> str | None:
    """The template of which `text` names every instance ("worker@": worker), None where it names one service."""
    name = text.removesuffix("@")
    return name if name != text and re.fullmatch(_NAME, name) and len(text) <= LONGEST else None


def is_target(text: str) -> bool:
    """Whether a service or an instance could have that name."""
    return _TARGET.fullmatch(text) is not None and len(text) <= LONGEST


def parse_target(text: str) -> Target:
    """The target that `text` names. Raises CtlError (unknown_target) when no service could ever have that name."""
    found = _TARGET.fullmatch(text)
    if found is None or not is_target(text):
        shown = repr(text if len(text) <= 60 else text[:60] + "...")
        raise CtlError(
            "unknown_target",
            f"{shown} cannot be a service: a name is letters, digits and _ . : -, "
            "begins with a letter or digit, and may end in @INSTANCE",
        )
    return Target(found["name"], found["instance"])
