#!/usr/bin/env python3
"""A web server that loses no request when it is stopped: the program of web@.toml, to learn from or to copy.

GET /ready    200 while it wants requests, else 503: for the health check of a load balancer, and for `ctl start`
POST /drain   it wants no more: /ready answers 503 from now on, but who comes is served, since nobody knows it yet
GET /drained  200 when no request is under way and every load balancer has had the time to notice, else 503
GET /         the work, which takes ?seconds=S

On TERM it accepts nobody any more, finishes what has been accepted, and ends.
"""

from __future__ import annotations

import argparse
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

LONGEST = 60.0  # seconds


class Server(ThreadingHTTPServer):
    """Knows how many requests are under way, and since when it is to be left alone."""

    daemon_threads = False  # server_close() waits for all who are being served
    request_queue_size = 128
    timeout = 0  # of handle_request()

    def __init__(self, port: int, notice: float) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self._notice = notice
        self._lock = threading.Lock()
        self._under_way = 0
        self._draining_since: float | None = None
        self._backlog = True

    @contextmanager
    def work(self) -> Iterator[None]:
        with self._lock:
            self._under_way += 1
        try:
            yield
        finally:
            with self._lock:
                self._under_way -= 1

    def drain(self) -> None:
        with self._lock:
            self._draining_since = self._draining_since or time.monotonic()

    @property
    def wants_requests(self) -> bool:
        with self._lock:
            return self._draining_since is None

    def drained(self) -> tuple[bool, str]:
        """Whether it is, and why it is not. Without having been told to drain it is whenever it has nothing to do."""
        with self._lock:
            since = self._draining_since
            if since is not None and time.monotonic() < since + self._notice:
                return False, "load balancers may not have noticed yet"
            return not self._under_way, f"{self._under_way} requests under way"

    def finish(self) -> None:
        """Serve who has connected already: closing the listening socket would reset those whom nobody has accepted."""
        self.shutdown()
        while self._backlog:
            self.handle_request()
        self.server_close()

    def handle_timeout(self) -> None:
        self._backlog = False


class Handler(BaseHTTPRequestHandler):
    """HTTP/1.0: one request per connection, so that none is kept alive that nobody would close."""

    server: Server
    timeout = 30  # seconds for a client that sends nothing

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if url.path == "/ready":
            ready = self.server.wants_requests
            self._answer(200 if ready else 503, "ready" if ready else "draining")
        elif url.path == "/drained":
            drained, why = self.server.drained()
            self._answer(200 if drained else 503, why)
        elif url.path == "/":
            with self.server.work():
                seconds = min(float(parse_qs(url.query).get("seconds", ["0"])[0]), LONGEST)
                time.sleep(seconds)  # noqa: TID251 - this is the work
                self._answer(200, "done")
        else:
            self._answer(404, "no such page")

    def do_POST(self) -> None:
        if urlsplit(self.path).path != "/drain":
            self._answer(404, "no such page")
            return
        self.server.drain()
        self._answer(200, "draining")

    def _answer(self, status: int, text: str) -> None:
        body = f"{text}\n".encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    """Serve until TERM or INT."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--notice", type=float, default=2.0, help="seconds in which every load balancer asks /ready")
    options = parser.parse_args()
    ends_on = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends_on)  # in every thread: sigwait() alone takes them
    server = Server(options.port, options.notice)
    threading.Thread(target=server.serve_forever, args=(0.05,)).start()
    signal.sigwait(ends_on)
    server.finish()


if __name__ == "__main__":
    main()
