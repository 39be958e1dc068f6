"""A /proc that hides the processes of other users, seen by a plain user."""

from __future__ import annotations

import os

import pytest

from support.requires import requires, requires_mounts

_SCRIPT = 'mount -t proc -o hidepid=2 proc /proc && exec setpriv --reuid "$0" --regid "$0" --clear-groups -- "$@"'


def hidepid(uid: int) -> list[str]:
    """A prefix for `Sandbox.ctl` that runs the command as `uid` in a mount namespace where /proc has hidepid=2."""
    requires_mounts()
    requires("setpriv")
    release = tuple(map(int, os.uname().release.split("-")[0].split(".")[:2]))
    if release < (5, 8):
        pytest.skip(
            "needs Linux 5.8: before, hidepid was not of a mount but of the whole pid namespace, this machine's"
        )
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", _SCRIPT, str(uid)]
