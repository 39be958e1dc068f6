"""How a main process ended, in words."""

from __future__ import annotations

from ctl.model.state import End


def how_it_ended(end: End) -> str:
    """Who or what ended it, and with which status or signal, as far as that is known."""
    if end.how == "oom":
        return "killed by the kernel: out of memory"
    how = {
        "exited": f"exited with status {end.status}",
        "signal": f"ended by the signal {end.signal}",
        "unknown": "",
    }[end.how]
    if end.by == "ctl":
        by = f"ended by {end.caller}" if end.caller is not None else "ended by ctl"
        return f"{by}; {how}" if how else by
    return how or "unknown how: nothing watched it"


def when_it_ended(end: End) -> str:
    """The instant, or the two between which it was."""
    if end.at is not None:
        return end.at
    return f"between {end.after or '?'} and {end.before or '?'}"
