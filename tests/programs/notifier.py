"""notifier [--trigger FIFO | --delay SECONDS] [--mainpid]: tells $NOTIFY_SOCKET READY=1 when FIFO is written to.

--mainpid: a child of it becomes the main process, announced by MAINPID=, and it waits for that child.
Datagrams before it: STATUS=, one with an unknown key, so that a reader must parse. TERM ends whoever gets it.
"""

import os
import signal
import socket
import sys
import time

options = sys.argv[1:]


def value(name: str) -> str | None:
    return options[options.index(name) + 1] if name in options else None


def notify(*lines: str) -> None:
    address = os.environ["NOTIFY_SOCKET"]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
        out.connect("\0" + address[1:] if address.startswith("@") else address)
        out.send("\n".join(lines).encode())


signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
main_pid = os.getpid()
if "--mainpid" in options:
    main_pid = os.fork()
    while main_pid == 0:
        signal.pause()
print(f"ready (pid: {main_pid})", flush=True)
notify("STATUS=warming up", "X_UNKNOWN=1")
if fifo := value("--trigger"):
    with open(fifo, encoding="ascii") as trigger:
        trigger.read()
time.sleep(float(value("--delay") or 0))
notify("READY=1", *([f"MAINPID={main_pid}"] if main_pid != os.getpid() else []))
print("notified", flush=True)
if main_pid != os.getpid():
    os.waitpid(main_pid, 0)
while main_pid == os.getpid():
    signal.pause()
