"""Whether somebody listens: a connection is tried, and closed again."""

from __future__ import annotations

import errno
import os
import select
import socket

from ctl.model.verdict import NO, UNKNOWN, YES, Verdict
from ctl.system.hooks import Answer
from ctl.system.wait import now

Address = tuple[str, int]


def family_of(host: str) -> socket.AddressFamily | None:
    """That of an IP address, None for a name."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except OSError:
            continue
        return family
    return None


def is_here(host: str) -> bool:
    """Whether it is an address of this machine, which a socket can be bound to, or the one name that always is."""
    family = family_of(host)
    if family is None:
        return host == "localhost"
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as bound:
            bound.bind((host, 0))
    except OSError:
        return False
    return True


def connect(address: Address, seconds: float) -> Answer:
    """Yes where a connection is accepted, no where it is refused. A name may take longer than the time it is given."""
    try:
        with socket.create_connection(address, timeout=seconds) as connection:
            return _answer(address, _refused_or_accepted(connection))
    except OSError as error:
        return _answer(address, error.errno or errno.EIO, error.strerror or str(error))


class Connecting:
    """`connect` to an IP address, in no thread: where that is this host's, it is over before connect(2) returns."""

    def __init__(self, address: Address, family: socket.AddressFamily, seconds: float) -> None:
        self.until = now() + seconds
        self._address = address
        self._epoll: select.epoll | None = None
        self._socket: socket.socket | None = None
        try:
            self._socket = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            self._error = self._socket.connect_ex(address)
        except OSError as error:
            self._error = error.errno or errno.EIO
        self.is_over = self._error != errno.EINPROGRESS

    @property
    def fd(self) -> int:
        return self._decided().fileno()

    def close(self) -> Answer:
        if self._socket is not None:
            with self._socket:
                if self._error == errno.EINPROGRESS:
                    self._error = self._outcome(self._socket)
                if not self._error:
                    self._error = _refused_or_accepted(self._socket)
        if self._epoll is not None:
            self._epoll.close()
        return _answer(self._address, self._error)

    def _outcome(self, connection: socket.socket) -> int:
        return connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) if self._decided().poll(0) else errno.ETIMEDOUT

    def _decided(self) -> select.epoll:
        """Readable once the socket is writable, by which connect(2) tells that it has come to an end."""
        if self._epoll is None:
            self._epoll = select.epoll()
            if self._socket is not None:
                self._epoll.register(self._socket, select.EPOLLOUT)
        return self._epoll


def _refused_or_accepted(connection: socket.socket) -> int:
    """The error of a connection that TCP has made: ECONNREFUSED where it is one with itself, else none.

    Where nobody listens on a port of this host, one connection in many thousands is given that very port as its own
    end, and a TCP that opens from both ends at once connects (RFC 9293, 3.5). Asking again and again meets it.
    """
    try:
        return errno.ECONNREFUSED if connection.getsockname() == connection.getpeername() else 0
    except OSError:  # accepted, and closed by whoever accepted it
        return 0


def _answer(address: Address, error: int, why: str = "") -> Answer:
    if not error:
        return Answer(YES)
    is_refused = error == errno.ECONNREFUSED
    verdict: Verdict = NO if is_refused else UNKNOWN
    what = f"tcp {address[0]}:{address[1]}: {why or os.strerror(error)}"
    return Answer(verdict, what, nobody_listens=is_refused and is_here(address[0]))
