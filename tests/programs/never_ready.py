"""never_ready: runs and writes to its log, but opens no port, notifies nobody, and ends on TERM."""

import os
import signal

signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
print("waiting for a database that will never come", flush=True)
print(f"ready (pid: {os.getpid()})", flush=True)
while True:
    signal.pause()
