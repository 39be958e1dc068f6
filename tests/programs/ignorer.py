"""ignorer: ignores TERM, INT and HUP; only KILL ends it."""

import os
import signal

for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
print(f"ready (pid: {os.getpid()})", flush=True)
while True:
    signal.pause()
