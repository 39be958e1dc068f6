"""Directories that other users may change: where root acts in one, it acts as that user, or not at all.

Without root there is nobody to be protected from: there a place is just an open directory. As root the way to it is
walked one directory at a time, each opened by its descriptor, so that nothing is asked twice:

- A symbolic link is followed only where it and every directory before it are root's and nobody else may write there.
- From the first directory that belongs to another user on, ctl acts as that user (see `acting_as`), or as the service's
  user where a directory further on is that one's: the kernel then refuses what that user could not do by itself.
- Where the last one is root's and others may write there (as in /tmp), what is in it is believed by its owner.

openat2(2) could refuse links below a directory, but not a file that was moved or linked there: for that it takes the
user's own eyes. Only regular files are opened: first as a mere place (O_PATH), so that no fifo or device notices.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final, Self

from ctl.model.program import Account
from ctl.system.files.acl import writer_of
from ctl.system.files.acting import acting_as

_STEP: Final = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_READ: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_LINKS: Final = 40  # MAXSYMLINKS, path_resolution(7)


class Unsafe(OSError):
    """ctl does not touch it; `strerror` says why, after its name, and `fix` what to do about it."""

    def __init__(self, number: int, why: str, fix: str | None = None) -> None:
        super().__init__(number, why)
        self.fix = fix


class Place:
    """An open directory. The names of its methods are those of os; none of them follows a link."""

    def __init__(self, path: Path, fd: int, service: Account | None, actor: Account | None, *, is_shared: bool) -> None:
        self.path = path
        self.fd = fd
        self.actor = actor  # as whom root acts; None: as itself
        self.is_shared = is_shared  # root's, and others may write there
        self._service = service

    def open(self, name: str, flags: int, mode: int = 0) -> int:
        """A descriptor. Raises OSError."""
        with acting_as(self.actor):
            return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=self.fd)

    def open_regular(self, name: str, flags: int) -> int:
        """A descriptor of a file that is there, of no other kind. Raises OSError, Unsafe."""
        return self._open_regular(name, flags, self.actor)

    def open_to_read(self, name: str) -> int:
        """A descriptor of a regular file that the service's user, or the directory's, could read too.

        Raises OSError, Unsafe.
        """
        fd = self._open_regular(name, _READ, self.actor or (self._service if self.is_shared else None))
        owner = os.fstat(fd).st_uid
        if self.is_shared and owner not in self.trusted:
            os.close(fd)
            raise Unsafe(errno.EPERM, f"belongs to user {owner}, in a directory that others may write to")
        return fd

    @property
    def trusted(self) -> set[int]:
        """The users whose files may be there."""
        theirs = {account.uid for account in (self.actor, self._service) if account is not None}
        return theirs if self.actor is not None else {0, os.geteuid(), *theirs}

    def stat(self, name: str) -> os.stat_result:
        with acting_as(self.actor):
            return os.stat(name, dir_fd=self.fd, follow_symlinks=False)

    def rename(self, old: str, new: str) -> None:
        with acting_as(self.actor):
            os.rename(old, new, src_dir_fd=self.fd, dst_dir_fd=self.fd)

    def unlink(self, name: str) -> None:
        with acting_as(self.actor or (self._service if self.is_shared else None)):
            os.unlink(name, dir_fd=self.fd)

    def require_room(self) -> None:
        """Raises OSError where no file can be made there. Leaves nothing."""
        with acting_as(self.actor):
            try:
                os.close(os.open(".", os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600, dir_fd=self.fd))
            except OSError as error:
                if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT):  # a file system without O_TMPFILE
                    raise
                if not os.access(".", os.W_OK | os.X_OK, dir_fd=self.fd, effective_ids=True):
                    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES)) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)

    def _open_regular(self, name: str, flags: int, actor: Account | None) -> int:
        with acting_as(actor):
            there = os.open(name, _STEP, dir_fd=self.fd)
            try:
                require_regular(os.fstat(there).st_mode)
                return os.open(f"/proc/self/fd/{there}", flags | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
            finally:
                os.close(there)


def enter(directory: Path, service: Account | None = None, *, make: bool = False) -> Place:
    """The place of a service's files, to be left again; `service` is the service's user, None for ctl's own.

    With `make` what is missing is made, by whom ctl acts as there. Raises OSError, Unsafe.
    """
    if os.geteuid() != 0:
        if make:
            directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        return Place(directory, fd, None, None, is_shared=False)
    way = _Way(service if service is not None and service.uid != 0 else None)
    try:
        way.walk(directory, make=make)
    except BaseException:
        os.close(way.fd)
        raise
    return Place(directory, way.fd, way.service, way.actor, is_shared=way.is_shared)


def open_to_read(path: Path, service: Account | None = None) -> int:
    """A descriptor of a regular file of a service's, which never blocks. Raises OSError, Unsafe."""
    with enter(path.parent, service) as place:
        return place.open_to_read(path.name)


def read_bounded(path: Path, limit: int) -> bytes:
    """The whole of a regular file in a place that only root (or this user) can change. Links are followed.

    Raises OSError, also where it is longer than so many bytes.
    """
    there = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        found = os.fstat(there)
        require_regular(found.st_mode)
        fd = os.open(f"/proc/self/fd/{there}", _READ)
    finally:
        os.close(there)
    with open(fd, "rb") as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise Unsafe(errno.EFBIG, f"has more than {limit} bytes")
    return content


def require_regular(mode: int) -> None:
    """Raises Unsafe for the mode of what is no regular file, and says what it is."""
    if stat.S_ISLNK(mode):
        raise Unsafe(errno.ELOOP, "is a symbolic link")
    if not stat.S_ISREG(mode):
        raise Unsafe(errno.EINVAL, f"is {kind_of(mode)}, not a regular file")


def kind_of(mode: int) -> str:
    """What a file with this mode is, with its article."""
    kinds: tuple[tuple[Callable[[int], bool], str], ...] = (
        (stat.S_ISREG, "a regular file"),
        (stat.S_ISLNK, "a symbolic link"),
        (stat.S_ISDIR, "a directory"),
        (stat.S_ISFIFO, "a fifo"),
        (stat.S_ISSOCK, "a socket"),
    )
    return next((name for is_kind, name in kinds if is_kind(mode)), "a device")


class _Way:
    """The way from the root directory to a place, as far as it has been walked."""

    def __init__(self, service: Account | None) -> None:
        self.service = service
        self.actor: Account | None = None
        self.is_shared = False
        self.fd = os.open("/", _STEP)
        self._is_roots = True  # nobody but root can have made it lead here
        self._links = 0
        self._judge()

    def walk(self, directory: Path, *, make: bool) -> None:
        """Raises OSError, Unsafe."""
        left = _parts(os.path.abspath(directory))
        while left:
            name = left.pop()
            step = self._step(name, make=make)
            mode = os.fstat(step).st_mode
            if stat.S_ISLNK(mode):
                try:
                    left += self._target(name, step)
                finally:
                    os.close(step)
                continue
            os.close(self.fd)
            self.fd = step
            if not stat.S_ISDIR(mode):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            self._judge()

    def _step(self, name: str, *, make: bool) -> int:
        with acting_as(self.actor):
            try:
                return os.open(name, _STEP, dir_fd=self.fd)
            except FileNotFoundError:
                if not make:
                    raise
            with contextlib.suppress(FileExistsError):  # another was quicker
                os.mkdir(name, 0o755, dir_fd=self.fd)
            return os.open(name, _STEP, dir_fd=self.fd)

    def _target(self, name: str, link: int) -> list[str]:
        """What is to be walked instead of the link, the last first."""
        self._links += 1
        if not self._is_roots or os.fstat(link).st_uid != 0:
            raise Unsafe(errno.ELOOP, f"{name} on the way there is a symbolic link that others may have put there")
        if self._links > _LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        target = os.readlink("", dir_fd=link)
        if os.path.isabs(target):
            os.close(self.fd)
            self.fd = os.open("/", _STEP)
            self._judge()
        return _parts(target)

    def _judge(self) -> None:
        """Who may change what is in the directory that was reached."""
        found = os.fstat(self.fd)
        self.is_shared = False
        if found.st_uid != 0:
            self._is_roots = False
            if self.service is not None and found.st_uid == self.service.uid:
                self.actor = self.service
            self.actor = self.actor or _account(found.st_uid)
        elif others_write(found, f"/proc/self/fd/{self.fd}"):
            self.is_shared = True
            # With the sticky bit (inode(7)) what is root's in there is safe, and what is not, is another user's.
            self._is_roots = self._is_roots and bool(found.st_mode & stat.S_ISVTX)


def others_write(found: os.stat_result, path: str) -> bool:
    """Whether others than root may write to what belongs to root. The group root is root alone."""
    if found.st_mode & stat.S_IWOTH or (found.st_mode & stat.S_IWGRP and found.st_gid != 0):
        return True
    # The group bits of a file with an ACL are its mask: without them it lets nobody write.
    return bool(found.st_mode & stat.S_IWGRP) and writer_of(path, "access") is not None


def _parts(path: str) -> list[str]:
    return [part for part in reversed(path.split("/")) if part not in ("", ".")]


def _account(uid: int) -> Account:
    from ctl.system.users import account_of

    return account_of(str(uid), None, "")
