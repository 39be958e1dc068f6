"""A transient scope for a run that root starts outside of a unit, systemd.scope(5): it outlives the logout.

PID 1 is asked at its own socket, as systemctl(1) does it for root: no message bus need run, and the kernel says who
listens there. org.freedesktop.systemd1(5) describes the call.
"""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from ctl.model.errors import CtlError
from ctl.model.schedule import Schedule
from ctl.system import procfs, systemd
from ctl.system.cgroups import unit_of
from ctl.system.groups import SLICE, Group, group_of
from ctl.system.pidfd import signal_number
from ctl.system.procfs import Gone
from ctl.system.wait import now

if TYPE_CHECKING:
    from jeepney.low_level import Message

Pause = Callable[[Iterable[int], float], object]  # until a monotonic instant

_SOCKET: Final = "/run/systemd/private"
_MANAGER: Final = "org.freedesktop.systemd1.Manager"
_ANSWERS_WITHIN: Final = 2.0  # seconds, for all of it
_FIRST_PAUSE: Final = 0.0005  # seconds, doubled up to
_LONGEST_PAUSE: Final = 0.02
_LONGEST: Final = 255  # bytes of a unit's name, systemd.unit(5)
_PLAIN: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789:_.")
# What a service may need until it has ended: at shutdown these are stopped after it.
_NEEDED: Final = ("local-fs.target", "remote-fs.target", "network.target")
_OOM: Final = ("OOMPolicy", ("s", "continue"))
_UNKNOWN_PROPERTY: Final = "org.freedesktop.DBus.Error.PropertyReadOnly"

_turn = threading.Lock()  # systemd tells every connection of every unit: one at a time is far quicker than many
_gave_up = threading.Lock()  # held once systemd has not answered this ctl, by whoever was the first to find out


class _Failed(Exception):
    """systemd has said no."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(text or name)
        self.name = name


def join_scope(pid: int, target: str, run_id: str, schedule: Schedule, pause: Pause) -> Group | None:
    """Put a waiting child into a scope of its own; None where a run has none.

    That is where ctl is not root, where systemd is not the host's init system, and where ctl is in a service unit, to
    which the process then belongs. It takes two seconds at most. Raises CtlError (failed), of a systemd that does not
    answer only once.
    """
    if os.geteuid() != 0 or not systemd.is_booted() or _gave_up.locked() or unit_of(os.getpid()) is not None:
        return None
    name, deadline = scope_name(target, run_id), now() + _ANSWERS_WITHIN
    try:
        if not _ask_for(name, pid, target, schedule, deadline):
            return None
        _await_joined(pid, name, deadline, pause)
    except (OSError, ValueError) as error:
        if not _gave_up.acquire(blocking=False):
            return None
        slow = isinstance(error, TimeoutError)
        raise _without_one(f"does not answer within {_ANSWERS_WITHIN:g} s" if slow else f"fails: {error}") from None
    except _Failed as error:
        raise _without_one(f"says {error}") from None
    return group_of(name)


def scope_name(target: str, run_id: str) -> str:
    """Its name, escaped as systemd-escape(1) does it."""
    fitting = _LONGEST - len(f"ctl--{run_id}.scope")
    escaped = "".join(chr(byte) if byte in _PLAIN else f"\\x{byte:02x}" for byte in target.encode())
    return f"ctl-{escaped[:fitting]}-{run_id}.scope"


def _without_one(why: str) -> CtlError:
    what = f"has no scope of its own, and ends with the login that it is started in: systemd {why}"
    return CtlError("failed", what, where=_SOCKET, fix="systemctl is-system-running")


def _ask_for(name: str, pid: int, target: str, schedule: Schedule, deadline: float) -> bool:
    """False where who listens is not the systemd of this host."""
    if not _turn.acquire(timeout=deadline - now()):
        raise TimeoutError
    try:
        if _gave_up.locked():
            raise TimeoutError
        connection = _Connection(deadline)
        try:
            if connection.peer != (1, 0):
                return False  # it has other processes by these pids
            _start_scope(connection, name, pid, target, schedule)
            return True
        finally:
            connection.close()
    finally:
        _turn.release()


def _start_scope(connection: _Connection, name: str, pid: int, target: str, schedule: Schedule) -> None:
    properties = [
        ("Description", ("s", f"{target}, started by ctl")),
        ("Slice", ("s", SLICE)),
        ("PIDs", ("au", [pid])),
        ("After", ("as", list(_NEEDED))),
        ("CollectMode", ("s", "inactive-or-failed")),
        ("KillMode", ("s", "control-group")),  # "mixed" would kill at once: a scope has no main process
        ("KillSignal", ("i", signal_number(schedule.first_signal))),
        ("TimeoutStopUSec", ("t", max(1, int(schedule.first_wait * 1e6)))),
    ]
    try:
        connection.call("StartTransientUnit", "ssa(sv)a(sa(sv))", name, "fail", [*properties, _OOM], [])
    except _Failed as error:
        if error.name != _UNKNOWN_PROPERTY:
            raise
        # Before systemd 253 scopes do not have it, and do what it says.
        connection.call("StartTransientUnit", "ssa(sv)a(sa(sv))", name, "fail", properties, [])


def _await_joined(pid: int, name: str, deadline: float, pause: Pause) -> None:
    """The answer says only that it is queued. Raises TimeoutError; returns where the process has ended."""
    seconds = _FIRST_PAUSE
    try:
        while name not in next(iter(procfs.read_cgroups(pid)), "").split("/"):
            if now() >= deadline:
                raise TimeoutError
            pause((), now() + seconds)
            seconds = min(2 * seconds, _LONGEST_PAUSE)
    except Gone:
        return


class _Connection:
    """One to PID 1, until a deadline after which everything raises TimeoutError. Raises OSError, too."""

    def __init__(self, deadline: float) -> None:
        from jeepney.io.blocking import prep_socket
        from jeepney.low_level import Parser

        self._deadline = deadline
        self._socket: socket.socket = prep_socket(_SOCKET, timeout=max(0.0, deadline - now()))
        self._parser = Parser()
        self._serial = 0

    @property
    def peer(self) -> tuple[int, int]:
        """The process that listens there, as a pid of this namespace (0: of none), and its user; unix(7)."""
        format_ = "3i"
        told = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize(format_))
        pid, uid, _ = struct.unpack(format_, told)
        return pid, uid

    def call(self, method: str, signature: str, *arguments: Any) -> None:
        """Returns when it is answered. Raises _Failed."""
        from jeepney import DBusAddress, HeaderFields, MessageType, new_method_call

        manager = DBusAddress("/org/freedesktop/systemd1", "org.freedesktop.systemd1", _MANAGER)
        self._serial += 1
        message = new_method_call(manager, method, signature, arguments)
        self._socket.settimeout(self._left)
        self._socket.sendall(message.serialise(serial=self._serial))
        reply = self._receive()
        while reply.header.fields.get(HeaderFields.reply_serial) != self._serial:
            reply = self._receive()  # what it tells everybody
        if reply.header.message_type == MessageType.error:
            text = reply.body[0] if reply.body and isinstance(reply.body[0], str) else ""
            raise _Failed(str(reply.header.fields.get(HeaderFields.error_name)), text)

    def close(self) -> None:
        self._socket.close()

    @property
    def _left(self) -> float:
        left = self._deadline - now()
        if left <= 0:
            raise TimeoutError
        return left

    def _receive(self) -> Message:
        while (message := self._parser.get_next_message()) is None:
            self._socket.settimeout(self._left)
            received = self._socket.recv(65536)
            if not received:
                raise ConnectionResetError("it has closed the connection")
            self._parser.add_data(received)
        return message
