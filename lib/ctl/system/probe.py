"""Probes: is it ready, is it drained? Each is asked in a thread of its own, so that one that hangs delays nobody."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from re import Pattern
from typing import Final

from ctl.model.answer import Answer
from ctl.model.match import Unsearched
from ctl.model.program import Account, Program
from ctl.model.service import Argv, Drain, Ready, tcp_address
from ctl.model.verdict import NO, UNKNOWN, YES
from ctl.system.files.places import open_to_read
from ctl.system.regex import BUDGET, Budget, Searcher
from ctl.system.turns import let_others
from ctl.system.wait import Wait, now, until_readable

_ANSWER_WITHIN: Final = 5.0  # seconds for one connection or request, when there is that much time
_CLEAN_UP_WITHIN: Final = 1.0  # seconds for a command that has been killed to be gone
_LONGEST_LINE: Final = 1 << 16  # bytes; a longer one is looked at in parts


# What is asked: it takes the seconds it has, and a descriptor that is readable when it is given up.
Question = Callable[[float, int], Answer]
Probe = Callable[[float], "Attempt"]  # asks, and takes the seconds that it has for that


def in_thread(question: Question) -> Probe:
    """The probe that asks this."""
    return lambda seconds: Attempt(question, seconds)


def probe_of(given: Ready | Drain, program: Program | None) -> Probe | None:
    """The tcp, http or command probe that is given, None where there is none.

    A command runs as `program` does; without one, a command is not asked.
    """
    if given.tcp is not None:
        address = tcp_address(given.tcp)
        return in_thread(lambda seconds, _: tcp(address, seconds))
    if given.http is not None:
        url = given.http
        return in_thread(lambda seconds, _: http(url, seconds))
    if given.command is not None and program is not None:
        return command(given.command, program)
    return None


def tcp(address: tuple[str, int], seconds: float) -> Answer:
    """Yes where a connection is accepted, no where it is refused, unknown where there is neither in time.

    Where nobody listens on a port of this host, one connection in many thousands gets that very port as its own end and
    is connected with itself (RFC 9293, 3.5, simultaneous open): that is a refusal. Asking again and again meets it.
    """
    asked = f"tcp {address[0]}:{address[1]}"
    try:
        with socket.create_connection(address, timeout=min(seconds, _ANSWER_WITHIN)) as connection:
            with contextlib.suppress(OSError):  # accepted, and closed again by the service
                if connection.getsockname() == connection.getpeername():
                    return Answer(NO, os.strerror(errno.ECONNREFUSED), asked)
            return Answer(YES, peer=_peer_of(connection))
    except ConnectionRefusedError as error:
        return Answer(NO, error.strerror or str(error), asked)
    except OSError as error:
        return Answer(UNKNOWN, error.strerror or str(error), asked)


def command(argv: Argv, program: Program) -> Probe:
    """Yes where it exits 0."""
    from ctl.system.hooks import run_command  # what spawns is loaded where something is spawned: start-up time

    return in_thread(lambda seconds, given_up: run_command(argv, program, seconds, given_up))


def http(url: str, seconds: float) -> Answer:
    """Yes where a GET answers 2xx. Redirects and proxies are not followed: the service itself is asked."""
    import http.client
    from urllib.parse import urlsplit

    asked = f"http {url}"
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=min(seconds, _ANSWER_WITHIN))
    try:
        connection.request("GET", (parts.path or "/") + (f"?{parts.query}" if parts.query else ""))
        peer = _peer_of(connection.sock)
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return Answer(UNKNOWN, why, asked)
    finally:
        connection.close()
    return Answer(YES, peer=peer) if 200 <= status < 300 else Answer(NO, f"answered {status}", asked)


def _peer_of(connection: socket.socket) -> tuple[str, int] | None:
    """The numeric address and port at the other end; None where that has closed it already."""
    try:
        host, port, *_ = connection.getpeername()
    except OSError:
        return None
    return host, port


def log_line(path: Path, pattern: Pattern[str], since: int, service: Account | None = None) -> Probe:
    """Yes where a line written after byte `since` matches. Each call reads on where the last one ended.

    `service` is the service's user, as whom the log is read where others could have put another there.
    """
    begun = since  # where the first line begins that has not been seen whole
    asked = f"log {path}"
    answer = Answer(NO, f"no line matches {pattern.pattern!r} yet", asked)

    def look(seconds: float, given_up: int) -> Answer:
        nonlocal begun, answer
        until = now() + seconds
        budget = Budget()
        searcher = Searcher(pattern, "ready.log", _unless(given_up), budget)
        try:
            with open(open_to_read(path, service), "rb") as log:
                log.seek(begun)
                while (line := log.readline(_LONGEST_LINE)) and now() < until:
                    budget.left = min(BUDGET, until - now())  # one line does not take what the next one needs
                    try:
                        if searcher.search(line.decode(errors="replace").rstrip("\r\n")):
                            return Answer(YES)
                    except Unsearched as error:
                        answer = Answer(UNKNOWN, f"{error} on one of its lines", asked)
                    if len(line) == _LONGEST_LINE or line.endswith(b"\n"):
                        begun += len(line)
        except OSError as error:
            return Answer(UNKNOWN, error.strerror or str(error), asked)
        return answer

    return in_thread(look)


def _unless(given_up: int) -> Wait:
    """Waits until the question is given up, at most; then there is no time left for anything."""

    def wait(fds: Iterable[int], until: float) -> set[int]:
        ready = until_readable((*fds, given_up), until)
        if given_up in ready:
            raise TimeoutError
        return ready

    return wait


class Attempt:
    """A question under way, in a thread of its own: whatever hangs delays nobody.

    Where no thread is to be had, it is asked here and now, and heeds no interrupt meanwhile.
    """

    def __init__(self, question: Question, seconds: float) -> None:
        self.until = now() + seconds  # from then on there is nothing to wait for
        self.fd = os.eventfd(0, os.EFD_CLOEXEC)  # readable when there is an answer
        self._answer = Answer(UNKNOWN, f"no answer in {seconds:.3g} s")
        try:
            self._given_up = os.eventfd(0, os.EFD_CLOEXEC)
        except OSError:
            os.close(self.fd)
            raise
        self._closing = threading.Lock()
        self._closed = False
        thread = threading.Thread(target=self._run, args=(question, seconds), name="probe", daemon=True)
        self._thread: threading.Thread | None = thread
        try:
            thread.start()
        except RuntimeError:
            self._thread = None
            self._run(question, seconds)

    def close(self) -> Answer:
        """The answer; unknown where there is none yet, and then the question is given up.

        A command is gone then; a thread that hangs in the resolver is left.
        """
        os.eventfd_write(self._given_up, 1)
        if self._thread is not None:
            with let_others():
                self._thread.join(_CLEAN_UP_WITHIN)
        with self._closing:
            self._closed = True
            os.close(self.fd)
            if self._thread is None or not self._thread.is_alive():
                os.close(self._given_up)
            return self._answer

    def _run(self, question: Question, seconds: float) -> None:
        try:
            answer = question(seconds, self._given_up)
        except Exception as error:  # noqa: BLE001 - a probe never takes ctl down
            answer = Answer(UNKNOWN, f"{type(error).__name__}: {error}")
        with self._closing:
            if not self._closed:
                self._answer = answer
                os.eventfd_write(self.fd, 1)
