"""listener [--port N] [--port-file PATH] [--gate FIFO] [--bad]: answers tcp, and every HTTP request with 200 or 503.

It says `listening on PORT` (a free one for 0), and writes it to --port-file. It listens only once FIFO was written to.
USR1 turns 200 into 503 and back (`healthy` / `unhealthy` on stdout); --bad begins with 503. TERM ends it.
"""

import contextlib
import os
import select
import signal
import socket
import sys

options = sys.argv[1:]


def value(name: str) -> str | None:
    return options[options.index(name) + 1] if name in options else None


answers = [b"200 OK", b"503 Service Unavailable"]
if "--bad" in options:
    answers.reverse()


def toggle(*_: object) -> None:
    answers.reverse()
    print("healthy" if answers[0].startswith(b"200") else "unhealthy", flush=True)


signal.signal(signal.SIGUSR1, toggle)
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
print(f"ready (pid: {os.getpid()})", flush=True)
if gate := value("--gate"):
    with open(gate, encoding="ascii") as file:
        file.read()
server = socket.create_server(("127.0.0.1", int(value("--port") or 0)))
port = server.getsockname()[1]
if port_file := value("--port-file"):
    with open(port_file + ".new", "w", encoding="ascii") as file:
        file.write(f"{port}\n")
    os.rename(port_file + ".new", port_file)
print(f"listening on {port}", flush=True)
while True:
    client, _ = server.accept()
    with client:
        # A tcp probe connects and says nothing: one second at most is spent on it.
        if select.select([client], [], [], 1)[0] and client.recv(65536):
            with contextlib.suppress(OSError):
                client.sendall(b"HTTP/1.1 %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % answers[0])
