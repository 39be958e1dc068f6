"""How a child that waits behind the gate looks: one line of shell that reads from a pipe, then executes "$@"."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from ctl.system import procfs
from ctl.system.procfs import Gone

SHELL: Final = "/bin/sh"
NAME: Final = "ctl-gate"  # what the shell calls itself in its messages
# It reads "open", and where ctl has raised its own limit of descriptors, the one that the service is to have.
_SCRIPT: Final = (
    'read -r gate soft && [ "$gate" = open ] && { [ -z "$soft" ] || ulimit -Sn "$soft"; } && exec "$@" </dev/null'
)
COMMAND: Final = (SHELL, "-c", _SCRIPT, NAME)
# Before that, it lowers its own limits and priority: options of prlimit(1), and a nice value or nothing.
_LIMITING: Final = (
    '{ [ -z "$1" ] || prlimit --pid "$$" $1; } && { [ -z "$2" ] || renice "$2" -p "$$" >/dev/null; } && shift 2 && '
)
LIMITING_COMMAND: Final = (SHELL, "-c", _LIMITING + _SCRIPT, NAME)

# The other program that ctl starts: it searches for patterns.
SEARCHES: Final = (sys.executable, "-I", "-S", str(Path(__file__).with_name("regex_child.py")))


def is_gated(pid: int) -> bool:
    """Whether the process is such a child: nobody's service yet, whatever it is about to execute."""
    try:
        argv = procfs.read_argv(pid)
    except Gone:
        return False
    return argv is not None and tuple(argv[:4]) in (COMMAND, LIMITING_COMMAND)
