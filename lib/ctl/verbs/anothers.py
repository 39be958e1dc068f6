"""Which processes another target's record names."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from ctl.model.service import Service
from ctl.system.host import Host
from ctl.system.procfs import Forbidden, Gone, read_stat


def anothers(service: Service, host: Host) -> Callable[[int], bool]:
    """What says of a process whether another target's record names it. Records are read when that is first asked."""
    others = cache(host.others_than(service.name))

    def is_anothers(pid: int) -> bool:
        try:
            return others().name(pid, read_stat(pid).start_ticks)
        except (Gone, Forbidden):
            return False

    return is_anothers
