"""The benchmark: ctl beside its peers and beside itself, every figure a ratio or a difference within one run.

It asserts nothing and always exits with 0 where it could measure; an aim that was not met, and what a peer does better,
is marked in the table.
"""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import NoReturn

from bench import crowd, discovery, duels, machine, many, startup, stopping, waiting
from bench.init import with_orphans_reaped
from bench.markdown import as_markdown
from bench.pairs import Unexpected
from bench.report import Report, as_json
from support.programs import Programs
from support.reaper import Reaper
from support.sandbox import Sandbox


@dataclass(frozen=True)
class Group:
    """What it measures; how long that takes on two processors with as many pairs as there are without --pairs."""

    compare: Callable[[Sandbox, argparse.Namespace], Report]
    measures: str
    takes: str


GROUPS = {
    "startup": Group(
        lambda sandbox, options: startup.compare(sandbox, options.pairs),
        "an answer, and that there is nothing to do, beside what importing Typer takes",
        "20 s",
    ),
    "stopping": Group(
        lambda sandbox, options: stopping.compare(sandbox, options.pairs),
        "a real stop, kill and start beside the same call with nothing to do",
        "20 s",
    ),
    "waiting": Group(
        lambda sandbox, options: waiting.compare(sandbox, options.pairs),
        "the processor time of a stop, a start and a wait that take 60 s",
        "6 min",
    ),
    "discovery": Group(
        lambda sandbox, options: discovery.compare(sandbox, max(3, options.pairs // 3), options.processes),
        "finding one service among --processes others, beside pgrep, pkill, ps and psutil; as root",
        "10 min",
    ),
    "peers": Group(
        lambda sandbox, options: duels.compare(sandbox, options.pairs),
        "nothing to do, start, stop, grace period and readiness of one service, beside each peer",
        "12 min",
    ),
    "many": Group(
        lambda sandbox, options: many.compare(sandbox, min(options.pairs, max(2, options.pairs // 5))),
        "1,000 services beside one of them",
        "3 min",
    ),
    "crowd": Group(
        lambda sandbox, options: crowd.compare(sandbox, min(options.pairs, max(2, options.pairs // 7))),
        "start, status, stop and kill of 1,000 services, beside each peer",
        "15 min",
    ),
}


def main() -> int:
    options = _options()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    command = shlex.join(["bin/bench", *sys.argv[1:]])
    host = machine.describe()
    report = Report()
    try:
        for group in options.groups or GROUPS:
            report += _measure(GROUPS[group], options)
    except Unexpected as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print((as_json if options.json else as_markdown)(report, command, host))
    return 0


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    """Once: a second one would leave behind what the first one was about to end."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _measure(group: Group, options: argparse.Namespace) -> Report:
    """One group in directories of its own; whatever it started is ended."""
    with tempfile.TemporaryDirectory(prefix="ctl-bench-", dir=_memory()) as path:
        root = Path(path)
        root.chmod(0o755)
        (root / "programs").mkdir()
        with Reaper() as reaper:
            return group.compare(Sandbox(root, reaper, Programs(root / "programs")), options)


def _memory() -> str:
    """Where no disk is measured: a tmpfs, as /run is one; the disk where this machine has none that executes."""
    memory = "/dev/shm"
    return memory if os.path.isdir(memory) and not os.statvfs(memory).f_flag & os.ST_NOEXEC else "/tmp"


def _options() -> argparse.Namespace:
    groups = "\n".join(f"  {name:<10} {group.measures} ({group.takes})" for name, group in GROUPS.items())
    parser = argparse.ArgumentParser(
        prog="bin/bench",
        description=__doc__,
        epilog=f"the groups, and about how long each takes on two processors without --pairs:\n{groups}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"any of {', '.join(GROUPS)}; all without one")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of a table")
    parser.add_argument(
        "--pairs", type=int, default=20, metavar="N", help="paired runs of each comparison; long ones get fewer (20)"
    )
    parser.add_argument(
        "--processes",
        type=int,
        nargs="+",
        default=[1000, 10000, 30000],
        metavar="N",
        help="how many there are to search (1000 10000 30000)",
    )
    options = parser.parse_args()
    if unknown := [group for group in options.groups if group not in GROUPS]:
        _refuse(f"no such group: {', '.join(unknown)} (valid: {', '.join(GROUPS)})")
    if options.pairs < 1 or min(options.processes) < 100:
        _refuse("--pairs takes 1 or more, --processes 100 or more")
    return options


def _refuse(why: str) -> NoReturn:
    """Without the usage: one line says it all."""
    print(f"bench: {why}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    sys.exit(with_orphans_reaped(main))
