"""How many descriptors ctl may have open: more than most callers allow, where it has to do with many services."""

from __future__ import annotations

import resource

_EACH = 16  # descriptors at most that one target needs at a time
_OTHERS = 64

_given: int | None = None  # the soft limit that the caller gave us, where we have raised it


def prepare_for(targets: int) -> None:
    """Raise the soft limit (getrlimit(2), RLIMIT_NOFILE) as far as so many targets need and the hard one allows."""
    global _given  # noqa: PLW0603 - it is the process's own limit
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = targets * _EACH + _OTHERS
    if soft != resource.RLIM_INFINITY and soft < needed:
        _given = soft if _given is None else _given
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (needed if hard == resource.RLIM_INFINITY else min(needed, hard), hard)
        )


def given() -> int | None:
    """The soft limit for whatever ctl starts, which is not to inherit ours; None where it has not been raised."""
    return _given


def restore() -> None:
    """Take the caller's limit again, in a child that is about to execute a program."""
    if _given is not None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (_given, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
