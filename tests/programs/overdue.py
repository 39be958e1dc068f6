"""overdue FILE: ignores TERM and INT; at its start and at each of these FILE says `PID SECONDS`, of CLOCK_MONOTONIC."""

import os
import signal
import sys
import time


def note() -> None:
    partial = f"{sys.argv[1]}.{os.getpid()}"
    with open(partial, "w", encoding="ascii") as file:
        file.write(f"{os.getpid()} {time.monotonic()!r}\n")
    os.rename(partial, sys.argv[1])


for asked in (signal.SIGTERM, signal.SIGINT):  # pm2 asks with INT
    signal.signal(asked, lambda *_: note())
note()
print(f"ready (pid: {os.getpid()})", flush=True)
while True:
    signal.pause()
