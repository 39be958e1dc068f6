"""stubborn N: ends on the Nth TERM; a line `got TERM K` for each."""

import os
import signal
import sys

signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
print(f"ready (pid: {os.getpid()})", flush=True)
for number in range(1, int(sys.argv[1]) + 1):
    signal.sigwait({signal.SIGTERM})
    print(f"got TERM {number}", flush=True)
