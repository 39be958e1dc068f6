"""recorder [FILE [ANYTHING...]]: lives until KILL and writes a line for every signal it gets, with its sender.

The signals are blocked and taken one by one, lowest number first. So a line for SIGRTMAX means that every signal sent
before it has had its line: a test can prove that a process was *not* signalled without waiting for nothing to happen.
"""

import os
import signal
import sys

if sys.argv[1:] and sys.argv[1] != "-":
    os.dup2(os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644), 1)
everything = set(range(1, signal.NSIG)) - {signal.SIGKILL, signal.SIGSTOP, 32, 33}
signal.pthread_sigmask(signal.SIG_BLOCK, everything)
print(f"ready (pid: {os.getpid()})", flush=True)
while True:
    info = signal.sigwaitinfo(everything)
    name = signal.Signals(info.si_signo).name.removeprefix("SIG")
    print(f"got {name} from {info.si_pid}", flush=True)
