"""tree [--ignore-term] WIDTH DEPTH: a main process with WIDTH children, each with WIDTH children, DEPTH levels deep.

Says `ready` once the whole tree stands. --ignore-term: every process but the main one ignores TERM. TERM ends the main
process alone, so the rest are survivors.
"""

import os
import signal
import sys

ignore = sys.argv[1] == "--ignore-term"
width, depth = int(sys.argv[-2]), int(sys.argv[-1])


def grow(levels: int, report: int) -> None:
    if levels == 0:
        return
    for _ in range(width):
        if os.fork() == 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN if ignore else signal.SIG_DFL)
            grow(levels - 1, report)
            os.write(report, b".")
            while True:
                signal.pause()


signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
standing, report = os.pipe()
grow(depth, report)
for _ in range(sum(width**level for level in range(1, depth + 1))):
    os.read(standing, 1)
print(f"ready (pid: {os.getpid()})", flush=True)
while True:
    signal.pause()
