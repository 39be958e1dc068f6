"""database PID_FILE SIGNAL: says each of HUP, INT, QUIT and TERM that it gets, and ends by SIGNAL."""

import os
import signal
import sys

file, ends_by = sys.argv[1:]


def got(number: int, _: object) -> None:
    name = signal.Signals(number).name.removeprefix("SIG")
    os.write(1, f"{os.getpid()} got {name}\n".encode())
    if name == ends_by:
        os._exit(0)


for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
    signal.signal(number, got)
with open(f"{file}.new", "w", encoding="ascii") as new:
    new.write(f"{os.getpid()}\n")
os.rename(f"{file}.new", file)
print(f"ready (pid: {os.getpid()})", flush=True)
while True:
    signal.pause()
