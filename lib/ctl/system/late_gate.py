"""The gate for a service whose user must not be taken on before its limits are set: a program of its own.

prlimit(2) and setpriority(2) on another user's process need CAP_SYS_RESOURCE and CAP_SYS_NICE, which root lacks in most
containers. So this child stays root, limits itself, becomes the user, and then waits at the gate as the shell does.

    python -I -S late_gate.py PROGRAM [ARGUMENT...]        on stdin: a line of JSON, later the line that opens the gate
"""

import json
import os
import resource
import signal
import sys


def main() -> None:
    stdin = os.fdopen(0, "rb", buffering=0, closefd=False)  # nothing of what comes later may be read ahead
    surroundings = json.loads(stdin.readline())
    for kind, bound in surroundings["limits"]:
        resource.setrlimit(kind, (bound, bound))
    if surroundings["nice"] is not None:
        os.setpriority(os.PRIO_PROCESS, 0, surroundings["nice"])
    os.setgroups(surroundings["groups"])
    os.setgid(surroundings["gid"])
    os.setuid(surroundings["uid"])
    words = stdin.readline().split()
    if words[:1] != [b"open"]:
        sys.exit(1)
    for soft in words[1:]:
        resource.setrlimit(resource.RLIMIT_NOFILE, (int(soft), resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    for ignored_by_python in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(ignored_by_python, signal.SIG_DFL)
    argv = sys.argv[1:]
    try:
        os.execvpe(argv[0], argv, surroundings["environment"])
    except OSError as error:
        sys.stderr.write(f"ctl-gate: exec: {argv[0]}: {error.strerror}\n")
        sys.exit(127 if isinstance(error, FileNotFoundError) else 126)


if __name__ == "__main__":
    main()
