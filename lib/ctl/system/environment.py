"""The environment that our caller gave us, as it was given.

Python sets LC_CTYPE in its own where the caller set no locale (PEP 538), which must not reach a service.
"""

from __future__ import annotations

import os
from functools import cache
from typing import Final

from ctl.system import procfs

DEFAULT_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@cache
def given() -> dict[str, str]:
    """Every variable of it, decoded as os.environ decodes them."""
    try:
        entries = procfs.read_environment(os.getpid()).split(b"\0")
    except OSError:  # no descriptor or no memory for it
        return dict(os.environ)
    return dict(os.fsdecode(entry).partition("=")[::2] for entry in entries if b"=" in entry)


def variable(name: str) -> str | None:
    """The value of `name`, None where it is unset or empty."""
    return given().get(name) or None


def new_run_id() -> str:
    """What tells the processes of one run from those of every other, wherever they go."""
    return os.urandom(16).hex()
