"""The daemon of a forking start, where only the pid file that it has written tells which process it is."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from ctl.model.match import Rules
from ctl.model.service import Service
from ctl.model.verdict import YES
from ctl.system import table
from ctl.system.files.ours import Refused, Unreadable, only_by
from ctl.system.host import Host
from ctl.system.pid_files import read_pid_file
from ctl.system.pidfd import Handle
from ctl.system.portrait import started
from ctl.system.procfs import Gone
from ctl.verbs.bare_pids import CLOCK_ERROR
from ctl.verbs.locate import Located

NO_DAEMON: Final = "left no process behind"


def named_daemon(service: Service, host: Host, spawned: Handle) -> Handle | None:
    """The process that stop.pid_file names, where that proves it; None where it does not.

    It does where the service has no match rules, which would say more; where only root and the service's user can have
    written the file, after `spawned` began; where the process began after that, too, and runs as the service's user.
    """
    if service.has_rules or (pid := _pid_written_since(service, host, spawned)) is None or pid in table.lineage():
        return None
    try:
        handle, verdict = table.judge(pid, Rules(uid=host.service_uid(service)))
    except Gone:
        return None
    if handle is None:
        return None
    is_younger = handle.stat.start_ticks >= spawned.stat.start_ticks
    if verdict == YES and is_younger and host.others_than(service.name)().whose(handle) is None:
        return handle
    handle.close()
    return None


def why_no_daemon(located: Located) -> tuple[str, str | None]:
    """What to say where none was found, and what would help."""
    if located.doubt is not None:
        return located.doubt.what, located.doubt.fix
    claim = next((claim for claim in located.claims if claim.source == "stop.pid_file"), None)
    if claim is None:
        return NO_DAEMON, None
    return f"left no process that is proved to be its daemon: its stop.pid_file {claim.why}", claim.fix


def _pid_written_since(service: Service, host: Host, spawned: Handle) -> int | None:
    if service.stop.pid_file is None:
        return None
    path = Path(service.stop.pid_file)
    if not only_by(path, {0, host.service_uid(service)}):
        return None
    try:
        bare = read_pid_file(path, host.account(service))
    except (Refused, Unreadable):
        return None
    if bare is None or bare.written is None or bare.written + CLOCK_ERROR < started(spawned):
        return None
    return bare.pid
