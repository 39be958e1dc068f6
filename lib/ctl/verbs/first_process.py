"""The first process of a container, which may be a service although it is pid 1."""

from __future__ import annotations

from ctl.model.errors import CtlError
from ctl.model.service import Service
from ctl.system import procfs
from ctl.system.host import Host
from ctl.system.pidfd import Handle, open_handle
from ctl.system.procfs import Forbidden, Gone
from ctl.verbs.leftovers import proved_run


def first_process(service: Service, host: Host) -> list[Handle]:
    """Pid 1 of the container that ctl is in, with an open handle, where it carries the token of a run of this service.

    No rule is asked of pid 1, which on a host is nobody's service. `ctl run` becomes it as the first process of a
    container, and nothing but that token tells so once the record is lost.
    """
    try:
        key = host.key()
        if key is None or set(procfs.read_users(1)) != {host.service_uid(service)}:
            return []
        handle = open_handle(1)
        if handle is not None and proved_run(1, service.name, key) is not None and not handle.is_gone:
            return [handle]
    except (CtlError, Gone, Forbidden):
        return []
    if handle is not None:
        handle.close()
    return []
