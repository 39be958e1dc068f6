"""env_dump PATH: writes all it inherited, as JSON, to PATH (whole or not at all), then waits for TERM."""

import os
import sys

# Before the interpreter's own modules open or set anything: what was inherited, nothing else.
fds = {}
for entry in os.listdir("/proc/self/fd"):
    if os.path.islink(f"/proc/self/fd/{entry}"):
        fds[entry] = os.readlink(f"/proc/self/fd/{entry}")
with open("/proc/self/status", encoding="ascii", errors="replace") as file:
    status = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)

import json  # noqa: E402
import resource  # noqa: E402
import signal  # noqa: E402


def signals(mask: str) -> list[str]:
    numbers = [number for number in range(1, 65) if int(status[mask], 16) >> (number - 1) & 1]
    return [signal.Signals(number).name.removeprefix("SIG") if number < 32 else str(number) for number in numbers]


umask = os.umask(0)
os.umask(umask)
seen = {
    "argv": sys.argv,
    "pid": os.getpid(),
    "ppid": os.getppid(),
    "pgid": os.getpgid(0),
    "sid": os.getsid(0),
    "environ": dict(os.environ),
    "uids": list(os.getresuid()),
    "gids": list(os.getresgid()),
    "groups": os.getgroups(),
    "umask": umask,
    "cwd": os.getcwd(),
    "nice": os.getpriority(os.PRIO_PROCESS, 0),
    "limits": {
        name[7:].lower(): resource.getrlimit(getattr(resource, name))
        for name in dir(resource)
        if name.startswith("RLIMIT_")
    },
    "fds": fds,
    # Python itself ignores PIPE and XFSZ: SigIgn of a Python program always holds these two.
    "ignored": signals("SigIgn"),
    "blocked": signals("SigBlk"),
    "no_new_privs": status.get("NoNewPrivs"),
    "capabilities": status.get("CapEff"),
}
with open(sys.argv[1] + ".new", "w", encoding="utf-8", errors="surrogateescape") as file:
    json.dump(seen, file, indent=1)
os.rename(sys.argv[1] + ".new", sys.argv[1])
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
print(f"ready (pid: {os.getpid()})", flush=True)
while True:
    signal.pause()
