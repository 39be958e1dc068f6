"""A command under a seccomp(2) filter that refuses some system calls, as the profiles of containers do."""

from __future__ import annotations

import errno
import sys

_FILTER = """
import ctypes, os, struct, sys
number_of_error, calls, argv = int(sys.argv[1]), [int(call) for call in sys.argv[2].split(",")], sys.argv[3:]
steps = [struct.pack("HBBI", 0x20, 0, 0, 0)]  # BPF_LD | BPF_W | BPF_ABS: the number of the call
for call in calls:
    steps += [struct.pack("HBBI", 0x15, 0, 1, call), struct.pack("HBBI", 0x06, 0, 0, 0x00050000 | number_of_error)]
steps.append(struct.pack("HBBI", 0x06, 0, 0, 0x7FFF0000))
code = ctypes.create_string_buffer(b"".join(steps))
program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(steps), ctypes.addressof(code)))
libc = ctypes.CDLL(None, use_errno=True)
for option, value, pointer in ((38, 1, 0), (22, 2, ctypes.addressof(program))):  # NO_NEW_PRIVS, SECCOMP
    if libc.prctl(option, ctypes.c_ulong(value), ctypes.c_ulong(pointer), 0, 0) != 0:
        sys.exit(os.strerror(ctypes.get_errno()))
os.execv(argv[0], argv)
"""
# The same number everywhere: they are younger than the common table of system calls.
PIDFD_SEND_SIGNAL, PIDFD_OPEN = 424, 434


def refusing(*calls: int, error: int = errno.EPERM) -> list[str]:
    """What to run a command with: `sandbox.ctl("stop", "web", prefix=refusing(PIDFD_OPEN))`."""
    return [sys.executable, "-I", "-S", "-c", _FILTER, str(error), ",".join(map(str, calls))]
