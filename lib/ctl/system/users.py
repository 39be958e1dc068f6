"""Users and groups, by name or number."""

from __future__ import annotations

import grp
import os
import pwd
from typing import Final

from ctl.model.errors import CtlError
from ctl.model.program import Account

NO_USER: Final = 2**32 - 1  # (uid_t) -1, which no process has, setresuid(2)


def uid_of(user: str, where: str) -> int:
    """The user's id. Raises CtlError (bad_config)."""
    if _is_id(user):
        return int(user)
    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError:
        raise CtlError("bad_config", f"there is no user {user!r} on this host", where=where) from None


def account_of(user: str, group: str | None, where: str) -> Account:
    """The user with the group (by default their own) and all supplementary groups. Raises CtlError (bad_config)."""
    uid = uid_of(user, where)
    try:
        known = pwd.getpwuid(uid) if _is_id(user) else pwd.getpwnam(user)
        name, primary, home, shell = known.pw_name, known.pw_gid, known.pw_dir, known.pw_shell
    except KeyError:
        name, primary, home, shell = user, uid, "/", "/bin/sh"
    gid = primary if group is None else gid_of(group, where)
    return Account(uid, gid, tuple(sorted({gid, *os.getgrouplist(name, gid)})), name, home, shell)


def gid_of(group: str, where: str) -> int:
    """The group's id. Raises CtlError (bad_config)."""
    if _is_id(group):
        return int(group)
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise CtlError("bad_config", f"there is no group {group!r} on this host", where=where) from None


def _is_id(text: str) -> bool:
    """Whether it is a number that can be a user or group: (uid_t) -1 means "no change" to the kernel, setresuid(2)."""
    return text.isascii() and text.isdigit() and len(text) <= 10 and int(text) < NO_USER
