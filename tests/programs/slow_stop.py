"""slow_stop SECONDS: says "stopping" on TERM, ends SECONDS later, and no earlier for a second TERM."""

import os
import signal
import sys
import time

signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
print(f"ready (pid: {os.getpid()})", flush=True)
signal.sigwait({signal.SIGTERM})
print("stopping", flush=True)
time.sleep(float(sys.argv[1]))
print("stopped", flush=True)
