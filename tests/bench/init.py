"""A parent for the benchmark that reaps at once what is orphaned, as the pid 1 of a real host does.

start-stop-daemon and pid-file scripts wait until their process is reaped. The pid 1 of a container may take seconds
for that, or never do it, and that would be counted against them.
"""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable
from contextlib import suppress

# prctl(2). What we fork does not inherit the first, so its orphans come to us, and dies no later than we do.
_PR_SET_CHILD_SUBREAPER, _PR_SET_PDEATHSIG = 36, 1


def with_orphans_reaped(work: Callable[[], int]) -> int:
    """What `work` returns, done in a child; 128 + N where signal N ended that."""
    prctl = ctypes.CDLL(None).prctl
    prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    worker = os.fork()
    if worker == 0:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        return work()
    pidfd = os.pidfd_open(worker)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to the worker, too
    signal.signal(signal.SIGTERM, lambda number, _: _pass_on(pidfd, number))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    while (ended := os.wait())[0] != worker:
        pass
    code = os.waitstatus_to_exitcode(ended[1])
    return code if code >= 0 else 128 - code


def _pass_on(pidfd: int, number: int) -> None:
    with suppress(ProcessLookupError):  # it has just ended
        signal.pidfd_send_signal(pidfd, number)


_SIGNALS = {signal.SIGINT, signal.SIGTERM}
