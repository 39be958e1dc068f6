"""Whether others could have written what root is about to believe or run."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from ctl.model.errors import CtlError
from ctl.system.files.acl import writer_of

_LINKS = 40  # MAXSYMLINKS; who meets more gets ELOOP from the kernel anyway


class Untrusted(CtlError):
    """Others could have written what is there."""


def require_trusted(path: Path) -> None:
    """As root: refuse `path` when another user may write to it, or to any directory above it.

    Raises Untrusted (bad_config) that names path, owner, mode and the fix. A directory with the sticky bit protects
    the entries of others (inode(7)). Without root there is nobody to protect from: nothing is checked.
    """
    if os.geteuid() != 0:
        return
    *above, last = _met_on_the_way(path)
    for place in (*above, last):
        try:
            found = place.lstat()
        except (FileNotFoundError, NotADirectoryError):
            continue  # not made yet; who may make it is decided by the directory above
        fault = _fault(place, found, is_parent=place != last)
        if fault is not None:
            raise Untrusted(
                "bad_config",
                f"{place} {fault} (owner {user_name(found.st_uid)}, mode {stat.S_IMODE(found.st_mode):04o})",
                where=None if place == path else str(path),
                fix=fix_of(place, found),
            )


def _met_on_the_way(path: Path) -> list[Path]:
    """Every directory and link that decides what `path` is, in the order in which they are met, and that itself."""
    left = list(reversed(Path(os.path.abspath(path)).parts[1:]))
    here = Path("/")
    met = [here]
    links = 0
    while left:
        name = left.pop()
        if name == "..":
            here = here.parent
            continue
        place = here / name
        met.append(place)
        if place.is_symlink() and links < _LINKS:
            links += 1
            target = place.readlink()
            here = Path("/") if target.is_absolute() else here
            left += reversed([part for part in target.parts if part != "/"])
        else:
            here = place
    return met


def fix_of(place: Path, found: os.stat_result) -> str:
    """The commands that make only root able to write there."""
    if stat.S_ISLNK(found.st_mode):
        return f"chown -h root:root '{place}'"
    chown = f"chown root:root '{place}'" if found.st_uid != 0 or (found.st_gid != 0 and _group_writes(found)) else ""
    acl = f"setfacl -b '{place}'" if writer_by_acl(place, found) else ""
    chmod = f"chmod go-w '{place}'" if found.st_mode & 0o022 else ""
    return " && ".join(command for command in (chown, acl, chmod) if command)


def writer_by_acl(place: Path, found: os.stat_result) -> str | None:
    """Whom an ACL lets write there, or to whatever is made in a directory; None where it lets only root.

    The group bits of a file with an ACL are its mask, acl(5): without them it lets nobody write, and is not looked at.
    """
    if stat.S_ISLNK(found.st_mode):
        return None  # it has none
    if found.st_mode & stat.S_IWGRP and (writer := writer_of(str(place), "access")):
        return f"can be written by {writer} (its ACL)"
    if stat.S_ISDIR(found.st_mode) and (writer := writer_of(str(place), "default")):
        return f"lets {writer} write what is made in it (its default ACL)"
    return None


def user_name(uid: int) -> str:
    """The login name of `uid`, or its number where it has none."""
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _fault(place: Path, found: os.stat_result, *, is_parent: bool) -> str | None:
    if found.st_uid != 0:
        return "belongs to another user, and this is root"
    if stat.S_ISLNK(found.st_mode):
        return None  # a link has no mode of its own, and only its owner or that of its directory can turn it
    if is_parent and found.st_mode & stat.S_ISVTX:
        return None
    if found.st_mode & stat.S_IWOTH:
        return "can be written by everyone"
    if _group_writes(found):
        return "can be written by its group"
    # What a directory gives to what is made in it, is of no account for what is there.
    return None if is_parent and not found.st_mode & stat.S_IWGRP else writer_by_acl(place, found)


def _group_writes(found: os.stat_result) -> bool:
    return bool(found.st_mode & stat.S_IWGRP) and found.st_gid != 0
