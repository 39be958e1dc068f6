"""slow_stop SECONDS|FIFO: says "stopping" on TERM, ends SECONDS later, and no earlier for a second TERM.

With a FIFO it ends once that was written to.
"""

import os
import signal
import sys
import time

signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
print(f"ready (pid: {os.getpid()})", flush=True)
signal.sigwait({signal.SIGTERM})
print("stopping", flush=True)
if "/" in sys.argv[1]:
    with open(sys.argv[1], encoding="ascii") as fifo:
        fifo.read()
else:
    time.sleep(float(sys.argv[1]))
print("stopped", flush=True)
