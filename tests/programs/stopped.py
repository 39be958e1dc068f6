"""stopped: stops itself with SIGSTOP; a TERM that arrives meanwhile ends it only after CONT (it says "ended")."""

import os
import signal


def end(*_: object) -> None:
    print("ended", flush=True)
    os._exit(0)


signal.signal(signal.SIGTERM, end)
print(f"ready (pid: {os.getpid()})", flush=True)
os.kill(os.getpid(), signal.SIGSTOP)
print("continued", flush=True)
while True:
    signal.pause()
