"""Turns what is at a path, again and again, until it is killed.

turner.py exchange ONE OTHER     the two names are swapped, renameat2(2)
turner.py replace FILE TARGET    FILE is a new file, then a link to TARGET
"""

import contextlib
import ctypes
import os
import sys

RENAME_EXCHANGE = 2
AT_FDCWD = -100

how, path, other = sys.argv[1:]
new = f"{path}.turner"
print(f"ready (pid: {os.getpid()})", flush=True)
libc = ctypes.CDLL(None)
while how == "exchange":
    libc.renameat2(AT_FDCWD, os.fsencode(path), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE)
while how == "replace":
    with contextlib.suppress(OSError):
        with open(new, "w", encoding="ascii"):
            os.rename(new, path)
        os.symlink(other, new)
        os.rename(new, path)
