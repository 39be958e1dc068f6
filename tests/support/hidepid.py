"""A /proc that hides the processes of other users, seen by a plain user."""

from __future__ import annotations

import os

import pytest

from support.requires import requires, requires_mounts

_SCRIPT = """
mount -t proc -o "hidepid=$0" proc /proc && exec setpriv --reuid "$1" --regid "$1" --clear-groups -- "${@:2}"
"""


def hidepid(uid: int, level: int = 2) -> list[str]:
    """A prefix for `Sandbox.ctl` that runs the command as `uid` in a mount namespace where /proc has this hidepid.

    2: there are no other users' processes. 1: they are there, and nothing in them can be read.
    """
    requires_mounts()
    requires("setpriv")
    release = tuple(map(int, os.uname().release.split("-")[0].split(".")[:2]))
    if release < (5, 8):
        pytest.skip(
            "needs Linux 5.8: before, hidepid was not of a mount but of the whole pid namespace, this machine's"
        )
    return ["unshare", "--mount", "--propagation", "private", "bash", "-c", _SCRIPT, str(level), str(uid)]
