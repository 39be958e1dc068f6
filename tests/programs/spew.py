"""spew MEGABYTES: writes that much to stdout in lines of 64 bytes, then says it is ready and waits for TERM."""

import os
import signal
import sys

signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
block = b"".join(b"%062d.\n" % number for number in range(16384))
for _ in range(int(sys.argv[1])):
    sys.stdout.buffer.write(block)
print(f"ready (pid: {os.getpid()})", flush=True)
while True:
    signal.pause()
