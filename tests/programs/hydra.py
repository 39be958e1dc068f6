"""hydra HEADS BOUND: a main process and HEADS others, each in a session of its own.

Whoever gets TERM, and every head whose main process has ended, forks two more such heads and ends, until BOUND have
been born; from then on they ignore TERM. A line `born (pid: N)` for each.
"""

import os
import select
import signal
import sys

heads, bound = int(sys.argv[1]), int(sys.argv[2])
tokens, fill = os.pipe()
os.set_blocking(tokens, False)
os.write(fill, b"." * bound)
main = os.pidfd_open(os.getpid())
woken, wake = os.pipe()
os.set_blocking(wake, False)
signal.set_wakeup_fd(wake)
signal.signal(signal.SIGTERM, lambda *_: None)


def has_token() -> bool:
    try:
        return bool(os.read(tokens, 1))
    except BlockingIOError:
        return False


def grow(number: int) -> None:
    """Fork that many heads, each of which lives on in `live`."""
    global woken, wake
    for _ in range(number):
        if has_token() and os.fork() == 0:
            os.setsid()
            woken, wake = os.pipe()
            os.set_blocking(wake, False)
            signal.set_wakeup_fd(wake)
            print(f"born (pid: {os.getpid()})", flush=True)
            live([main, woken])


def live(events: list[int]) -> None:
    while True:
        ready, _, _ = select.select(events, [], [])
        if woken in ready:
            os.read(woken, 64)
        if not select.select([tokens], [], [], 0)[0]:
            events = [woken]  # the bound is reached: TERM is ignored
            continue
        grow(2)
        os._exit(0)


grow(heads)
print(f"ready (pid: {os.getpid()})", flush=True)
live([woken])
