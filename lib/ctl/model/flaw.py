"""What is wrong with a definition or with ctl.toml, key by key."""

from __future__ import annotations

import msgspec

from ctl.model.errors import CtlError


class Flaw(msgspec.Struct, frozen=True):
    """One thing that is wrong with one key."""

    key: str
    what: str
    fix: str | None = None  # what to write


class Flaws(list[Flaw]):
    """All that is wrong with a file."""

    def add(self, key: str, what: str, fix: str | None = None) -> None:
        self.append(Flaw(key, what, fix))

    def has_any_in(self, table: str) -> bool:
        """Whether something is wrong with a key of this table."""
        return any(flaw.key.startswith(f"{table}.") for flaw in self)

    def error(self, file: str, target: str | None = None) -> CtlError:
        """What there is to raise where there are some: the first, with all the others."""
        first, *others = (
            CtlError("bad_config", f"{flaw.key}: {flaw.what}", where=file, fix=flaw.fix, target=target)
            for flaw in dict.fromkeys(self)
        )
        first.others = tuple(others)
        return first
