"""Which processes get a step's signal at once, since their main process ignores it."""

from __future__ import annotations

from collections.abc import Sequence

from ctl.system.pidfd import Handle


def ignoring(mains: Sequence[Handle], signal: str | None) -> list[Handle]:
    """Those of the main processes that ignore the signal. One that blocks it may act on it, signalfd(2)."""
    return [main for main in mains if signal not in (None, "KILL") and main.ignores(signal or "")]


def children_of(some: Sequence[Handle], mains: Sequence[Handle], members: Sequence[Handle]) -> list[Handle]:
    """The members that belong to `some` of the main processes: all of them where there is no other.

    Else those that descend from these or are in their sessions; what has left both is nobody's in particular.
    """
    if all(main.is_gone or main in some for main in mains):
        return list(members) if some else []
    family = {main.pid for main in some}
    related: list[Handle] = []
    for member in members:  # the oldest first: a parent comes before its children
        if member.stat.ppid in family or member.stat.session in family:
            family.add(member.pid)
            related.append(member)
    return related
