"""Whether others could have written what root is about to believe or run."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from ctl.model.errors import CtlError


def require_trusted(path: Path) -> None:
    """As root: refuse `path` when another user may write to it, or to any directory above it.

    Raises CtlError (bad_config) that names path, owner, mode and the mend. A directory with the sticky bit protects
    the entries of others (inode(7)). Without root there is nobody to protect from: nothing is checked.
    """
    if os.geteuid() != 0:
        return
    real = Path(os.path.realpath(path))
    for place in (real, *real.parents):
        try:
            found = place.stat()
        except FileNotFoundError:
            continue  # not made yet; who may make it is decided by the directory above
        fault = _fault(found, is_parent=place != real)
        if fault is not None:
            raise CtlError(
                "bad_config",
                f"{place} {fault} (owner {user_name(found.st_uid)}, mode {stat.S_IMODE(found.st_mode):04o}): "
                f"mend it with: {mend(place, found)}",
                where=None if place == path else str(path),
            )


def mend(place: Path, found: os.stat_result) -> str:
    """The commands that make only root able to write there."""
    chown = f"chown root:root '{place}'" if found.st_uid != 0 or (found.st_gid != 0 and _group_writes(found)) else ""
    chmod = f"chmod go-w '{place}'" if found.st_mode & 0o022 else ""
    return " && ".join(command for command in (chown, chmod) if command)


def user_name(uid: int) -> str:
    """The login name of `uid`, or its number where it has none."""
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _fault(found: os.stat_result, *, is_parent: bool) -> str | None:
    if found.st_uid != 0:
        return "belongs to another user, and this is root"
    if is_parent and found.st_mode & stat.S_ISVTX:
        return None
    if found.st_mode & stat.S_IWOTH:
        return "can be written by everyone"
    return "can be written by its group" if _group_writes(found) else None


def _group_writes(found: os.stat_result) -> bool:
    return bool(found.st_mode & stat.S_IWGRP) and found.st_gid != 0
