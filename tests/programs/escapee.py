"""escapee PID_FILE: a main process that ends on TERM, beside a process of the same service which left it for good.

The escapee is double-forked, has its own session and no living parent, ignores TERM, and writes its pid to PID_FILE.
Only its environment still says which service it belongs to.
"""

import os
import signal
import sys


def escape() -> None:
    os.setsid()
    if os.fork():
        os._exit(0)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    temporary = sys.argv[1] + ".new"
    with open(temporary, "w", encoding="ascii") as file:
        file.write(f"{os.getpid()}\n")
    os.rename(temporary, sys.argv[1])
    os.write(written, b"\n")
    os.close(written)
    while True:
        signal.pause()


ready, written = os.pipe()
middle = os.fork()
if middle == 0:
    escape()
os.waitpid(middle, 0)
os.read(ready, 1)
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
print(f"ready (pid: {os.getpid()})", flush=True)
while True:
    signal.pause()
