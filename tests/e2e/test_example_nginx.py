"""conf/examples/nginx.toml with the real nginx: no request is lost by a reload, a stop or an upgrade."""

from __future__ import annotations

import http.client
import os
import re
import signal
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from support import proc
from support.bystander import assert_untouched, start_bystander
from support.examples import assert_adopted, assert_full_circle, define, open_files
from support.requires import requires
from support.sandbox import Sandbox
from support.waiting import TIMEOUT, wait_gone, wait_until

pytestmark = pytest.mark.xdist_group("nginx")

# What Debian's nginx.conf says, as far as it matters here, with a site that passes everything on.
CONFIG = """
{user}
worker_processes 2;
pid {pid_file};
error_log stderr;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {root}/body; proxy_temp_path {root}/proxy;
    fastcgi_temp_path {root}/fastcgi; uwsgi_temp_path {root}/uwsgi; scgi_temp_path {root}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location = /version {{ return 200 "{version}"; }}
        location / {{ proxy_pass http://127.0.0.1:{upstream}; proxy_buffering off; }}
    }}
}}
"""


class Upstream(ThreadingHTTPServer):
    """Answers a request in two halves, the second when the test says so."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), UpstreamHandler)
        self.asked, self.go_on = threading.Event(), threading.Event()


class UpstreamHandler(BaseHTTPRequestHandler):
    server: Upstream

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "10")
        self.end_headers()
        self.wfile.write(b"first")
        self.server.asked.set()
        self.server.go_on.wait(TIMEOUT)
        self.wfile.write(b" half")

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with Upstream() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.go_on.set()
        server.shutdown()
        thread.join()


class Nginx:
    """The example's parts in a test."""

    def __init__(self, sandbox: Sandbox, port: int, upstream: Upstream) -> None:
        self.sandbox, self.port, self.upstream = sandbox, port, upstream
        self.config, self.pid_file = sandbox.root / "nginx.conf", sandbox.root / "nginx.pid"
        self.configure("one")
        replacements = {
            "-c /etc/nginx/nginx\\.conf": f"-c {re.escape(str(self.config))}",
            "/etc/nginx/nginx.conf": str(self.config),
            "/run/nginx.pid": str(self.pid_file),
            "127.0.0.1:80": f"127.0.0.1:{port}",
        }
        self.command = define(sandbox, "nginx", replacements | open_files())

    def configure(self, version: str) -> None:
        user = "user www-data;" if os.geteuid() == 0 else ""
        settings = CONFIG.format(
            user=user, root=self.sandbox.root, pid_file=self.pid_file, port=self.port,
            upstream=self.upstream.server_port, version=version,
        )  # fmt: skip
        self.config.write_text(settings, encoding="utf-8")

    def get(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=TIMEOUT) as answer:
            body: bytes = answer.read()
        return body.decode()

    def refuses(self) -> bool:
        try:
            self.get("/version")
        except OSError:
            return True
        return False

    def workers(self, master: int) -> set[int]:
        return {pid for pid in proc.children(master) if _title(pid).startswith("nginx: worker process")}


@pytest.fixture
def nginx(sandbox: Sandbox, port: int, upstream: Upstream) -> Iterator[Nginx]:
    requires("nginx")
    nginx = Nginx(sandbox, port, upstream)
    yield nginx
    # Its titles overwrite its environment, and with it the test's mark: the reaper is told whom a failed test has left.
    masters = [pid for pid in proc.pids() if str(nginx.config) in _title(pid)]
    for pid in [*masters, *(worker for master in masters for worker in proc.children(master))]:
        with suppress(ProcessLookupError):
            sandbox.reaper.adopt(pid)


class Request(threading.Thread):
    """A request that the upstream has answered by half."""

    def __init__(self, nginx: Nginx) -> None:
        super().__init__()
        self.nginx, self.answer = nginx, ""
        self.start()
        assert nginx.upstream.asked.wait(TIMEOUT), "the request has reached the upstream"

    def run(self) -> None:
        try:
            self.answer = self.nginx.get("/slow")
        except (OSError, http.client.HTTPException) as error:
            self.answer = repr(error)

    def finish(self) -> str:
        self.nginx.upstream.go_on.set()
        self.join(TIMEOUT)
        return self.answer


def test_nginx(nginx: Nginx) -> None:
    sandbox = nginx.sandbox
    assert_full_circle(sandbox, "nginx")
    assert not nginx.pid_file.exists(), "not even after a kill"

    words = start_bystander(sandbox.reaper, sandbox.programs("recorder", "-", "nginx: master process", *nginx.command))
    by_hand = sandbox.reaper.start(nginx.command, ready=None)
    wait_until(lambda: not nginx.refuses(), "nginx answers")
    assert int(nginx.pid_file.read_text()) == by_hand.pid
    assert_adopted(sandbox, "nginx", by_hand.pid)
    assert by_hand.wait() == 0
    assert_untouched(words)


def test_stop_finishes_the_request_under_way(nginx: Nginx) -> None:
    sandbox = nginx.sandbox
    sandbox.ctl("start", "nginx").expect(0)
    request = Request(nginx)
    stop = sandbox.ctl_popen("stop", "nginx", "--json")
    wait_until(nginx.refuses, "nothing new is accepted")
    assert stop.alive(), "it waits for the request"
    assert request.finish() == "first half"
    stopped = sandbox.collect(stop).expect(0).one
    assert [sent["signal"] for sent in stopped["signals"]] == ["QUIT"]


def test_reload_replaces_the_workers_and_keeps_the_master(nginx: Nginx) -> None:
    sandbox = nginx.sandbox
    master = sandbox.ctl("start", "nginx", "--json").expect(0).one["pid"]
    wait_until(lambda: len(nginx.workers(master)) == 2, "both workers are there")
    before = nginx.workers(master)
    assert nginx.get("/version") == "one"
    request = Request(nginx)
    nginx.configure("two")
    reloaded = sandbox.ctl("reload", "nginx", "--json").expect(0).one
    assert (reloaded["pid"], reloaded["reason"]) == (master, "reloaded")
    wait_until(lambda: nginx.get("/version") == "two", "the new workers answer")
    assert nginx.workers(master) & before, "an old worker still has the request"
    assert request.finish() == "first half"
    wait_until(lambda: not nginx.workers(master) & before, "then it goes")
    status = sandbox.ctl("status", "nginx", "--json").expect(0).one
    assert (status["pid"], status["state"]) == (master, "ready")
    sandbox.ctl("stop", "nginx").expect(0)


def test_upgraded_nginx_is_adopted(nginx: Nginx) -> None:
    """USR2 to the old master, QUIT to it when the new one is there: ctl follows, as the example says."""
    sandbox = nginx.sandbox
    old = sandbox.ctl("start", "nginx", "--json").expect(0).one["pid"]
    pidfd = sandbox.reaper.adopt(old)
    signal.pidfd_send_signal(pidfd, signal.SIGUSR2)
    wait_until(lambda: _number(nginx.pid_file) not in {0, old}, "the new master has written its pid")
    new = _number(nginx.pid_file)
    sandbox.reaper.adopt(new)
    assert sandbox.ctl("status", "nginx", "--json").expect(0).one["pid"] == old, "the parent is the main process"
    wait_until(lambda: bool(nginx.workers(new)), "it has workers")
    signal.pidfd_send_signal(pidfd, signal.SIGQUIT)
    wait_gone(pidfd)
    assert_adopted(sandbox, "nginx", new)
    assert not nginx.pid_file.exists()


def test_stop_amid_an_upgrade_ends_both_masters(nginx: Nginx) -> None:
    sandbox = nginx.sandbox
    old = sandbox.ctl("start", "nginx", "--json").expect(0).one["pid"]
    signal.pidfd_send_signal(sandbox.reaper.adopt(old), signal.SIGUSR2)
    wait_until(lambda: _number(nginx.pid_file) not in {0, old}, "the new master has written its pid")
    new = sandbox.reaper.adopt(_number(nginx.pid_file))
    assert sandbox.ctl("stop", "nginx", "--json").expect(0).one["survivors"] == []
    wait_gone(new)
    assert nginx.refuses()


def _title(pid: int) -> str:
    try:
        return proc.argv(pid)[0] if proc.alive(pid) else ""
    except OSError:
        return ""


def _number(path: Path) -> int:
    try:
        return int(path.read_text())
    except (FileNotFoundError, ValueError):  # it has another name just now, or is empty
        return 0
