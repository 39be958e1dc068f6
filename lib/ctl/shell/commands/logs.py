from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

from ctl.model.errors import Interrupted
from ctl.model.printable import printable, printable_in_colour
from ctl.shell.resolving import resolve
from ctl.shell.session import Session, as_json, exit_code
from ctl.shell.verb import verb
from ctl.system.streams import is_terminal, told_of_hangup, write_now
from ctl.system.terminal import has_colours
from ctl.verbs.logs import Logs, Written, collected, text_of

if TYPE_CHECKING:
    from ctl.shell.options import Follow, LineCount, Targets


@verb
def logs(session: Session, targets: Targets, count: LineCount = 50, follow: Follow = False) -> int:
    """Show what services have written to stdout and stderr.

    Also before their last restart, as far as that has been kept.

    On a terminal control characters are escaped, but for colours (NO_COLOR=1 escapes these, too); elsewhere each byte
    comes as it was written. With --follow --json
    each line is a document on a line of its own.

    Exit codes:
        0: shown, or nothing has been written
        1: a log cannot be read
        2, 4, 5, 6, 130, 143, 199

    Examples:
        ctl logs gateway
        ctl logs -n 0 -f gateway engine    # what comes from now on, of both
    """
    host = session.host()
    services = resolve(host, targets)
    found = Logs(services, host, count)
    names = [service.name for service in services]
    try:
        if session.as_json and not follow:
            documents = collected(found, names)
            session.print_document(documents, ok=not found.errors)
        else:
            _write_all(session, found.follow(told_of_hangup()) if follow else found.last(), Lines(names, session))
    except Interrupted as error:
        return error.exit_code
    finally:
        found.close()
    for problem in found.errors:
        session.tell_error(problem)
    return exit_code([problem.exit_code for problem in found.errors])


def _write_all(session: Session, written: Iterator[Written], lines: Lines) -> None:
    for part in written:
        if not session.quiet and not write_now(lines.bytes_of(part)):
            return
    if not session.quiet:
        write_now(lines.end())


class JsonLine(msgspec.Struct):
    """What a service has written, one line or a part of a very long one."""

    target: str
    line: str


class Lines:
    """What comes from one or several services as it is written out, each line of several with its target before it."""

    def __init__(self, targets: list[str], session: Session) -> None:
        width = max(map(len, targets))
        self._prefixes = {target: f"{target:<{width}} | ".encode() if len(targets) > 1 else b"" for target in targets}
        self._as_json = session.as_json
        self._escape = (printable_in_colour if has_colours(1) else printable) if is_terminal(1) else None
        self._midway: str | None = None  # whose line has not ended

    def bytes_of(self, written: Written) -> bytes:
        target, piece = written
        if self._as_json:
            return as_json(JsonLine(target, text_of(piece))).encode() + b"\n"
        text = piece.text if self._escape is None else self._escape(text_of(piece)).encode()
        begin = b"" if self._midway == target else self.end() + self._prefixes[target]
        self._midway = None if piece.ends else target
        return begin + text + (b"\n" if piece.ends else b"")

    def end(self) -> bytes:
        """What ends a line that is still open."""
        return b"\n" if self._midway is not None else b""
