"""What ctl stands on: the kernel, /proc, the control groups, the limits of this user, and what a logout does."""

from __future__ import annotations

import os
import platform
import resource
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from ctl.model.errors import CtlError
from ctl.model.unit import PROPERTIES, SYSTEM, Unit, unit_from
from ctl.system import procfs, systemd, trust
from ctl.system.cgroups import session_of, unit_of
from ctl.system.environment import DEFAULT_PATH, variable
from ctl.system.files.places import read_bounded
from ctl.system.pidfd import boot_id, inodes_are_unique, refusal
from ctl.system.users import account_of
from ctl.system.watch import Watch

_LOGIND = ("org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager")
_ANSWERS_WITHIN = 10.0  # seconds, for a program of the host
_LARGEST_UNIT_FILE = 1 << 16  # bytes


class Premises(NamedTuple):
    """This host, as this user sees it."""

    kernel: str
    python: str
    unique_inodes: bool  # whether two processes that had the same pid can always be told apart
    proc: Mapping[str, str]  # the options with which /proc is mounted
    unified_cgroups: bool
    is_root: bool
    descriptors: int  # the hard limit, -1 for none
    can_watch: bool  # whether an inotify instance is to be had
    identified: bool  # whether boot id and clock can be read
    refused: CtlError | None = None  # what a filter keeps ctl from


class Logins(NamedTuple):
    """What logind does with the processes of a session that ends, logind.conf(5)."""

    kills: bool
    only: tuple[str, ...]
    excluded: tuple[str, ...]

    def kills_those_of(self, user: str) -> bool:
        """Whether a logout of this user ends what the session has left."""
        return self.kills and user not in self.excluded and (not self.only or user in self.only)


class Place(NamedTuple):
    """A directory or file, and what lstat(2) says of it."""

    path: Path
    found: os.stat_result

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.found.st_mode)

    @property
    def owner(self) -> str:
        return trust.user_name(self.found.st_uid)

    @property
    def mode(self) -> str:
        return f"{stat.S_IMODE(self.found.st_mode):04o}"

    @property
    def by_everyone(self) -> bool:
        """Whether everyone may write there, and replace what others have put there."""
        return bool(self.found.st_mode & stat.S_IWOTH) and not self.found.st_mode & stat.S_ISVTX

    @property
    def by_acl(self) -> str | None:
        """That an ACL lets others than root write there, and whom; None where there is no such ACL."""
        return trust.writer_by_acl(self.path, self.found)

    @property
    def by_others(self) -> bool:
        """Whether anyone but its owner may write there."""
        return bool(self.found.st_mode & 0o022)


def premises() -> Premises:
    """Asks nobody but the kernel, and changes nothing."""
    return Premises(
        kernel=platform.release(),
        python=platform.python_version(),
        unique_inodes=inodes_are_unique(),
        proc=procfs.mount_options(),
        unified_cgroups=any(kind == "cgroup2" for _, kind, _ in procfs.mounts()),
        is_root=os.geteuid() == 0,
        descriptors=resource.getrlimit(resource.RLIMIT_NOFILE)[1],
        can_watch=_can_watch(),
        identified=_is_identified(),
        refused=refusal(),
    )


def place_of(path: Path) -> Place | None:
    """What is there, None where that is nothing, or cannot be seen."""
    try:
        return Place(path, path.stat())
    except OSError:
        return None


class CgroupPlace(NamedTuple):
    """Where a process is among the control groups of systemd."""

    unit: str | None  # the innermost service
    of_user: bool  # whether that is one of a user's own manager
    is_own: bool  # and that this user's, or one of the host's
    session: str | None  # else the login session
    owner: str  # of the process


def place_in_cgroups(pid: int) -> CgroupPlace:
    """Nowhere, for a process that has ended."""
    try:
        unit, session, owner = unit_of(pid), session_of(pid), trust.user_name(procfs.read_owner(pid))
    except procfs.Gone:
        return CgroupPlace(None, False, False, None, "?")
    if unit is None:
        return CgroupPlace(None, False, False, session, owner)
    return CgroupPlace(unit.name, unit.user is not None, unit.user in (None, os.geteuid()), None, owner)


def is_writable(path: Path) -> bool:
    """Whether this user may make files in the directory."""
    return os.access(path, os.W_OK | os.X_OK)


def may_write(path: Path, user: str) -> bool:
    """Whether that user, who is not root, may make files there, or make the directory; True where that is unknown."""
    there = next((place for place in (path, *path.parents) if not is_missing(place)), path)
    try:
        found, account = there.stat(), account_of(user, None, "")
    except (OSError, CtlError):
        return True
    if account.uid == found.st_uid:
        return bool(found.st_mode & stat.S_IWUSR)
    return bool(found.st_mode & (stat.S_IWGRP if found.st_gid in account.groups else stat.S_IWOTH))


def is_missing(path: Path) -> bool:
    """Whether there is nothing, and not only nothing that this user may see."""
    try:
        path.lstat()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return False


def user() -> str:
    """The name of the user who asks."""
    return trust.user_name(os.geteuid())


def logins() -> Logins | None:
    """None where there is no logind, or it does not answer."""
    names = ("KillUserProcesses", "KillOnlyUsers", "KillExcludeUsers")
    answer = _ask("busctl", "--json=short", "get-property", *_LOGIND, *names)
    try:
        kills, only, excluded = (msgspec.json.decode(line, type=_Property).data for line in (answer or "").splitlines())
    except (ValueError, msgspec.DecodeError):
        return None
    return Logins(kills is True, _words(only), _words(excluded))


class _Property(msgspec.Struct):
    """What busctl(1) shows of one."""

    data: bool | list[str]


def _words(data: bool | list[str]) -> tuple[str, ...]:
    return tuple(data) if isinstance(data, list) else ()


def systemd_version() -> str | None:
    """None where systemd does not answer."""
    answer = _systemctl("show", "--property=Version", "--value")
    return answer.strip() or None if answer else None


def has_own_manager() -> bool:
    """Whether this user, who is not root, has a systemd of their own, user@.service(5)."""
    runtime = variable("XDG_RUNTIME_DIR")
    return os.geteuid() != 0 and runtime is not None and os.path.exists(f"{runtime}/systemd/private")


def lingers() -> bool:
    """Whether this user's own systemd outlives their last logout, loginctl(1)."""
    return os.path.exists(f"/var/lib/systemd/linger/{user()}")


def units(names: list[str], *, of_user: bool = False) -> list[Unit] | None:
    """These units, each once, under their own names. None where systemd does not answer.

    `of_user`: those of this user's own manager.
    """
    if not names:
        return []
    answer = _systemctl(*systemd.show_arguments(names, PROPERTIES), of_user=of_user)
    shown = systemd.parse_shown(names, answer)
    if shown is None:
        return None
    directory = os.path.expanduser("~/.config/systemd/user") if of_user else SYSTEM
    found = [unit_from(name, properties, directory) for name, properties in shown.items()]
    return list({unit.name: unit for unit in found}.values())


def unit_names(*, of_user: bool = False) -> list[str] | None:
    """Every service unit that systemd knows or could load, templates left out. None where it does not answer."""
    shown = ("--type=service", "--plain", "--no-legend")
    files = _systemctl("list-unit-files", *shown, of_user=of_user)
    loaded = _systemctl("list-units", "--all", *shown, of_user=of_user)
    if files is None or loaded is None:
        return None
    names = {line.split()[0] for line in [*files.splitlines(), *loaded.splitlines()] if line.strip()}
    return sorted(name for name in names if "@." not in name)


def templates_that_mention(word: str, *, of_user: bool = False) -> list[str]:
    """The templates of units in whose file the word stands: systemd tells nothing of a template itself."""
    path = _systemctl("show", "--property=UnitPath", "--value", of_user=of_user)
    found: set[str] = set()
    for directory in (path or "").split():
        for file in _files(directory):
            if file.name.endswith("@.service") and _mentions(file, word):
                found.add(file.name)
    return sorted(found)


def _systemctl(*arguments: str, of_user: bool = False) -> str | None:
    return _ask("systemctl", *(["--user"] if of_user else []), *arguments)


def _ask(program: str, *arguments: str) -> str | None:
    """What the program prints; None where it fails, is not there, or does not answer in time."""
    # sh runs Python between fork and exec, which may deadlock where other threads run: it is used where ctl has one
    # thread and no service waits, and never for a service, a hook, a probe or in a stop.
    import sh

    try:
        command = sh.Command(program, DEFAULT_PATH.split(":"))
        with open(os.devnull, "rb") as nothing:
            return command(
                *arguments, _env=systemd.environment(), _in=nothing, _err=os.devnull, _tty_out=False,
                _timeout=_ANSWERS_WITHIN,
            )  # fmt: skip
    except (sh.CommandNotFound, sh.ErrorReturnCode, sh.TimeoutException, OSError):
        return None


def _files(directory: str) -> list[Path]:
    try:
        return list(Path(directory).iterdir())
    except OSError:
        return []


def _mentions(file: Path, word: str) -> bool:
    try:
        return word.encode() in read_bounded(file, _LARGEST_UNIT_FILE)
    except OSError:
        return False


def _can_watch() -> bool:
    try:
        Watch().close()
    except OSError:
        return False
    return True


def _is_identified() -> bool:
    try:
        return bool(boot_id()) and procfs.ticks_now() > 0
    except OSError:
        return False
