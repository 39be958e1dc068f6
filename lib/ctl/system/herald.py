"""What systemd is told while ctl works for a unit: what it waits for, and for how long that may take, sd_notify(3)."""

from __future__ import annotations

import contextlib
import math
import socket
from typing import Final

from ctl.model.outcome import Result
from ctl.model.printable import printable
from ctl.system.environment import variable
from ctl.system.wait import now

_MARGIN: Final = 15.0  # seconds, from the end of one wait to word of the next
_WITHOUT_END: Final = 7 * 24 * 3600.0  # seconds


class Herald:
    """Sends STATUS= and EXTEND_TIMEOUT_USEC=, and nothing else: neither readiness nor a main process is ctl's to tell.

    A timeout is only ever made longer by that, and only for as long as ctl goes on to say what it waits for: one that
    hangs is ended by systemd. Nothing here waits or raises.
    """

    def __init__(self, address: str) -> None:
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._send("", _MARGIN)

    def progress(self, target: str, what: str, until: float | None = None, /, *, then: str = "", why: str = "") -> None:
        """The host's Progress."""
        left = 0.0 if until is None else min(max(until - now(), 0.0), _WITHOUT_END)
        limit = f", at most {math.ceil(left)} s" if until is not None and left < _WITHOUT_END else ""
        limit += f", then {then}" if then else ""
        self._send(f"{target}: {what}{limit}" + (f": {why}" if why else ""), left + _MARGIN)

    def tell(self, result: Result) -> None:
        """What became of it."""
        if result.ok and result.changed and result.after == "ready":
            text = f"ready; ctl logs {result.target} shows its output"
        else:
            text = result.errors[-1].what if result.errors and not result.ok else result.reason.replace("_", " ")
        self._send(f"{result.target}: {text}", _MARGIN)

    def _send(self, text: str, seconds: float) -> None:
        status = printable(text).replace("\t", " ")
        message = f"EXTEND_TIMEOUT_USEC={math.ceil(seconds * 1e6)}\n" + (f"STATUS={status}\n" if status else "")
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as out,
        ):
            out.sendto(message.encode(errors="replace"), self._address)


def herald() -> Herald | None:
    """Where systemd itself has ctl work for a unit and listens to it, NotifyAccess=; else None.

    A NOTIFY_SOCKET that was merely inherited belongs to the service from whose shell ctl was called.
    """
    address = variable("NOTIFY_SOCKET")
    if address is None or address[0] not in "/@":
        return None
    from ctl.system.unit import is_of_manager

    return Herald(address) if is_of_manager() else None
