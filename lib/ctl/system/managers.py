"""Service managers: systemd itself, and what it keeps beside a service and ends by itself."""

from __future__ import annotations

import contextlib
import os
from functools import cache
from typing import Final

from ctl.system.procfs import (
    DELETED,
    NO_FILE,
    FileId,
    Gone,
    file_id,
    read_cgroups,
    read_executable,
    read_executable_id,
    read_stat,
)

_SERVICE_MANAGERS: Final = frozenset(
    f"{directory}/systemd/{name}" for directory in ("/lib", "/usr/lib") for name in ("systemd", "systemd-executor")
)
_SD_PAM: Final = "(sd-pam)"


def is_service_manager(pid: int) -> bool:
    """Whether it is systemd: a manager of services, or a process that it keeps beside one, as (sd-pam) for PAMName=.

    A process may call itself what it likes, and show any path in a mount namespace of its own: the file that it
    executes tells. Where that may not be read, as of the (sd-pam) of a user's own systemd, or was replaced by an
    upgrade since, its control group tells: init.scope has the manager in it, and nobody else, systemd.special(7).
    Raises Gone.
    """
    executable = read_executable_id(pid)
    if executable == NO_FILE:  # one that is ending has only its name left
        return read_stat(pid).comm == _SD_PAM
    if executable is not None and executable in _service_managers():
        return True
    if executable is not None and not _is_replaced_manager(pid):
        return False
    return next(iter(read_cgroups(pid)), "").endswith("/init.scope")


def _is_replaced_manager(pid: int) -> bool:
    """Whether it executes a file of root's that was systemd once, and is not on the disk any more."""
    try:
        path, file = os.readlink(f"/proc/{pid}/exe"), os.stat(f"/proc/{pid}/exe")
    except OSError:
        return False
    is_deleted = path.endswith(DELETED) and file.st_nlink == 0
    return is_deleted and file.st_uid == _root_owner() and path.removesuffix(DELETED) in _SERVICE_MANAGERS


@cache
def _service_managers() -> frozenset[FileId]:
    """The files of systemd on this host: in our mount namespace, in that of pid 1, and what pid 1 itself executes."""
    places = [f"{root}{path}" for root in ("", "/proc/1/root") for path in _SERVICE_MANAGERS]
    with contextlib.suppress(Gone):
        places += ["/proc/1/exe"] if read_executable(1) in _SERVICE_MANAGERS else []
    found = set()
    for place in places:
        with contextlib.suppress(OSError):
            if os.stat(place).st_uid == _root_owner():
                found.add(file_id(place))
    return frozenset(found)


def _root_owner() -> int:
    """The user root, as this user namespace shows it."""
    return os.stat("/").st_uid
