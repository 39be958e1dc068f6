"""nest COMMAND...: a main process that runs COMMAND once, in a session of its own, and adopts all that this leaves.

It is a subreaper, prctl(2). Where COMMAND is still there after a second, it goes on without waiting for its end.
"""

import ctypes
import os
import select
import signal
import subprocess
import sys

PR_SET_CHILD_SUBREAPER = 36

ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
child = subprocess.Popen(sys.argv[1:], start_new_session=True)
select.select([os.pidfd_open(child.pid)], [], [], 1.0)
child.poll()
signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # what it adopts leaves no zombies
print(f"ready (pid: {os.getpid()})", flush=True)
while True:
    signal.pause()
