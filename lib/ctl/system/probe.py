"""Probes: is it ready, is it drained? Each runs in a thread of its own, so that one that hangs delays nobody."""

from __future__ import annotations

import os
import select
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from re import Pattern
from typing import Final

from ctl.model.service import Drain, Ready, tcp_address
from ctl.system import procfs
from ctl.system.environment import given
from ctl.system.pidfd import open_handle, open_pidfd
from ctl.system.spawn import Program, new_run_id

_ANSWER_WITHIN: Final = 5.0  # seconds for one connection or request, when there is that much time
_OUTPUT_KEPT: Final = 1024  # characters of a chunk of a command's output
_CHUNKS_KEPT: Final = 4
_CLEAN_UP_WITHIN: Final = 1.0  # seconds for a command that has been killed to be gone
_LOG_KEPT: Final = 1 << 20  # bytes of a log in which a line is looked for at a time

# A probe takes the seconds it has and a descriptor that is readable when it is given up. It returns None where it is
# positive, else one line that says why it is not.
Probe = Callable[[float, int], str | None]


def probe_of(given: Ready | Drain, program: Program | None) -> Probe | None:
    """The tcp, http or command probe that is given, None where there is none. A command runs as `program` does."""
    if given.tcp is not None:
        address = tcp_address(given.tcp)
        return lambda seconds, _: tcp(address, seconds)
    if given.http is not None:
        url = given.http
        return lambda seconds, _: http(url, seconds)
    if given.command is not None:
        argv = given.command
        return lambda seconds, given_up: command(argv, program, seconds, given_up)
    return None


def tcp(address: tuple[str, int], seconds: float) -> str | None:
    """Positive where a connection is accepted."""
    try:
        socket.create_connection(address, timeout=min(seconds, _ANSWER_WITHIN)).close()
    except OSError as error:
        return f"tcp {address[0]}:{address[1]}: {error.strerror or error}"
    return None


def http(url: str, seconds: float) -> str | None:
    """Positive where a GET answers 2xx. Redirects and proxies are not followed: the service itself is asked."""
    import http.client
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=min(seconds, _ANSWER_WITHIN))
    try:
        connection.request("GET", (parts.path or "/") + (f"?{parts.query}" if parts.query else ""))
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException, ValueError) as error:
        return f"http {url}: {getattr(error, 'strerror', None) or str(error) or type(error).__name__}"
    finally:
        connection.close()
    return None if 200 <= status < 300 else f"http {url}: answered {status}"


def log_line(path: Path, pattern: Pattern[str], since: int) -> Probe:
    """Positive where a line written after byte `since` matches."""

    def look(_seconds: float, _given_up: int) -> str | None:
        try:
            with path.open("rb") as log:
                log.seek(max(since, path.stat().st_size - _LOG_KEPT))
                written = log.read(_LOG_KEPT).decode(errors="replace")
        except OSError as error:
            return f"log {path}: {error.strerror}"
        found = any(pattern.search(line) for line in written.splitlines())
        return None if found else f"log {path}: no line matches {pattern.pattern!r} yet"

    return look


def command(argv: tuple[str, ...], program: Program | None, seconds: float, given_up: int) -> str | None:
    """Positive where it exits 0. What it leaves running when it ends, or is given up, is killed."""
    import sh

    run_id = new_run_id()
    output: list[str] = []
    in_time = True
    environment = (dict(given()) if program is None else program.environment) | {"CTL_RUN_ID": run_id}
    try:
        running = sh.Command(argv[0])(
            *argv[1:],
            _bg=True,
            _bg_exc=False,
            _return_cmd=True,
            _new_session=True,
            _tty_out=False,
            _decode_errors="replace",
            _out=lambda chunk: _keep(output, chunk),
            _err=lambda chunk: _keep(output, chunk),
            _env=environment,
            _cwd=None if program is None else program.directory,
            _uid=None if program is None or program.account is None else program.account.uid,
        )
        in_time = _await_end(running.pid, seconds, given_up)
        _kill_run(run_id)
        running.wait()
    except sh.CommandNotFound:
        return f"command {argv[0]}: not installed"
    except sh.ErrorReturnCode as error:
        if not in_time:
            return f"command {argv[0]}: no answer in {seconds:.3g} s"
        return f"command {argv[0]}: exit status {error.exit_code}{_last_line(output)}"
    except (OSError, sh.ForkException) as error:
        return f"command {argv[0]}: cannot run: {error}"
    return None


class Attempt:
    """A probe under way."""

    def __init__(self, probe: Probe, seconds: float) -> None:
        self.problem: str | None = f"no answer in {seconds:.3g} s"
        self.fd = os.eventfd(0, os.EFD_CLOEXEC)  # readable when the probe has ended
        self._given_up = os.eventfd(0, os.EFD_CLOEXEC)
        self._closing = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._run, args=(probe, seconds), name="probe", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Give it up where it still runs. A command is gone then; a thread that hangs in the resolver is left."""
        os.eventfd_write(self._given_up, 1)
        self._thread.join(_CLEAN_UP_WITHIN)
        with self._closing:
            self._closed = True
            os.close(self.fd)
            if not self._thread.is_alive():
                os.close(self._given_up)

    def _run(self, probe: Probe, seconds: float) -> None:
        try:
            problem = probe(seconds, self._given_up)
        except Exception as error:  # noqa: BLE001 - a probe never takes ctl down: it is a no with its reason
            problem = f"{type(error).__name__}: {error}"
        with self._closing:
            if not self._closed:
                self.problem = problem
                os.eventfd_write(self.fd, 1)


def _await_end(pid: int, seconds: float, given_up: int) -> bool:
    """Wait for the end of our child. False where its time was over, or it was given up, before."""
    pidfd = open_pidfd(pid)
    if pidfd is None:
        return True
    try:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        poll.register(given_up, select.POLLIN)
        return pidfd in {fd for fd, _ in poll.poll(seconds * 1000)}
    finally:
        os.close(pidfd)


def _keep(output: list[str], chunk: str) -> None:
    """The end of what a command says; it may say megabytes."""
    output.append(chunk[-_OUTPUT_KEPT:])
    del output[:-_CHUNKS_KEPT]


def _last_line(output: list[str]) -> str:
    lines = "".join(output).strip().splitlines()
    return f": {lines[-1]}" if lines else ""


def _kill_run(run_id: str) -> None:
    """Kill what carries this run id: nothing that a probe started outlives it."""
    for pid in procfs.pids():
        try:
            if procfs.read_variable(pid, "CTL_RUN_ID") != run_id:
                continue
            handle = open_handle(pid)
            if handle is None:
                continue
            with handle:
                if procfs.read_variable(pid, "CTL_RUN_ID") == run_id:
                    handle.send("KILL")
        except (procfs.Gone, procfs.Forbidden):
            continue
