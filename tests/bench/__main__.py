"""The benchmark: ctl beside its peers and beside itself, every figure a ratio or a difference within one run.

It asserts nothing and always exits with 0 where it could measure; an aim that was not met is marked in the table.
"""

from __future__ import annotations

import argparse
import os
import platform
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from bench import discovery, duels, many, startup, stopping
from bench.pairs import Unexpected
from bench.report import Report, as_json, as_markdown
from support.programs import Programs
from support.reaper import Reaper
from support.sandbox import Sandbox

Compare = Callable[[Sandbox, argparse.Namespace], Report]

GROUPS: dict[str, Compare] = {
    "startup": lambda sandbox, options: startup.compare(sandbox, options.pairs),
    "stopping": lambda sandbox, options: stopping.compare(sandbox, options.pairs),
    "discovery": lambda sandbox, options: discovery.compare(sandbox, max(3, options.pairs // 3), options.processes),
    "peers": lambda sandbox, options: duels.compare(sandbox, options.pairs),
    "many": lambda sandbox, options: many.compare(sandbox, options.pairs),
}


def main() -> int:
    options = _options()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # cleans up, too
    report = Report((), ())
    try:
        for group in options.groups or GROUPS:
            report += _measure(GROUPS[group], options)
    except Unexpected as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print(as_json(report, _host()) if options.json else as_markdown(report, _host()))
    return 0


def _measure(compare: Compare, options: argparse.Namespace) -> Report:
    """One group in directories of its own; whatever it started is ended."""
    with tempfile.TemporaryDirectory(prefix="ctl-bench-", dir="/tmp") as path:
        root = Path(path)
        root.chmod(0o755)
        (root / "programs").mkdir()
        with Reaper() as reaper, _in_memory() as run_dir:
            (root / "run").symlink_to(run_dir)  # where fsync(2) costs what it costs in /run
            return compare(Sandbox(root, reaper, Programs(root / "programs")), options)


def _in_memory() -> tempfile.TemporaryDirectory[str]:
    """A directory on a tmpfs, as /run is; where this machine has none, on a disk."""
    memory = Path("/dev/shm")
    return tempfile.TemporaryDirectory(prefix="ctl-bench-", dir=memory if memory.is_dir() else "/tmp")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bin/bench", description=__doc__)
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
        parser.error(f"no such group: {', '.join(unknown)} (valid: {', '.join(GROUPS)})")
    if options.pairs < 1 or min(options.processes) < 100:
        parser.error("--pairs takes 1 or more, --processes 100 or more")
    return options


def _host() -> dict[str, str]:
    return {
        "kernel": platform.release(),
        "python": platform.python_version(),
        "processors": str(len(os.sched_getaffinity(0))),
        "load": " ".join(f"{load:.1f}" for load in os.getloadavg()),
    }


if __name__ == "__main__":
    sys.exit(main())
