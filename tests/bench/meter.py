"""Runs the command that is in a file, and writes what it took into that file instead.

The file is its only argument: what had the command in its own, pgrep -f would find, and pkill -f kill.

Peak memory counts from the fork on, and a forked child is at first as large as its parent: so this is a small one.
When it began and ended (seconds of CLOCK_MONOTONIC), seconds of processors, KiB at the peak, and the exit status.
"""

import os
import sys
import time

with open(sys.argv[1], "rb") as given:
    command = given.read().split(b"\0")
began = time.monotonic()
child = os.posix_spawnp(command[0], command, os.environ)
_, status, used = os.wait4(child, 0)
ended = time.monotonic()
with open(sys.argv[1], "w", encoding="ascii") as out:
    out.write(f"{began} {ended} {used.ru_utime + used.ru_stime} {used.ru_maxrss} {os.waitstatus_to_exitcode(status)}")
