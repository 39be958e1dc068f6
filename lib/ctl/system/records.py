"""Pid files and records: read with suspicion, written whole or not at all, removed only by whom they name."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from ctl.model.errors import CtlError, Message
from ctl.model.identity import LARGEST_PID, Identity, same_process
from ctl.model.pause import Pause
from ctl.model.record import Record
from ctl.system.decoding import decode
from ctl.system.failure import AS_ROOT, failure
from ctl.system.interrupts import Patience
from ctl.system.lock import locked
from ctl.system.trust import user_name
from ctl.system.turns import Hurry, let_others

T = TypeVar("T")
_PID_FILE_LIMIT: Final = 64  # bytes: a number and a newline, with room for blanks
_RECORD_LIMIT: Final = 16384
_BRIEF: Final = 2.0  # seconds; records are only ever held for the moment of a rename


class Refused(Message):
    """The file says nothing that may be believed; `what` says why, after its name."""


class Unreadable(Message):
    """The file is there, and we may not read it; `what` says so, after its name."""


class BarePid(msgspec.Struct, frozen=True):
    """A pid that somebody wrote down, and when (seconds since the epoch; None where nobody knows)."""

    pid: int
    written: float | None


class Records:
    """The files of all targets in one run directory."""

    def __init__(self, run_dir: Path, run_source: str, patience: Patience) -> None:
        self.run_dir = run_dir
        self._run_source = run_source
        self._patience = patience

    def record_file(self, target: str) -> Path:
        return self.run_dir / f"{target}.json"

    def pid_file(self, target: str) -> Path:
        return self.run_dir / f"{target}.pid"

    def lock_file(self, target: str) -> Path:
        return self.run_dir / f"{target}.lock"

    def names(self) -> set[str]:
        """Every target of which a record or pid file is there, whatever it says."""
        try:
            files = list(self.run_dir.iterdir())
        except OSError:
            return set()
        return {file.stem for file in files if file.suffix in (".json", ".pid") and not file.name.startswith(".")}

    def pause_file(self, target: str) -> Path:
        return self.run_dir / f"{target}.paused"

    def read_pause(self, target: str) -> Pause | None:
        """The pause that is on record, None where there is none, or none that is believable."""
        try:
            content = _read(self.pause_file(target), _RECORD_LIMIT, {0, os.geteuid()})
            pause = decode(content[0], Pause) if content is not None else None
        except (Refused, Unreadable, msgspec.DecodeError, UnicodeDecodeError):
            return None
        return pause if pause is not None and pause.target == target else None

    def write_pause(self, pause: Pause) -> None:
        """Raises CtlError."""
        try:
            _replace(self.pause_file(pause.target), msgspec.json.encode(pause) + b"\n")
        except OSError as error:
            what = "cannot write down that it is paused"
            raise failure(error, what, where=str(self.pause_file(pause.target)), target=pause.target) from None

    def remove_pause(self, target: str) -> bool:
        """Returns whether there was one. Raises CtlError."""
        if not os.path.lexists(self.pause_file(target)):
            return False  # asked first: of a read-only file system unlink(2) says so before it looks for the file
        try:
            self.pause_file(target).unlink(missing_ok=True)
        except OSError as error:
            what = "cannot remove what says that it is paused"
            raise failure(error, what, where=str(self.pause_file(target)), target=target) from None
        return True

    def prepare(self) -> None:
        """Make the run directory. Raises CtlError."""
        try:
            self.run_dir.mkdir(mode=0o755, parents=True, exist_ok=True)
        except OSError as error:
            what = f"cannot make the run directory {self.run_dir}"
            raise failure(error, what, where=f"set by {self._run_source}") from None

    def read(self, target: str) -> Record | None:
        """The record, None where there is none. Raises Refused or Unreadable."""
        content = _read(self.record_file(target), _RECORD_LIMIT, {0, os.geteuid()})
        if content is None:
            return None
        try:
            record = decode(content[0], Record)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Refused(f"is no record: {error}", where=str(self.record_file(target))) from None
        if record.target != target:
            raise Refused(f"is the record of {record.target!r}", where=str(self.record_file(target)))
        return record

    def read_pid(self, target: str) -> BarePid | None:
        """What RUN_DIR/TARGET.pid says, None where there is none. Raises Refused or Unreadable."""
        return read_pid_file(self.pid_file(target), None)

    def write(self, record: Record) -> None:
        """Write record and pid file, each whole, so that whatever is read is true. Raises CtlError."""
        try:
            with self._guarded(record.target):
                self._write(record)
        except OSError as error:
            raise self._not_written(error, record.target) from None

    def update(self, record: Record) -> bool:
        """Write the record in the place of an earlier one of the same run. Returns False where that is gone.

        Raises CtlError.
        """
        try:
            with self._guarded(record.target):
                earlier = _or_none(lambda: self.read(record.target))
                if earlier is None or earlier.run_id != record.run_id:
                    return False
                self._write(record, pid_changed=earlier.identity.pid != record.identity.pid)
                return True
        except OSError as error:
            raise self._not_written(error, record.target) from None

    def restore_pid(self, record: Record) -> None:
        """Write the pid file again where it is missing beside its record: systemd removes the PIDFile= of a unit that
        has ended, although the service may have been started anew by then. Raises CtlError.
        """
        if record.identity.pid == 1 or os.path.lexists(self.pid_file(record.target)):
            return
        try:
            with self._guarded(record.target):
                if _or_none(lambda: self.read(record.target)) == record:
                    _replace(self.pid_file(record.target), b"%d\n" % record.identity.pid)
        except OSError as error:
            raise self._not_written(error, record.target) from None

    def _write(self, record: Record, *, pid_changed: bool = True) -> None:
        # The record last: a pid file without its record is judged by itself, but not one beside another record.
        # Pid 1, a container's first process, is in no pid file that anyone would believe.
        if pid_changed and record.identity.pid > 1:
            _replace(self.pid_file(record.target), b"%d\n" % record.identity.pid)
        _replace(self.record_file(record.target), msgspec.json.encode(record) + b"\n")

    def _not_written(self, error: OSError, target: str) -> CtlError:
        where = f"{self.run_dir}, {error.filename2 or error.filename or 'record'}"
        return failure(error, "cannot write the record of the service", where=where, target=target)

    def remove(self, target: str, identity: Identity) -> bool:
        """Remove record and pid file if they (still) name this process. Returns whether something was removed.

        Raises CtlError where that fails.
        """
        return self._remove(target, lambda record: same_process(record.identity, identity), identity.pid)

    def remove_stale_pid(self, target: str, pid: int) -> bool:
        """Remove a pid file without a record that (still) holds this pid. Returns whether it was removed.

        Raises CtlError where that fails.
        """
        return self._remove(target, lambda _: False, pid)

    def _remove(self, target: str, is_meant: Callable[[Record], bool], pid: int) -> bool:
        try:
            with self._guarded(target):
                record = _or_none(lambda: self.read(target))
                bare = _or_none(lambda: self.read_pid(target))
                if record is not None and not is_meant(record):
                    return False
                paths = [self.pid_file(target)] if bare is not None and bare.pid == pid else []
                paths += [self.record_file(target)] if record is not None else []
                for path in paths:
                    path.unlink(missing_ok=True)
                return bool(paths)
        except OSError as error:
            raise failure(error, "cannot remove the record", where=str(error.filename), target=target) from None

    def _guarded(self, target: str) -> AbstractContextManager[bool]:
        """Kill waits for no target's lock, so compare-and-remove needs one of its own against start's write."""
        return locked(self.run_dir / f".{target}.lock", "records", _BRIEF, self._patience)


def read_pid_file(path: Path, owner: int | None) -> BarePid | None:
    """What a pid file says, None where there is none.

    Never follows a link or waits at a fifo. As root, the file and its directory must be root's or `owner`'s.
    Raises Refused or Unreadable.
    """
    content = _read(path, _PID_FILE_LIMIT, {0} if owner is None else {0, owner})
    if content is None:
        return None
    text, written = content
    digits = text.strip()
    if not digits:
        raise Refused("is empty", where=str(path))
    if not digits.isdigit():
        raise Refused(f"holds {_shown(text)}, not one process id", where=str(path))
    pid = int(digits)
    if not 1 < pid <= LARGEST_PID:
        raise Refused(f"holds {_shown(digits)}: no service's process id", where=str(path))
    return BarePid(pid, written)


def remove_pid_file(path: Path, owner: int, pid: int) -> bool:
    """Remove a service's own pid file that still names the process that was stopped. Returns whether it did.

    Raises CtlError where that fails.
    """
    bare = _or_none(lambda: read_pid_file(path, owner))
    if bare is None or bare.pid != pid:
        return False
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise failure(error, "cannot remove the pid file", where=str(path)) from None
    return True


def _or_none(read: Callable[[], T | None]) -> T | None:
    """What says nothing believable names nothing."""
    try:
        return read()
    except (Refused, Unreadable):
        return None


def _shown(text: bytes) -> str:
    return repr(text[:24].decode(errors="backslashreplace")) + ("..." if len(text) > 24 else "")


def _read(path: Path, limit: int, owners: set[int]) -> tuple[bytes, float] | None:
    """Content and time of modification of a regular, bounded file that only the right people could have written."""
    where = str(path)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY)
    except FileNotFoundError:
        return None
    except PermissionError:
        raise Unreadable("may not be read", where=where, fix=AS_ROOT) from None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise Refused("is a symbolic link", where=where) from None
        if error.errno == errno.ENXIO:
            raise Refused("is a socket or a device", where=where) from None
        raise Refused(f"cannot be read: {error.strerror}", where=where) from None
    try:
        found = os.fstat(fd)
        require_ours(path, found, limit, owners)
        return os.read(fd, limit + 1), found.st_mtime
    finally:
        os.close(fd)


def require_ours(path: Path, found: os.stat_result, limit: int | None, owners: set[int]) -> None:
    """Refuse what is no regular file of at most `limit` bytes, or what others may have put there. Raises Refused."""
    where = str(path)
    if not stat.S_ISREG(found.st_mode):
        raise Refused(f"is {_kind(found.st_mode)}, not a regular file", where=where)
    if limit is not None and found.st_size > limit:
        raise Refused(f"is {found.st_size} bytes long; a file of this kind has at most {limit}", where=where)
    if found.st_mode & stat.S_IWOTH:
        what = f"can be written by everyone (mode {stat.S_IMODE(found.st_mode):04o})"
        raise Refused(what, where=where, fix=f"chmod o-w '{path}'")
    above = path.parent.stat()
    if above.st_mode & stat.S_IWOTH and not above.st_mode & stat.S_ISVTX:
        what = "lies in a directory that everyone can write to"
        raise Refused(what, where=where, fix=f"chmod o-w '{path.parent}'")
    if os.geteuid() == 0:
        for place, uid in ((path, found.st_uid), (path.parent, above.st_uid)):
            if uid not in owners:
                allowed = " or ".join(sorted(user_name(owner) for owner in owners))
                what = f"is not to be trusted: {place} belongs to {user_name(uid)}, not to {allowed}"
                raise Refused(what, where=where)


def _kind(mode: int) -> str:
    kinds: tuple[tuple[Callable[[int], bool], str], ...] = (
        (stat.S_ISDIR, "a directory"),
        (stat.S_ISFIFO, "a fifo"),
        (stat.S_ISSOCK, "a socket"),
    )
    return next((name for is_kind, name in kinds if is_kind(mode)), "a device")


def _replace(path: Path, content: bytes) -> None:
    """Write the file whole: a temporary one, fsync, rename (rename(2) is atomic)."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        try:
            os.fchmod(fd, 0o644)  # whatever the umask: other users' status reads it, only we write it
            view = memoryview(content)
            while view:
                view = view[os.write(fd, view) :]
            with let_others(Hurry.GREAT):
                os.fsync(fd)
        finally:
            os.close(fd)
        os.rename(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
