"""The documents that are made of the verbs' docstrings, and kept in the checkout."""

from __future__ import annotations

import tomllib
from pathlib import Path

from ctl_build.man import man_page


def documents(root: Path) -> dict[Path, str]:
    """Each file, and what it is to hold. Raises OSError, and ValueError for a docstring that cannot be read."""
    version = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    return {root / "conf" / "man" / "ctl.1": man_page(version)}


def outdated(root: Path) -> list[Path]:
    """The files that do not hold what they are to hold."""
    return [
        file for file, text in documents(root).items() if not file.exists() or file.read_text(encoding="utf-8") != text
    ]


def write_documents(root: Path) -> list[Path]:
    """Write the files that are outdated. Returns them."""
    stale = outdated(root)
    for file in stale:
        file.parent.mkdir(exist_ok=True)
        file.write_text(documents(root)[file], encoding="utf-8")
    return stale
