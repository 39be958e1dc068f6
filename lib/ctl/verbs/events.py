"""Events: what every ctl on this host has done, read from the journal."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

import msgspec

from ctl.model.errors import CtlError
from ctl.model.event import Event, is_about
from ctl.system.decoding import decode
from ctl.system.follow import Changes, Followed, Piece
from ctl.system.host import Host
from ctl.system.journal import KEPT, journal_file
from ctl.system.when import instant_of

_BEGINNING = b'{"time":"'


class Events:
    """The events of some targets (all, without any) since an instant, in the order in which they were written."""

    def __init__(self, host: Host, targets: Sequence[str], since: float | None) -> None:
        self.file = journal_file(host.config.log_dir)
        self.skipped = 0  # lines that are no whole event
        self._host = host
        self._targets = tuple(targets)
        self._since = since  # seconds since the epoch
        self._journal = Followed(self.file, KEPT, whole=True)
        self._changes: Changes | None = None

    @property
    def exists(self) -> bool:
        """Whether there is a journal."""
        return self._journal.exists

    def last(self, count: int, *, follow: bool = False) -> list[Event]:
        """The last `count` of them. Raises CtlError where the journal may not be read."""
        self._changes = Changes([self.file]) if follow else None
        try:
            self._journal.begin(None)
        except CtlError as error:
            raise error.about("the journal") from None
        events = deque(self._new(), maxlen=count)
        for piece in () if follow else self._journal.rest():
            events.extend(self._understood(piece))
        return list(events)

    def follow(self, closed: Sequence[int]) -> Iterator[Event]:
        """Every one that is written after the last, as it is written, until one of `closed` becomes readable.

        Raises Interrupted.
        """
        told: str | None = None
        while self._changes is not None:
            if self._host.pause([self._changes.fd, *closed], float("inf")) & set(closed):
                return
            if self._changes.heard():
                yield from self._new()
                told = tell_problem(self._host, "", "the journal", self._journal.problem, told)

    def close(self) -> None:
        self._journal.close()
        if self._changes is not None:
            self._changes.close()

    def _new(self) -> Iterator[Event]:
        for piece in self._journal.read():
            self._host.patience.check()
            yield from self._understood(piece)

    def _understood(self, piece: Piece) -> Iterator[Event]:
        event = self._decoded(piece.text) if piece.text else None
        try:
            if event is not None and is_about(event, self._targets) and self._is_recent(event):
                yield event
        except ValueError:  # its time is none
            self.skipped += 1

    def _is_recent(self, event: Event) -> bool:
        return self._since is None or instant_of(event.time) >= self._since

    def _decoded(self, line: bytes) -> Event | None:
        """The event of a line. Where one was cut off and another written behind it, that other."""
        try:
            return decode(line, Event)
        except (msgspec.DecodeError, UnicodeDecodeError):
            self.skipped += 1
        start = line.rfind(_BEGINNING)
        try:
            return decode(line[start:], Event) if start > 0 else None
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None


def tell_problem(host: Host, target: str, subject: str, problem: CtlError | None, told: str | None) -> str | None:
    """Say once why what is followed cannot be read now. Returns what has been said."""
    if problem is None:
        return None
    what = f"{subject} {problem.what}; waiting for it"
    if what != told:
        host.say(target, what, problem.where, problem.fix)
    return what
