"""polite [CODE]: ends at once on TERM, with exit status CODE (0)."""

import os
import signal
import sys

code = int(sys.argv[1]) if len(sys.argv) > 1 else 0
signal.signal(signal.SIGTERM, lambda *_: os._exit(code))
print(f"ready (pid: {os.getpid()})", flush=True)
while True:
    signal.pause()
