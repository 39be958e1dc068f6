"""conf/examples/web@.toml and its web.py: stopped and restarted under load, without one lost request."""

from __future__ import annotations

import http.client
import itertools
import signal
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from support.bystander import assert_untouched, start_bystander
from support.examples import EXAMPLES, assert_adopted, assert_full_circle, define, uid_of, user_of
from support.requires import requires
from support.sandbox import Sandbox
from support.waiting import TIMEOUT, wait_gone, wait_until

pytestmark = pytest.mark.xdist_group("web")

USER = user_of("www-data")
NOTICE = 0.5  # seconds


@pytest.fixture
def web(sandbox: Sandbox) -> Sandbox:
    requires("curl")
    if not Path("/usr/bin/python3").exists():
        pytest.skip("needs /usr/bin/python3")
    here = {
        "/opt/web": str(EXAMPLES),
        'user = "www-data"': f'user = "{USER}"',
        '"--notice", "2"': f'"--notice", "{NOTICE}"',
    }
    define(sandbox, "web@", here)
    return sandbox


class LoadBalancer:
    """Sends requests to the ports that say they are ready, from several threads, and keeps account of them."""

    def __init__(self, ports: Sequence[int]) -> None:
        self.served: list[int] = []  # the port of each
        self.lost: list[str] = []
        self._ports = ports
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._send, args=(number,)) for number in range(4)]

    @contextmanager
    def sending(self) -> Iterator[None]:
        for thread in self._threads:
            thread.start()
        try:
            wait_until(lambda: {*self.served} == {*self._ports}, "every port has served a request")
            yield
        finally:
            self._over.set()
            for thread in self._threads:
                thread.join(TIMEOUT)

    def _send(self, first: int) -> None:
        for number in itertools.count(first):
            if self._over.is_set():
                return
            self._send_to(self._ports[number % len(self._ports)])

    def _send_to(self, port: int) -> None:
        asked = time.monotonic()
        ready = False
        with suppress(OSError, http.client.HTTPException):  # who does not answer that is not ready
            ready = ask(port, "/ready")[0] == 200
        if ready:
            self._send_one(port, asked + NOTICE)

    def _send_one(self, port: int, until: float) -> None:
        """A request for which the port has asked. Who connects later than `until` is a busy machine's affair."""
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
        connected = 0.0
        try:
            connection.connect()
            connected = time.monotonic()
            assert get(connection, "/?seconds=0.02") == (200, "done\n")
            self.served.append(port)
        except (OSError, http.client.HTTPException, AssertionError) as error:
            if (connected or time.monotonic()) < until:
                self.lost.append(f"{port}: {error!r}")
        finally:
            connection.close()


def ask(port: int, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
    try:
        return get(connection, path)
    finally:
        connection.close()


def get(connection: http.client.HTTPConnection, path: str) -> tuple[int, str]:
    connection.request("GET", path)
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


class Request(threading.Thread):
    """One that takes its time."""

    def __init__(self, port: int, seconds: float) -> None:
        super().__init__()
        self.answer: object = None
        self._port, self._seconds = port, seconds
        self.start()
        wait_until(lambda: ask(port, "/drained")[0] == 503, "it is under way")

    def run(self) -> None:
        try:
            self.answer = ask(self._port, f"/?seconds={self._seconds}")
        except (OSError, http.client.HTTPException) as error:
            self.answer = error


def test_web(web: Sandbox, port: int) -> None:
    name = f"web@{port}"
    assert_full_circle(web, name)
    command = ["/usr/bin/python3", f"{EXAMPLES}/web.py", "--notice", str(NOTICE), "--port", str(port)]
    words = start_bystander(web.reaper, web.programs("recorder", "-", *command, "0"))
    by_hand = web.reaper.start(command, user=uid_of(USER), ready=None, cwd="/")
    wait_until(lambda: _answers(port), "it answers")
    assert_adopted(web, name, by_hand.pid)
    assert by_hand.wait() == 0
    assert_untouched(words)


def _answers(port: int) -> bool:
    try:
        return ask(port, "/ready")[0] == 200
    except OSError:
        return False


def test_stop_under_load_loses_no_request(web: Sandbox, port: int) -> None:
    name = f"web@{port}"
    web.ctl("start", name).expect(0)
    request = Request(port, 1.5)
    balancer = LoadBalancer([port])
    with balancer.sending():
        stopped = web.ctl("stop", name, "--json").expect(0).one
    request.join(TIMEOUT)
    assert request.answer == (200, "done\n")
    assert balancer.lost == []
    assert stopped["drained"] is True
    assert [sent["signal"] for sent in stopped["signals"]] == ["TERM"]


def test_term_serves_who_has_connected(web: Sandbox, port: int) -> None:
    """Without a drain, and although nobody has accepted the connection yet."""
    web.ctl("start", f"web@{port}").expect(0)
    pidfd = web.adopt(f"web@{port}")
    under_way = Request(port, 0.5)
    signal.pidfd_send_signal(pidfd, signal.SIGSTOP)
    clients = [socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT) for _ in range(20)]
    try:
        for client in clients:
            client.sendall(b"GET /?seconds=0.1 HTTP/1.0\r\n\r\n")
        signal.pidfd_send_signal(pidfd, signal.SIGTERM)
        signal.pidfd_send_signal(pidfd, signal.SIGCONT)
        answers = [b"".join(iter(lambda: client.recv(4096), b"")) for client in clients]  # noqa: B023 - used at once
    finally:
        for client in clients:
            client.close()
    assert [answer[-5:] for answer in answers] == [b"done\n"] * 20
    under_way.join(TIMEOUT)
    assert under_way.answer == (200, "done\n")
    wait_gone(pidfd)


def test_rolling_restart_under_load_loses_no_request(web: Sandbox, ports: list[int]) -> None:
    names = [f"web@{port}" for port in ports]
    web.ctl("start", *names).expect(0)
    balancer = LoadBalancer(ports)
    with balancer.sending():
        restarted = web.ctl("restart", "web@", "--rolling", "1", "--json").expect(0)
        served = len(balancer.served)
        wait_until(lambda: {*balancer.served[served:]} == {*ports}, "both serve again")
    assert {name: result["reason"] for name, result in restarted.by_target.items()} == dict.fromkeys(names, "started")
    assert balancer.lost == []
