"""forker --pidfile PATH | --no-pidfile [--ignore-term] [--die] [--hang]: a classic daemon.

The command forks twice and exits with 0 once the daemon has written its own pid to PATH. --die: the daemon ends as soon
as the command has. --hang: the command itself never exits.
"""

import os
import signal
import sys

options = sys.argv[1:]
pid_file = options[options.index("--pidfile") + 1] if "--pidfile" in options else None


def daemon(report: int) -> None:
    os.setsid()
    if os.fork():
        os._exit(0)
    os.chdir("/")
    signal.signal(signal.SIGTERM, signal.SIG_IGN if "--ignore-term" in options else lambda *_: os._exit(0))
    if pid_file:
        with open(pid_file + ".new", "w", encoding="ascii") as file:
            file.write(f"{os.getpid()}\n")
        os.chmod(pid_file + ".new", 0o644)
        os.rename(pid_file + ".new", pid_file)
    print(f"ready (pid: {os.getpid()})", flush=True)
    os.close(report)
    if "--die" in options:
        os._exit(1)
    while True:
        signal.pause()


waiting, report = os.pipe()
if os.fork() == 0:
    os.close(waiting)
    daemon(report)
os.close(report)
os.read(waiting, 1)
while "--hang" in options:
    signal.pause()
