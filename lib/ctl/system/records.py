"""Records and pid files: read with suspicion, written whole or not at all, removed only by whom they name."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from ctl.model.errors import CtlError
from ctl.model.identity import Identity, same_process
from ctl.model.pause import Pause
from ctl.model.record import Record
from ctl.system.decoding import decode
from ctl.system.failure import failure
from ctl.system.files.ours import Refused, Unreadable, read_ours
from ctl.system.interrupts import Patience
from ctl.system.lock import locked
from ctl.system.pid_files import BarePid, read_pid_file_of_ctl
from ctl.system.turns import Hurry, let_others

T = TypeVar("T")
_RECORD_LIMIT: Final = 16384
_BRIEF: Final = 2.0  # seconds; records are only ever held for the moment of a rename


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
            found = read_ours(self.pause_file(target), _RECORD_LIMIT, {0, os.geteuid()})
            pause = decode(found.content, Pause) if found is not None else None
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
        found = read_ours(self.record_file(target), _RECORD_LIMIT, {0, os.geteuid()})
        if found is None:
            return None
        try:
            record = decode(found.content, Record)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Refused(f"is no record: {error}", where=str(self.record_file(target))) from None
        if record.target != target:
            raise Refused(f"is the record of {record.target!r}", where=str(self.record_file(target)))
        return record

    def read_pid(self, target: str) -> BarePid | None:
        """What RUN_DIR/TARGET.pid says, None where there is none. Raises Refused or Unreadable."""
        return read_pid_file_of_ctl(self.pid_file(target))

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


def _or_none(read: Callable[[], T | None]) -> T | None:
    """What says nothing believable names nothing."""
    try:
        return read()
    except (Refused, Unreadable):
        return None


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
