"""What a peer is: the same services in the hands of another service manager."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.pairs import Unexpected
from bench.workshop import Workshop
from support.reaper import PATH
from support.sandbox import ROOT

VENV = ROOT / ".venv"
INSTALLED = VENV / "peers"  # what bin/setup removes with the rest

Argv = list[str | Path]
Act = Callable[[Sequence[str]], Argv]
Commands = Mapping[str, list[str]]  # of services, by their names


@dataclass(frozen=True)
class Peer:
    """A service manager that knows the services by their names; each is stopped.

    An act is on one of them, or on all, in the way in which one would do that with this peer. It returns when it is
    done, and `kill`, where the peer has it, when the signal is sent.
    """

    name: str
    start: Act
    stop: Act
    status: Act
    kill: Act | None
    exits: tuple[int, ...] = (0,)  # of a stop with nothing to do
    one_by_one: bool = False  # a call takes only one of them
    kill_is_no_end: str = ""  # why, where what it kills is not stopped


# Its grace period, in seconds, is that of all services.
SetUp = Callable[[Workshop, Commands, int], Peer]


class Missing(Exception):
    """This machine does not have the peer; str() says why."""


def program(name: str) -> str:
    found = shutil.which(name, path=f"{PATH}:{VENV / 'bin'}") or shutil.which(name)
    if found is None:
        raise Missing(f"{name} is not installed")
    return found


def install(what: str, *steps: Sequence[str | Path]) -> None:
    print(f"bench: installing {what} into {INSTALLED}", file=sys.stderr, flush=True)
    for argv in steps:
        subprocess.run(argv, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def place(shop: Workshop, name: str) -> Path:
    """A directory for all that the peer keeps."""
    made = shop.sandbox.root / name
    made.mkdir()
    return made


def daemon(shop: Workshop, argv: Sequence[str | Path]) -> None:
    """What it starts carries the reaper's mark."""
    shop.sandbox.reaper.start(argv, ready=None, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def do(shop: Workshop, argv: Sequence[str | Path]) -> None:
    done = subprocess.run(argv, env=shop.environment, capture_output=True, stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        raise Unexpected(f"{' '.join(map(str, argv))}: exit {done.returncode}: {done.stderr.decode(errors='replace')}")


def all_at_a_time(shop: Workshop, names: Sequence[str], argv: Callable[[str], Argv]) -> Argv:
    """For a command that takes one service: for more than one, all of these commands beside each other.

    They mostly wait, so on any number of processors this takes least time; with fewer at a time, a thousand that need
    two seconds each would wait for each other.
    """
    if len(names) == 1:
        return argv(names[0])
    listed = shop.sandbox.tmp / "all-names"
    listed.write_text("".join(f"{name}\n" for name in names))
    return ["xargs", "-a", listed, "-P", "0", "-I{}", *argv("{}")]
