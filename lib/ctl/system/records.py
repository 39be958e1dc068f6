"""State files and pid files: read with suspicion, written whole or not at all, changed only for whom they name."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from ctl.model.errors import CtlError
from ctl.model.identity import Identity, same_process
from ctl.model.pause import Pause
from ctl.model.record import Record, RecordOfSchema1
from ctl.model.state import End, State, Wanted
from ctl.system.decoding import decode
from ctl.system.failure import failure
from ctl.system.files.ours import Refused, Unreadable, read_ours
from ctl.system.interrupts import Patience
from ctl.system.lock import locked
from ctl.system.pid_files import BarePid, read_pid_file_of_ctl
from ctl.system.turns import Hurry, let_others

T = TypeVar("T")
_RECORD_LIMIT: Final = 65536
_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT)
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

    def read_state(self, target: str) -> State | None:
        """All that is known of the target, None where there is nothing. Raises Refused or Unreadable."""
        found = read_ours(self.record_file(target), _RECORD_LIMIT, {0, os.geteuid()})
        if found is None:
            return None
        try:
            state = _state(found.content)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Refused(f"is no record: {error}", where=str(self.record_file(target))) from None
        for its in (state.target, *(run.target for run in state.runs)):
            if its != target:
                raise Refused(f"is the record of {its!r}", where=str(self.record_file(target)))
        return state

    def read(self, target: str) -> Record | None:
        """The run that is on record, None where there is none. Raises Refused or Unreadable."""
        state = self.read_state(target)
        return None if state is None else state.run

    def read_pid(self, target: str) -> BarePid | None:
        """What RUN_DIR/TARGET.pid says, None where there is none. Raises Refused or Unreadable."""
        return read_pid_file_of_ctl(self.pid_file(target))

    def write(self, record: Record, older: Sequence[Record] = ()) -> None:
        """Write down a run that begins, in the place of any other, and pid file. Raises CtlError.

        Each is written whole, so that whatever is read is true.
        """
        try:
            with self._guarded(record.target):
                self._write(msgspec.structs.replace(self._known(record.target), run=record, older=tuple(older)))
        except OSError as error:
            raise self._not_written(error, record.target) from None

    def update(self, record: Record) -> bool:
        """Write down what has become of the run. Returns False where that is not on record any more.

        Raises CtlError.
        """
        try:
            with self._guarded(record.target):
                state = self._known(record.target)
                if state.run is None or state.run.run_id != record.run_id:
                    return False
                pid_changed = state.run.identity.pid != record.identity.pid
                self._write(msgspec.structs.replace(state, run=record), pid_changed=pid_changed)
                return True
        except OSError as error:
            raise self._not_written(error, record.target) from None

    def want(self, target: str, wanted: Wanted) -> bool:
        """Write down what is wanted of the target. Returns whether that is something else than before.

        It is not waited for the disk: what is wanted is not remembered over a reboot. Raises CtlError.
        """
        try:
            with self._guarded(target):
                state = self._known(target)
                known = state.wanted_since(wanted.boot_id)
                if known is not None and known.state == wanted.state:
                    return False
                self._replace_state(msgspec.structs.replace(state, wanted=wanted), to_disk=False)
                return True
        except OSError as error:
            raise self._not_written(error, target) from None

    def _known(self, target: str) -> State:
        return _or_none(lambda: self.read_state(target)) or State(target=target)

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

    def _write(self, state: State, *, pid_changed: bool = True) -> None:
        # The record last: a pid file without its record is judged by itself, but not one beside another record.
        # Pid 1, a container's first process, is in no pid file that anyone would believe.
        if pid_changed and state.run is not None and state.run.identity.pid > 1:
            _replace(self.pid_file(state.target), b"%d\n" % state.run.identity.pid)
        self._replace_state(state)

    def _replace_state(self, state: State, *, to_disk: bool = True) -> None:
        _replace(self.record_file(state.target), msgspec.json.encode(state) + b"\n", to_disk=to_disk)

    def _not_written(self, error: OSError, target: str) -> CtlError:
        where = f"{self.run_dir}, {error.filename2 or error.filename or 'record'}"
        return failure(error, "cannot write the record of the service", where=where, target=target)

    def remove(
        self,
        target: str,
        identity: Identity,
        end: End | None = None,
        older: Sequence[Record] | None = None,
        wanted: Wanted | None = None,
    ) -> bool:
        """The run of this main process is over: remove it and the pid file, if they (still) name that.

        `end` is how it ended, `older` are the runs of which something is left, and `wanted` is what was asked for, if
        that could not be written before. Returns whether something was changed. Raises CtlError where that fails.
        """

        def without(state: State) -> State | None:
            if state.run is None or not same_process(state.run.identity, identity):
                return None
            kept = state.older if older is None else tuple(older)
            return msgspec.structs.replace(
                state, run=None, older=kept, last_end=end or state.last_end, wanted=wanted or state.wanted
            )

        return self._remove(target, without, identity.pid)

    def remove_stale_pid(self, target: str, pid: int) -> bool:
        """Remove a pid file without a run that (still) holds this pid. Returns whether it was removed.

        Raises CtlError where that fails.
        """
        return self._remove(target, lambda _: None, pid)

    def keep_older(self, target: str, older: Sequence[Record]) -> bool:
        """Write down of which runs something is left. Returns whether they were others before. Raises CtlError."""
        try:
            with self._guarded(target):
                state = self._known(target)
                if state.older == tuple(older):
                    return False
                self._replace_state(msgspec.structs.replace(state, older=tuple(older)))
                return True
        except OSError as error:
            raise self._not_written(error, target) from None

    def files_of(self, target: str, *, with_locks: bool = True) -> list[Path]:
        """The files that there are of it: state, pid and pause, and the locks last."""
        files = (self.record_file(target), self.pid_file(target), self.pause_file(target))
        locks = (self.lock_file(target), self._guard_file(target)) if with_locks else ()
        return [path for path in (*files, *locks) if os.path.lexists(path)]

    def forget(self, target: str) -> None:
        """Remove them all, whatever they say, for a caller who holds the target's lock. Raises CtlError.

        The locks are last: whoever waits for one of them takes a fresh file then, and so finds nothing half done.
        """
        try:
            with self._guarded(target):
                for path in self.files_of(target):
                    path.unlink(missing_ok=True)
        except OSError as error:
            raise failure(error, "cannot forget it", where=str(error.filename), target=target) from None

    def _guard_file(self, target: str) -> Path:
        return self.run_dir / f".{target}.lock"

    def _remove(self, target: str, without: Callable[[State], State | None], pid: int) -> bool:
        """`without` says what is left of a state without its run, None where the run is not the one that is meant."""
        try:
            with self._guarded(target):
                state = _or_none(lambda: self.read_state(target))
                bare = _or_none(lambda: self.read_pid(target))
                left = without(state) if state is not None and state.run is not None else None
                if state is not None and state.run is not None and left is None:
                    return False
                is_named = bare is not None and bare.pid == pid
                if is_named:
                    self.pid_file(target).unlink(missing_ok=True)
                if left is not None:
                    self._replace_or_remove(left)
                return is_named or left is not None
        except OSError as error:
            raise failure(error, "cannot remove the record", where=str(error.filename), target=target) from None

    def _replace_or_remove(self, state: State) -> None:
        """On a full disk the state file is removed: to know nothing is no lie, "it runs" would be one."""
        try:
            self._replace_state(state)
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise
            self.record_file(state.target).unlink(missing_ok=True)

    def _guarded(self, target: str) -> AbstractContextManager[bool]:
        """Kill waits for no target's lock, so compare-and-remove needs one of its own against start's write."""
        return locked(self._guard_file(target), "records", _BRIEF, self._patience)


def _or_none(read: Callable[[], T | None]) -> T | None:
    """What says nothing believable names nothing."""
    try:
        return read()
    except (Refused, Unreadable):
        return None


def _state(content: bytes) -> State:
    """Raises msgspec.DecodeError, UnicodeDecodeError."""
    try:
        return decode(content, State)
    except msgspec.ValidationError as error:
        try:
            run, older = decode(content, RecordOfSchema1).taken_over()
        except msgspec.ValidationError:
            raise error from None
        return State(target=run.target, run=run, older=older)


def _replace(path: Path, content: bytes, *, to_disk: bool = True) -> None:
    """Write the file whole: a temporary one, fsync unless that is not needed, rename (rename(2) is atomic)."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        try:
            os.fchmod(fd, 0o644)  # whatever the umask: other users' status reads it, only we write it
            view = memoryview(content)
            while view:
                view = view[os.write(fd, view) :]
            if to_disk:
                with let_others(Hurry.GREAT):
                    os.fsync(fd)
        finally:
            os.close(fd)
        os.rename(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
