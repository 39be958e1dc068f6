"""What to execute and as whom: everything that a service's processes inherit."""

from __future__ import annotations

import msgspec


class Account(msgspec.Struct, frozen=True):
    """Whom a service runs as: everything that its processes need to be that user and nobody else."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    name: str
    home: str
    shell: str


class Program(msgspec.Struct, frozen=True):
    """One program with its surroundings."""

    argv: tuple[str, ...]
    environment: dict[str, str]
    directory: str
    account: Account | None  # None: as ctl itself
    umask: int
    nice: int | None
    limits: dict[str, int | str]
    file: str  # the definition that says all this

    def place(self, key: str) -> str:
        """Where an error finds the value of this key."""
        return f"{self.file}, {key}"
