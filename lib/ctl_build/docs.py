"""What is made of the verbs' docstrings and kept in the checkout: the man page and the pages in README.md."""

from __future__ import annotations

import tomllib
from pathlib import Path

from ctl_build.man import man_page
from ctl_build.readme import with_pages


def documents(root: Path) -> dict[Path, str]:
    """Each file, and what it is to hold. Raises OSError, and ValueError where the README has no place for pages."""
    version = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    readme = root / "README.md"
    return {
        root / "conf" / "man" / "ctl.1": man_page(version),
        readme: with_pages(readme.read_text(encoding="utf-8")),
    }


def outdated(root: Path) -> list[Path]:
    """Those that do not hold it."""
    return [
        file for file, text in documents(root).items() if not file.exists() or file.read_text(encoding="utf-8") != text
    ]


def write_documents(root: Path) -> list[Path]:
    """Write those that are not current. Returns them."""
    stale = outdated(root)
    for file, text in documents(root).items():
        if file in stale:
            file.parent.mkdir(exist_ok=True)
            file.write_text(text, encoding="utf-8")
    return stale
