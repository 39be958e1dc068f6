"""Logs: what services have written to stdout and stderr."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple

import msgspec

from ctl.model.errors import CtlError
from ctl.model.outcome import Fault
from ctl.model.service import Service
from ctl.system.follow import Changes, Followed, Piece
from ctl.system.host import Host
from ctl.verbs.events import tell_problem


class Written(NamedTuple):
    """Something that a service has written."""

    target: str
    piece: Piece


class Log(msgspec.Struct, kw_only=True):
    """The last lines of one service."""

    target: str
    file: str
    lines: list[str] = []
    errors: list[Fault] = []


class Logs:
    """The logs of some services. Each begins with its last `lines` lines, some of which may be in rotated files."""

    def __init__(self, services: Sequence[Service], host: Host, lines: int) -> None:
        self.errors: list[CtlError] = []  # of those that cannot be read
        self._host = host
        self._lines = lines
        self._logs: dict[str, Followed] = {}
        for service in services:
            keep = service.start.log_keep if service.start is not None else 0
            self._logs[service.name] = Followed(host.log_path(service), keep, service=host.account(service))

    def last(self) -> Iterator[Written]:
        """The last lines, service by service; those that cannot be read are then in `errors`. Raises Interrupted."""
        self._begin()
        for target, log in self._logs.items():
            yield from self._written(target, chain(log.read(), log.rest()))

    def follow(self, closed: Sequence[int]) -> Iterator[Written]:
        """The last lines, and every one that is written from then on, until one of `closed` becomes readable.

        A line comes when it has ended. Raises CtlError, also where one of the logs cannot be read; Interrupted.
        """
        told: dict[str, str | None] = {}
        with Changes([log.path for log in self._logs.values()]) as changes:
            self._begin()
            if self.errors:
                raise self.errors[0]
            while True:
                for target, log in self._logs.items():
                    yield from self._written(target, log.read())
                    told[target] = tell_problem(self._host, target, "its log", log.problem, told.get(target))
                while True:
                    if self._host.pause([changes.fd, *closed], float("inf")) & set(closed):
                        return
                    if changes.heard():
                        break

    def file(self, target: str) -> str:
        """Where its log is."""
        return str(self._logs[target].path)

    def close(self) -> None:
        for log in self._logs.values():
            log.close()

    def _written(self, target: str, pieces: Iterable[Piece]) -> Iterator[Written]:
        for piece in pieces:
            self._host.patience.check()
            yield Written(target, piece)

    def _begin(self) -> None:
        for target, log in self._logs.items():
            try:
                log.begin(self._lines)
            except CtlError as error:
                self.errors.append(error.about("its log"))
                self.errors[-1].target = target
            else:
                if not log.exists:
                    self._host.say(target, "has no log yet", str(log.path))


def collected(logs: Logs, targets: Sequence[str]) -> list[Log]:
    """The last lines of each service as one value; what is no text is escaped."""
    found = {target: Log(target=target, file=logs.file(target)) for target in targets}
    is_open: set[str] = set()
    for target, piece in logs.last():
        lines = found[target].lines
        text = text_of(piece)
        if target in is_open:
            lines[-1] += text
        else:
            lines.append(text)
        (is_open.discard if piece.ends else is_open.add)(target)
    for error in logs.errors:
        found[error.target or ""].errors.append(Fault.of(error))
    return list(found.values())


def text_of(piece: Piece) -> str:
    """It as text; bytes that are none are escaped."""
    return piece.text.decode(errors="backslashreplace")
