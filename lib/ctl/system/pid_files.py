"""Pid files: a number that somebody wrote down, which proves nothing by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from ctl.model.identity import LARGEST_PID
from ctl.model.program import Account
from ctl.system.failure import failure
from ctl.system.files.ours import Ours, Refused, Unreadable, read_ours, why_not
from ctl.system.files.places import Place, Unsafe, enter

_LIMIT: Final = 64  # bytes: a number and a newline, with room for blanks


class BarePid(msgspec.Struct, frozen=True):
    """A pid that somebody wrote down, and when (seconds since the epoch; None where nobody knows)."""

    pid: int
    written: float | None


def read_pid_file_of_ctl(path: Path) -> BarePid | None:
    """What a pid file in the run directory says, None where there is none. Raises Refused or Unreadable."""
    found = read_ours(path, _LIMIT, {0})
    return None if found is None else _understood(path, found)


def read_pid_file(path: Path, service: Account | None) -> BarePid | None:
    """What a service's own pid file says, None where there is none; `service` is its user, None for ctl's.

    Never follows a link that others could have made, or waits at a fifo. As root, the file and its directory must be
    root's or the service's. Raises Refused or Unreadable.
    """
    try:
        with enter(path.parent, service) as place:
            found = _read_in(place, path, service)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise why_not(error, path) from None
    return None if found is None else _understood(path, found)


def remove_pid_file(path: Path, service: Account | None, pid: int) -> bool:
    """Remove a service's own pid file that still names the process that was stopped. Returns whether it did.

    Where others than root could have put another file there, it is removed as the user who owns the place. Raises
    CtlError where that fails.
    """
    try:
        with enter(path.parent, service) as place:
            found = _read_in(place, path, service)
            if found is None or _understood(path, found).pid != pid:
                return False
            now = place.stat(path.name)
            if (now.st_dev, now.st_ino) != (found.status.st_dev, found.status.st_ino):
                return False
            place.unlink(path.name)
    except (FileNotFoundError, NotADirectoryError, Unsafe, Refused, Unreadable):
        return False
    except OSError as error:
        raise failure(error, "cannot remove the pid file", where=str(path)) from None
    return True


def _read_in(place: Place, path: Path, service: Account | None) -> Ours | None:
    return read_ours(path, _LIMIT, {0} if service is None else {0, service.uid}, place)


def _understood(path: Path, found: Ours) -> BarePid:
    """Raises Refused."""
    digits = found.content.strip()
    if not digits:
        raise Refused("is empty", where=str(path))
    if not digits.isdigit():
        raise Refused(f"holds {_shown(found.content)}, not one process id", where=str(path))
    pid = int(digits)
    if not 1 < pid <= LARGEST_PID:
        raise Refused(f"holds {_shown(digits)}: no service's process id", where=str(path))
    return BarePid(pid, found.status.st_mtime)


def _shown(text: bytes) -> str:
    return repr(text[:24].decode(errors="backslashreplace")) + ("..." if len(text) > 24 else "")
