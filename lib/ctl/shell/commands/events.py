from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import chain
from typing import TYPE_CHECKING

from ctl.model.errors import Interrupted
from ctl.model.event import Event
from ctl.shell.session import Session, as_json
from ctl.shell.verb import verb
from ctl.system.streams import told_of_hangup, write_now
from ctl.verbs.events import Events

if TYPE_CHECKING:
    from ctl.shell.options import AnyNames, Follow, LineCount, Since


@verb
def events(
    session: Session, targets: AnyNames = None, count: LineCount = 50, follow: Follow = False, since: Since = None
) -> int:
    """Show what every ctl has done, and who asked for it.

    Starts, signals, adoptions, refusals and outcomes, the oldest first.

    With --follow --json each event is a document on a line of its own.

    Exit codes:
        0: shown, or there are none
        1: the journal cannot be read
        2, 4, 6, 130, 143, 199

    Examples:
        ctl events
        ctl events --since 10m gateway
        ctl events -n 0 -f --json
    """
    host = session.host()
    found = Events(host, targets or [], since)
    try:
        listed = found.last(count, follow=follow)
        if not found.exists:
            host.say("", "there are no events yet", str(found.file))
        if session.as_json and not follow:
            session.print_document(listed, ok=True)
        else:
            lines = _lines(session, listed, str(host.config.run_dir))
            going_on = found.follow(told_of_hangup()) if follow else ()
            _write_all(session, map(lines, chain(listed, going_on)))
    except Interrupted as error:
        return error.exit_code
    finally:
        found.close()
        if found.skipped:
            count_of_lines = "1 line is" if found.skipped == 1 else f"{found.skipped} lines are"
            session.tell(None, f"{count_of_lines} no whole event, and skipped", str(found.file))
    return 0


def _lines(session: Session, listed: list[Event], run_dir: str) -> Callable[[Event], str]:
    """What makes a line of an event; the columns are as wide as those that are listed first need."""
    if session.as_json:
        return as_json
    from ctl.shell.event_lines import EventLines

    return EventLines(listed, run_dir).line


def _write_all(session: Session, lines: Iterable[str]) -> None:
    for line in lines:
        if not session.quiet and not write_now(line.encode(errors="backslashreplace") + b"\n"):
            return
