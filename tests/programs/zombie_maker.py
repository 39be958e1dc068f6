"""zombie_maker [FILE]: keeps a dead child that it never reaps, says `zombie (pid: N)`, and ends on TERM."""

import os
import signal
import sys

signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
child = os.fork()
if child == 0:
    os._exit(0)
os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
if len(sys.argv) > 1:
    with open(sys.argv[1] + ".new", "w", encoding="ascii") as file:
        file.write(f"{child}\n")
    os.rename(sys.argv[1] + ".new", sys.argv[1])
print(f"zombie (pid: {child})", flush=True)
print(f"ready (pid: {os.getpid()})", flush=True)
while True:
    signal.pause()
