"""Who starts a process again once it has ended, and what to tell them so that it stays ended."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

# By kind: the words of its commands that end a service, start it, and do both.
_WORDS: Final = {
    "systemd": (" stop ", " start ", " restart "),
    "runit": (" down ", " up ", " restart "),
    "s6": (" -d ", " -u ", " -r "),
    "supervisord": (" stop ", " start ", " restart "),
    "docker": (" stop ", " start ", " restart "),
    "podman": (" stop ", " start ", " restart "),
}


# What is done to its main process.
Means = Literal["stop", "kill", "pause"]


class Supervisor(msgspec.Struct, frozen=True, kw_only=True):
    """Whoever has the process in their care."""

    kind: str  # systemd, runit, s6, supervisord, docker, podman, kubernetes, container
    name: str | None  # of the service, as they know it
    command: str  # that ends it, and holds
    restarts: bool | None = None  # whether they undo what was done; None where that cannot be told
    setting: str | None = None  # by which that is so: "Restart=always"

    @property
    def restarting_command(self) -> str:
        """What restarts it in their own way."""
        ends, starts, restarts = _WORDS.get(self.kind, ("", "", ""))
        first, and_then, _ = self.command.partition(" && ")
        return f"{self.command} && {first.replace(ends, starts, 1)}" if and_then else first.replace(ends, restarts, 1)

    @property
    def label(self) -> str:
        """What a person calls it."""
        if self.kind == "systemd":
            return self.name or "systemd"
        return f"{self.kind} ({self.name})" if self.name else self.kind


def undoing(restart: str, watchdog: str, means: Means) -> tuple[bool | None, str]:
    """Whether a unit with Restart= and WatchdogSec= of these values undoes it, and by which of them.

    One that is paused tells no watchdog that it lives: systemd.service(5) has it killed then.
    """
    if means == "pause":
        return watchdog not in ("", "0", "infinity"), f"WatchdogSec={watchdog}"
    return restarts(restart, killed=means == "kill"), f"Restart={restart}"


def restarts(setting: str, *, killed: bool) -> bool | None:
    """What Restart= makes of a main process that was ended by KILL or by gentler means, systemd.service(5).

    None where it depends on how the process takes its end: on TERM it may exit with 0, 143, or die of the signal,
    which is a clean end for systemd.
    """
    if setting in ("always", "no", ""):
        return setting == "always"
    if killed:
        return setting in ("on-failure", "on-abnormal", "on-abort")
    return None if setting in ("on-success", "on-failure") else False
