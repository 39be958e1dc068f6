"""Events as a person reads them: one line each, in columns."""

from __future__ import annotations

from collections.abc import Sequence

from ctl.model.event import Event
from ctl.model.printable import printable
from ctl.shell.render import reason_in_words
from ctl.system.trust import user_name
from ctl.system.when import day_and_time, today

_WIDEST_TARGET = 24
_WIDEST_TEXT = 34


class EventLines:
    """The columns are as wide as the events that it was made for need; a later one may stick out."""

    def __init__(self, events: Sequence[Event], run_dir: str) -> None:
        self._run_dir = run_dir
        self._stamp = max((len(_stamp(event)) for event in events), default=0)
        self._target = min(max((len(event.target) for event in events), default=0), _WIDEST_TARGET)
        self._text = min(max((len(_text(event)) for event in events), default=0), _WIDEST_TEXT)

    def line(self, event: Event) -> str:
        elsewhere = f"  [{event.run_dir}]" if event.run_dir != self._run_dir else ""
        columns = (
            f"{_stamp(event):>{self._stamp}}",
            f"{event.target:<{self._target}}",
            f"{event.verb:<7}",
            f"{_text(event):<{self._text}}",
            f" {_who(event)}{elsewhere}",
        )
        return printable("  ".join(columns))


def _stamp(event: Event) -> str:
    try:
        day, time = day_and_time(event.time)
    except ValueError:
        return event.time
    return time if day == today() else f"{day} {time}"


def _text(event: Event) -> str:
    whom = f"pid {event.pid}" if event.pid is not None else ""
    if event.event == "signal":
        return f"{event.signal} to {whom}"
    if event.event in ("failed", "refused"):
        return f"{event.event}: {event.what or event.reason}"
    if event.event == "done":
        words = [reason_in_words(event.reason or "done"), whom]
        words.append(f"{event.duration_s:.2f} s" if event.changed and event.duration_s is not None else "")
        return ", ".join(word for word in words if word) + (f"; but {event.what}" if event.what else "")
    if event.event in ("ended", "crashed") and event.what:
        return f"{event.event} {whom}: {event.what}"
    return f"{'became' if event.event == 'run' else event.event} {whom}".rstrip()


def _who(event: Event) -> str:
    """The user, and who or what is behind it."""
    behind = []
    if event.sudo_user is not None:
        behind.append(f"sudo by {event.sudo_user}")
    if event.login_uid not in (None, event.uid):
        login = user_name(event.login_uid or 0)
        behind += [f"login of {login}"] if login != event.sudo_user else []
    if event.ansible is not None:
        behind.append("Ansible" if event.ansible == "unknown" else f"Ansible {event.ansible}")
    if event.unit is not None:
        behind.append(event.unit)
    return event.user + (f" ({', '.join(behind)})" if behind else "")
