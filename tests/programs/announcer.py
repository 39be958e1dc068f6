"""announcer log|tcp|notify|fd FILE SECONDS [PORT]: ready after SECONDS, says so in that way, and writes when to FILE.

log: a line "ready" on stdout; tcp: it listens on PORT; notify: READY=1 to $NOTIFY_SOCKET; fd: a newline on its
descriptor 3, as s6 wants it. When: seconds of CLOCK_MONOTONIC.
"""

import os
import signal
import socket
import sys
import time

kind, file, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
server = socket.socket()
if kind == "tcp":
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(("127.0.0.1", int(sys.argv[4])))
time.sleep(seconds)
instant = time.monotonic()
if kind == "log":
    os.write(1, b"ready\n")
elif kind == "tcp":
    server.listen(64)
elif kind == "notify":
    address = os.environ["NOTIFY_SOCKET"]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.sendto(b"READY=1", "\0" + address[1:] if address.startswith("@") else address)
else:
    os.write(3, b"\n")
    os.close(3)
with open(f"{file}.partial", "w", encoding="ascii") as partial:
    partial.write(repr(instant))
os.rename(f"{file}.partial", file)
while True:
    signal.pause()
