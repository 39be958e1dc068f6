"""How many descriptors ctl may have open: more than most callers allow, where there are many services or processes."""

from __future__ import annotations

import resource
import threading

_EACH = 16  # descriptors at most that one target needs at a time, beside one for each of its processes
_OTHERS = 64

_given: int | None = None  # the soft limit that the caller gave us, where we have raised it
_raising = threading.Lock()


def prepare_for(targets: int) -> None:
    """Raise the soft limit (getrlimit(2), RLIMIT_NOFILE) as far as so many targets need and the hard one allows."""
    _raise_to(targets * _EACH + _OTHERS)


def keep_room(fd: int) -> None:
    """Raise the soft limit where so high a number shows that it is nearly used up: open(2) gives the lowest free one.

    A service may have more processes than most callers allow descriptors, 1024.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft not in (hard, resource.RLIM_INFINITY) and fd + _OTHERS >= soft:
        _raise_to(2 * soft + _OTHERS)


def given() -> int | None:
    """The soft limit for whatever ctl starts, which is not to inherit ours; None where it has not been raised."""
    return _given


def restore() -> None:
    """Take the caller's limit again, in a child that is about to execute a program."""
    if _given is not None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (_given, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))


def _raise_to(needed: int) -> None:
    global _given  # noqa: PLW0603 - it is the process's own limit
    with _raising:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != resource.RLIM_INFINITY and soft < needed:
            _given = soft if _given is None else _given
            resource.setrlimit(
                resource.RLIMIT_NOFILE, (needed if hard == resource.RLIM_INFINITY else min(needed, hard), hard)
            )
