"""Searches texts for patterns that may take for ever: a program of its own, which can be killed.

Python's re hands back neither the interpreter nor a signal before it has found its answer. Who waits for this program
may stop waiting. Should ctl itself be killed meanwhile, the alarm ends it: it would be deaf to all else, and the death
signal of prctl(2) comes when the thread that has started it ends.

    python -I -S regex_child.py        on stdin: a line of JSON for each search; on stdout: one for each answer
"""

import _signal  # type: ignore[import-not-found]  # signal would take longer to import than most searches do
import json
import re
import sys


def main() -> None:
    _signal.signal(_signal.SIGALRM, _signal.SIG_DFL)
    for line in sys.stdin.buffer:
        asked = json.loads(line)
        _signal.setitimer(_signal.ITIMER_REAL, asked["seconds"])
        found = re.compile(asked["pattern"], asked["flags"]).search(asked["text"])
        _signal.setitimer(_signal.ITIMER_REAL, 0)
        answer = None if found is None else [found[0], found.groupdict()]
        sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
