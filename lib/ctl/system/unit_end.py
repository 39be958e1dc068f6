"""How systemd saw the main process of a unit end: it was its parent, and ctl was not."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final, NamedTuple

from ctl.system import systemd
from ctl.system.environment import variable

_ASKED: Final = ("ExecMainPID", "ExecMainCode", "ExecMainStatus", "ExecMainExitTimestamp", "Result")
_EXITED: Final = "1"  # CLD_EXITED, waitid(2)
_BY_SIGNAL: Final = ("2", "3")  # CLD_KILLED, CLD_DUMPED


class UnitEnd(NamedTuple):
    """An exit status, or a signal by its name without SIG; when, in seconds since the epoch, where that is known."""

    status: int | None
    signal: str | None
    at: float | None = None
    out_of_memory: bool = False


def unit_names(target: str) -> list[str]:
    """The units that may stand for a target: the one that ctl brings along, and one of the same name."""
    return [f"ctl@{target}.service", f"{target}.service"]


def end_in_unit(names: list[str], pid: int, since: float, seconds: float) -> UnitEnd | None:
    """How the main process `pid` of one of these units ended after `since`. Systemd is asked, for `seconds` at most.

    None where none of them tells of that process, as systemd.service(5) has ExecMainPID= and the others.
    """
    if not systemd.is_booted():
        return None
    for shown in (systemd.show(names, _ASKED, seconds) or {}).values():
        said = {name: values[0] for name, values in shown.items()}
        at = _instant(said.get("ExecMainExitTimestamp", ""))
        if said.get("ExecMainPID") != str(pid) or at is None or at < since - 1:  # it is told to the second
            continue
        end = _end(said.get("ExecMainCode"), said.get("ExecMainStatus", ""))
        if end is not None:
            return end._replace(at=at, out_of_memory=said.get("Result") == "oom-kill")
    return None


def end_told() -> UnitEnd | None:
    """What $EXIT_CODE and $EXIT_STATUS say in ExecStop= and ExecStopPost=, see systemd.exec(5)."""
    code, status = variable("EXIT_CODE"), variable("EXIT_STATUS") or ""
    out_of_memory = variable("SERVICE_RESULT") == "oom-kill"
    if code == "exited" and status.isascii() and status.isdigit() and len(status) <= 3:
        return UnitEnd(int(status), None, out_of_memory=out_of_memory)
    if code in ("killed", "dumped") and status.isascii() and status.isalnum() and len(status) <= 12:
        return UnitEnd(None, status, out_of_memory=out_of_memory)
    return None


def _end(code: str | None, status: str) -> UnitEnd | None:
    if not (status.isascii() and status.isdigit() and len(status) <= 3):
        return None
    if code == _EXITED:
        return UnitEnd(int(status), None)
    if code in _BY_SIGNAL:
        from ctl.system.exit_status import signal_of

        return UnitEnd(None, signal_of(int(status)))
    return None


def _instant(text: str) -> float | None:
    """Seconds since the epoch of "Tue 2026-12-01 04:14:55 UTC", as systemctl writes it in that zone."""
    try:
        return datetime.strptime(text, "%a %Y-%m-%d %H:%M:%S UTC").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None
