"""sigwaiter COMMAND...: blocks TERM, takes it with sigwait, and ends its child COMMAND with INT."""

import signal
import subprocess
import sys

signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
child = subprocess.Popen(sys.argv[1:])
signal.sigwait({signal.SIGTERM})
child.send_signal(signal.SIGINT)
child.wait()
