"""ctl killed at any of its system calls: strace lists them, then runs ctl again and kills it as one of them begins.

What was measured with strace 6.1: `--inject=NAME:signal=KILL:when=K` counts the calls of that name by the traced
process alone, from its execve on, and the K-th does *not* run: KILL arrives as the call is entered. strace then ends by
SIGKILL itself, so the exit status is -9. Without -f only the main thread is traced and killed with its whole process;
children go on untraced, as they would in a real accident.
"""

from __future__ import annotations

import os
import re
import signal
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from support.requires import requires_strace
from support.sandbox import Result, Sandbox

_CALL = re.compile(r"^([a-z_][a-z0-9_]*)\(")


@dataclass(frozen=True)
class Call:
    """The nth call of its name."""

    name: str
    nth: int
    line: str

    def __str__(self) -> str:
        return f"{self.name} #{self.nth}: {self.line[:120]}"


def calls(sandbox: Sandbox, *args: object) -> list[Call]:
    """The system calls of one run of ctl, in order, up to its end."""
    requires_strace()
    output = sandbox.tmp / "strace"
    sandbox.ctl(*args, prefix=["strace", "-s", "200", "-o", output])
    names: Counter[str] = Counter()
    found = []
    for line in output.read_text(encoding="utf-8", errors="replace").splitlines():
        if match := _CALL.match(line):
            names[match[1]] += 1
            found.append(Call(match[1], names[match[1]], line))
    return found


def since(found: Sequence[Call], text: str) -> list[Call]:
    """From the first call whose line holds `text` on: what comes before is the start of the interpreter."""
    first = next((index for index, call in enumerate(found) if text in call.line), None)
    assert first is not None, f"no system call with {text!r}"
    return list(found[first:])


def kill_at(sandbox: Sandbox, call: Call, *args: object) -> Result:
    """Runs ctl and kills it as it enters this call. Where it made fewer such calls this time, it comes to its end."""
    inject = f"--inject={call.name}:signal=KILL:when={call.nth}"
    return sandbox.ctl(*args, prefix=["strace", "-o", "/dev/null", inject])


def was_killed(result: Result) -> bool:
    return result.rc == -signal.SIGKILL


def at_each(found: Sequence[Call], check: Callable[[Call], None]) -> None:
    """Runs `check` for every call, side by side on the cores there are, and fails with all that failed."""

    def complaint(call: Call) -> str | None:
        try:
            check(call)
        except (Exception, pytest.fail.Exception) as error:  # pytest's own is no Exception
            return f"killed at {call}\n{type(error).__name__}: {error}"
        return None

    with ThreadPoolExecutor(len(os.sched_getaffinity(0)) + 1) as pool:
        failed = [text for text in pool.map(complaint, found) if text]
    assert not failed, f"{len(failed)} of {len(found)}:\n" + "\n\n".join(failed[:10])
