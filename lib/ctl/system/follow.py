"""Reading files that grow, and are rotated and truncated meanwhile: their last lines, and what comes after them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple, Self

from ctl.model.errors import CtlError
from ctl.model.program import Account
from ctl.system.failure import failure
from ctl.system.files.places import Place, Unsafe, enter
from ctl.system.logfile import is_sink
from ctl.system.watch import Watch

_BLOCK: Final = 1 << 16  # bytes that are read, and held of a line that has not ended, at most
_FARTHEST: Final = 64 * 2**20  # bytes from the end in which the last lines are looked for
_MOST_ROTATED: Final = 1000
_MOST_OPEN: Final = 6


class Piece(NamedTuple):
    """A line without its newline; one that is longer than a block comes in several, of which only the last ends it."""

    text: bytes
    ends: bool


class Followed:
    """One file that grows, with the older ones that it was renamed to: PATH.1 the newest of them, PATH.2 and so on.

    What is read is neither lost nor read twice, through a rename and a new file in its place (by ctl and by logrotate)
    and through a truncation (copytruncate) that leaves it shorter than what was read.
    """

    def __init__(self, path: Path, keep: int, *, whole: bool = False, service: Account | None = None) -> None:
        """There may be `keep` rotated files, and gaps among them while another renames them; beyond, up to a gap.

        They are read as `service`, a service's user, where others than root could have put other files there.
        With `whole`, who writes writes whole lines: what seems to be half of one in a rotated file is still coming.
        """
        self.path = path
        self.problem: CtlError | None = None  # why the file that is there now cannot be read
        self._keep = keep
        self._whole = whole
        self._service = service
        self._files: list[_File] = []  # the oldest first

    def begin(self, lines: int | None) -> None:
        """Begin with the last `lines` lines (None: all), going back into rotated files where the newest holds fewer.

        Raises CtlError where one of them cannot be read.
        """
        left = lines
        for _, file in self._from_the_newest():
            self._files.insert(0, file)
            if left is not None:
                left -= file.seek_tail(left)
                if left <= 0:
                    break

    @property
    def exists(self) -> bool:
        """Whether there was anything to read."""
        return bool(self._files)

    def read(self) -> Iterator[Piece]:
        """What has been written since the last call, as far as its lines have ended."""
        self._files += self._newer()
        while len(self._files) > _MOST_OPEN:  # who has an older one open may still be writing to it
            oldest = self._files.pop(0)
            yield from oldest.read()
            yield from oldest.rest()
            oldest.close()
        for file in self._files:
            yield from file.read()
            if file is not self._files[-1] and not self._whole:
                yield from file.rest()

    def rest(self) -> Iterator[Piece]:
        """What was read of lines that have not ended."""
        for file in self._files:
            yield from file.rest()

    def close(self) -> None:
        for file in self._files:
            file.close()
        self._files = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _newer(self) -> list[_File]:
        """The files that have come since the last look, the oldest first."""
        known = {file.file_id for file in self._files}
        found: list[tuple[int, _File]] = []
        try:
            for number, file in self._from_the_newest():
                if file.file_id in known:
                    file.close()
                    break
                found.append((number, file))
            else:
                # What was read last is there no more: what is left beside the newest may be older than that.
                for number, file in [item for item in found if item[0] > 0 and known]:
                    found.remove((number, file))
                    file.close()
            self.problem = None
        except CtlError as error:
            self.problem = error
        return [file for _, file in reversed(found)]

    def _from_the_newest(self) -> Iterator[tuple[int, _File]]:
        """Each file once, with its number; the newest has 0. Raises CtlError for one that cannot be read.

        In the order in which they are renamed: one that is renamed meanwhile is met again, and none is missed.
        """
        met: set[tuple[int, int]] = set()
        place = self._enter()
        if place is None:
            return
        with place:
            for number in range(_MOST_ROTATED):
                file = _open(place, f"{self.path.name}.{number}" if number else self.path.name)
                if file is None and number > self._keep:
                    return
                if file is not None and file.file_id in met:
                    file.close()
                elif file is not None:
                    met.add(file.file_id)
                    yield number, file

    def _enter(self) -> Place | None:
        if is_sink(self.path):
            raise CtlError("failed", "is not kept: what is written there cannot be read again", where=str(self.path))
        try:
            return enter(self.path.parent, self._service)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise failure(error, "cannot be read", where=str(self.path)) from None


class Changes:
    """Tells when one of some files may have changed, appeared or been replaced, and that before they are first read."""

    def __init__(self, paths: Iterable[Path]) -> None:
        """Raises CtlError."""
        self._paths = set(paths)
        self._above: set[Path] = set()
        try:
            self._watch = Watch()
        except OSError as error:
            what = "cannot follow: the user has no inotify instances left"
            raise failure(error, what, where="fs.inotify.max_user_instances") from None
        self._look()

    @property
    def fd(self) -> int:
        """Readable when something has changed."""
        return self._watch.fd

    def heard(self) -> bool:
        """Take in what made `fd` readable. Returns whether it may be about one of the files."""
        changed = self._watch.changed()
        if changed is not None and not any(map(self._concerns, changed)):
            return False
        self._look()
        return True

    def close(self) -> None:
        self._watch.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _concerns(self, changed: Path) -> bool:
        return changed in self._above or any(
            changed.parent == path.parent and changed.name.startswith(path.name) for path in self._paths
        )

    def _look(self) -> None:
        """Watch the directory of each file, and those above it up to one that is there: it may be made, or replaced."""
        for directory in {path.parent for path in self._paths}:
            for above in (directory, *directory.parents):
                self._above.add(above)
                there = self._add(above)
                if there and above != directory:
                    break

    def _add(self, directory: Path) -> bool:
        try:
            self._watch.add(directory)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            if directory in {path.parent for path in self._paths}:
                raise failure(error, "cannot follow what is in this directory", where=str(directory)) from None
        return True


class _File:
    """One open file, and how far it has been read."""

    def __init__(self, fd: int, found: os.stat_result) -> None:
        self.file_id = found.st_dev, found.st_ino
        self._stream = os.fdopen(fd, "rb")
        self._size = found.st_size
        self._held = b""  # of a line that has not ended
        self._is_midway = False  # in a line of which something was given out

    def seek_tail(self, lines: int) -> int:
        """Go to the beginning of the last `lines` lines. Returns how many there are."""
        start, found = self._find_tail(lines)
        self._stream.seek(start)
        return found

    def _find_tail(self, lines: int) -> tuple[int, int]:
        """Where they begin, and how many there are: blocks are read from the end, however large the file is.

        No more than so many, for a file may claim any size, and have no line in all of it.
        """
        fd = self._stream.fileno()
        offset = self._size
        ended = offset == 0 or os.pread(fd, 1, offset - 1) == b"\n"
        if lines == 0:
            return offset, 0
        wanted = lines + 1 if ended else lines  # newlines, from the end
        newlines = 0
        farthest = max(0, offset - _FARTHEST)
        while offset > farthest:
            start = max(farthest, offset - _BLOCK)
            block = os.pread(fd, offset - start, start)
            here = block.count(b"\n")
            if newlines + here >= wanted:
                end = len(block)
                for _ in range(wanted - newlines):
                    end = block.rindex(b"\n", 0, end)
                return start + end + 1, lines
            newlines += here
            offset = start
        return farthest, newlines if ended else newlines + 1

    def read(self) -> Iterator[Piece]:
        """As far as it goes now: who writes more quickly than we read must not keep us here."""
        with suppress(OSError):
            size, begun = os.fstat(self._stream.fileno()).st_size, self._stream.tell()
            if size < begun:  # truncated
                yield from self.rest()
                begun = self._stream.seek(0)
            left = size - begun
            while left > 0 and (part := self._stream.readline(min(_BLOCK - len(self._held), left))):
                left -= len(part)
                self._held += part
                if self._held.endswith(b"\n"):
                    yield Piece(self._held[:-1], ends=True)
                    self._held, self._is_midway = b"", False
                elif len(self._held) >= _BLOCK:
                    yield Piece(self._held, ends=False)
                    self._held, self._is_midway = b"", True

    def rest(self) -> Iterator[Piece]:
        if self._held or self._is_midway:
            yield Piece(self._held, ends=True)
        self._held, self._is_midway = b"", False

    def close(self) -> None:
        self._stream.close()


def _open(place: Place, name: str) -> _File | None:
    """None where there is none. Raises CtlError for what cannot be read, or is no regular file."""
    try:
        fd = place.open_to_read(name)
    except FileNotFoundError:
        return None
    except Unsafe as error:
        raise CtlError("failed", error.strerror or "", where=str(place.path / name)) from None
    except OSError as error:
        raise failure(error, "cannot be read", where=str(place.path / name)) from None
    return _File(fd, os.fstat(fd))
