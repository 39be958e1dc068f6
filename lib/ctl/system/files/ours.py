"""Small files that say which process is meant, read with suspicion: only the right people could have written them."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import msgspec

from ctl.model.errors import Message
from ctl.system.failure import AS_ROOT
from ctl.system.files.acl import writer_of
from ctl.system.files.places import Place, Unsafe, kind_of, others_write
from ctl.system.trust import user_name


class Refused(Message):
    """The file says nothing that may be believed; `what` says why, after its name."""


class Unreadable(Message):
    """The file is there, and we may not read it; `what` says so, after its name."""


class Ours(msgspec.Struct, frozen=True):
    """What was read, and of which file."""

    content: bytes
    status: os.stat_result


def read_ours(path: Path, limit: int, owners: set[int], place: Place | None = None) -> Ours | None:
    """A regular, bounded file that only these users, or root, could have written; None where there is none.

    `place` is its directory where others than root may change that. Raises Refused, Unreadable.
    """
    try:
        if place is not None:
            fd = place.open_to_read(path.name)
        else:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise why_not(error, path) from None
    try:
        found = os.fstat(fd)
        require_ours(path, found, os.fstat(place.fd) if place is not None else path.parent.stat(), limit, owners)
        return Ours(os.read(fd, limit + 1), found)
    finally:
        os.close(fd)


def require_ours(path: Path, found: os.stat_result, above: os.stat_result, limit: int | None, owners: set[int]) -> None:
    """Refuse what is no regular file of at most `limit` bytes, or what others may have put there. Raises Refused.

    `above` is its directory.
    """
    where = str(path)
    if not stat.S_ISREG(found.st_mode):
        raise Refused(f"is {kind_of(found.st_mode)}, not a regular file", where=where)
    if limit is not None and found.st_size > limit:
        raise Refused(f"is {found.st_size} bytes long; a file of this kind has at most {limit}", where=where)
    if found.st_mode & stat.S_IWOTH:
        what = f"can be written by everyone (mode {stat.S_IMODE(found.st_mode):04o})"
        raise Refused(what, where=where, fix=f"chmod o-w '{path}'")
    if above.st_mode & stat.S_IWOTH and not above.st_mode & stat.S_ISVTX:
        what = "lies in a directory that everyone can write to"
        raise Refused(what, where=where, fix=f"chmod o-w '{path.parent}'")
    if os.geteuid() == 0:
        for place, status in ((path, found), (path.parent, above)):
            _require_owner(path, place, status, owners)


def only_by(path: Path, owners: set[int]) -> bool:
    """Whether it is a regular file that only these users can have written or put there, by whatever way leads there.

    That a directory above is everyone's is all right where it has the sticky bit, inode(7); for its own it is not.
    """
    directory = Path(os.path.realpath(path.parent))
    try:
        file = path.lstat()
        if not stat.S_ISREG(file.st_mode) or file.st_uid not in owners or others_write(file, str(path)):
            return False
        for place in (directory, *directory.parents):
            found = place.stat()
            is_safe = place != directory and found.st_mode & stat.S_ISVTX
            if found.st_uid not in owners or (not is_safe and others_write(found, str(place))):
                return False
    except OSError:
        return False
    return True


def why_not(error: OSError, path: Path) -> Refused | Unreadable:
    """What it means that the file cannot be opened."""
    where = str(path)
    if isinstance(error, PermissionError):
        if os.geteuid() == 0:  # which then acts as another user
            return Refused("may not be read by the owner of its directory", where=where)
        return Unreadable("may not be read", where=where, fix=AS_ROOT)
    if isinstance(error, Unsafe):
        return Refused(error.strerror or "", where=where)
    if error.errno == errno.ELOOP:
        return Refused("is a symbolic link", where=where)
    if error.errno == errno.ENXIO:  # open(2)
        return Refused("is a socket, not a regular file", where=where)
    return Refused(f"cannot be read: {error.strerror}", where=where)


def _require_owner(path: Path, place: Path, found: os.stat_result, owners: set[int]) -> None:
    if found.st_uid not in owners:
        allowed = " or ".join(sorted(user_name(owner) for owner in owners))
        what = f"is not to be trusted: {place} belongs to {user_name(found.st_uid)}, not to {allowed}"
        raise Refused(what, where=str(path))
    writer = writer_of(str(place), "access", frozenset(owners)) if found.st_mode & stat.S_IWGRP else None
    if writer is not None:
        what = f"is not to be trusted: {place} can be written by {writer} (its ACL)"
        raise Refused(what, where=str(path), fix=f"setfacl -b '{place}'")
