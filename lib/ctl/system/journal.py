"""The journal of what ctl does, LOG_DIR/events.jsonl: appended by every ctl of the host, and a reason for none to fail.

Whole lines, each by one write(2) on an O_APPEND descriptor, which the kernel does not mix with another's (open(2)).
Nothing is waited for: who cannot rotate the file at once writes on.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from ctl.model.event import Event, Kind, kind_of
from ctl.model.identity import Identity
from ctl.model.outcome import Fault, Result
from ctl.model.printable import printable_json
from ctl.system.files.ours import Refused, require_ours
from ctl.system.files.places import Place, enter
from ctl.system.portrait import rfc3339
from ctl.system.trust import user_name
from ctl.system.wait import wall_clock
from ctl.system.who import who

NAME: Final = "events.jsonl"
KEPT: Final = 4  # rotated files beside it, events.jsonl.1 the newest
_ROTATED_AT: Final = 4 * 2**20  # bytes
_LONGEST_TEXT: Final = 1000  # characters; a line stays small
Trouble = Callable[[str, str, str | None], None]  # told what, where and fix
_FLAGS: Final = os.O_RDWR | os.O_APPEND | os.O_NONBLOCK | os.O_NOCTTY


def journal_file(log_dir: Path) -> Path:
    """Where the journal is."""
    return log_dir / NAME


class Journal:
    """The journal, as one call of ctl writes it, from any of its threads."""

    def __init__(
        self, log_dir: Path, run_dir: Path, verb: str, on_trouble: Trouble, rotated_at: int = _ROTATED_AT
    ) -> None:
        """`on_trouble` is told once why it cannot be written."""
        self.file = journal_file(log_dir)
        self._run_dir = str(run_dir)
        self.verb = verb
        self._on_trouble = on_trouble
        self._rotated_at = rotated_at
        self._guard = threading.Lock()
        self._who = who()
        self._user = ""  # asked for with the first event: by then what is urgent is done, and a directory may be slow
        self._fd = -1
        self._file_id: tuple[int, int] | None = None
        self._in_trouble = False

    def note(
        self,
        target: str,
        event: Kind,
        *,
        identity: Identity | None = None,
        signal: str | None = None,
        reason: str | None = None,
        what: str | None = None,
        result: Result | None = None,
    ) -> None:
        """Write one event; with its result where an operation has come to its end. Never raises, never waits."""
        try:
            with self._guard:
                self._user = self._user or _text(user_name(self._who.uid))
                self._append(
                    Event(
                        time=rfc3339(wall_clock(), "milliseconds"),
                        target=_text(target),
                        verb=self.verb,
                        event=event,
                        signal=signal,
                        pid=identity.pid if identity else result.pid if result else None,
                        start_ticks=identity.start_ticks if identity else None,
                        pidfd_inode=identity.pidfd_inode if identity else None,
                        reason=reason,
                        changed=result.changed if result else None,
                        before=result.before if result else None,
                        after=result.after if result else None,
                        duration_s=result.duration_s if result else None,
                        what=_text(what) if what else None,
                        uid=self._who.uid,
                        user=self._user,
                        sudo_user=_text(self._who.sudo_user) if self._who.sudo_user else None,
                        login_uid=self._who.login_uid,
                        unit=self._who.unit,
                        ansible=_text(self._who.ansible) if self._who.ansible else None,
                        ctl_pid=os.getpid(),
                        run_dir=_text(self._run_dir),
                    )
                )
        except Exception as error:  # noqa: BLE001 - whatever is wrong with the journal, the action goes on
            self._tell(error)

    def note_result(self, result: Result) -> None:
        """Write what became of one target."""
        what = "; ".join(_line(fault) for fault in result.errors) or None
        self.note(result.target, kind_of(result), reason=result.reason, what=what, result=result)

    def _tell(self, error: Exception) -> None:
        if not self._in_trouble:
            self._in_trouble = True
            why = (error.strerror if isinstance(error, OSError) else None) or str(error)
            fix = error.fix if isinstance(error, Refused) else None
            self._on_trouble(f"the journal cannot be written: {why}", str(self.file), fix)

    def _append(self, event: Event) -> None:
        line = printable_json(msgspec.json.encode(event).decode()).encode() + b"\n"
        size = self._opened()
        if size + len(line) > self._rotated_at and size > 0 and self._rotate(len(line)):
            size = self._opened()
        if size > 0 and os.pread(self._fd, 1, size - 1) != b"\n":
            line = b"\n" + line  # someone's line was cut off, by a full disk
        if os.write(self._fd, line) < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _opened(self) -> int:
        """Have the file open that has the journal's name now, whoever rotated it. Returns its size in bytes."""
        try:
            found = os.lstat(self.file)
        except FileNotFoundError:
            pass
        else:
            if (found.st_dev, found.st_ino) == self._file_id:
                return found.st_size
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._file_id = -1, None
        with self._enter(make=True) as place:
            self._fd = self._open(place)
            found = os.fstat(self._fd)
            _require_journal(self.file, found, os.fstat(place.fd))
        self._file_id = found.st_dev, found.st_ino
        return found.st_size

    def _enter(self, *, make: bool = False) -> Place:
        """Its directory. Raises OSError, Refused."""
        place = enter(self.file.parent, make=make)
        if place.actor is not None:
            with place:
                raise Refused(f"{place.actor.name} may put another in its place", where=str(self.file))
        return place

    def _open(self, place: Place) -> int:
        try:
            return place.open(NAME, _FLAGS)
        except FileNotFoundError:
            pass
        try:
            fd = place.open(NAME, _FLAGS | os.O_CREAT | os.O_EXCL, 0o640)
        except FileExistsError:  # another ctl was quicker
            return place.open(NAME, _FLAGS)
        os.fchmod(fd, 0o640)  # whatever the umask
        return fd

    def _rotate(self, needed: int) -> bool:
        """Rename the file, and each older one, unless another ctl is doing so. Returns whether it has been done.

        Who has it open goes on writing to it under that.
        """
        import fcntl

        try:
            with self._enter() as place, open(place.open(f".{NAME}.lock", _FLAGS | os.O_CREAT, 0o600), "rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if place.stat(NAME).st_size + needed > self._rotated_at:  # else another was quicker
                    _rename_each(place)
        except OSError:  # held by another, or something is in the way: the line is more important
            return False
        return True


def _rename_each(place: Place) -> None:
    files = [NAME, *(f"{NAME}.{number}" for number in range(1, KEPT + 1))]
    for newer, older in reversed(list(itertools.pairwise(files))):
        with contextlib.suppress(FileNotFoundError):
            place.rename(newer, older)


def _require_journal(path: Path, found: os.stat_result, above: os.stat_result) -> None:
    """Raises Refused where it is not a file of its own that only the right people could have put there."""
    require_ours(path, found, above, None, {0, os.geteuid()})
    if found.st_nlink > 1 or not stat.S_ISREG(found.st_mode):
        raise Refused("has another name, too", where=str(path))


def _line(fault: Fault) -> str:
    return fault.what + (f" ({fault.where})" if fault.where else "")


def _text(text: str) -> str:
    """What JSON can hold of a name, a path or an error: bytes that are no text are escaped."""
    return text[:_LONGEST_TEXT].encode(errors="backslashreplace").decode()
