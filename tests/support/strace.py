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
# After these, nothing but the caller has changed. Of any other call it is taken that it changes something.
_HARMLESS = frozenset(
    "access brk dup dup2 dup3 epoll_create1 epoll_ctl faccessat2 fcntl fstat fsync futex getcwd getdents64 "
    "getegid geteuid getgid getgroups getpgid getpid getppid getrandom getsid gettid getuid ioctl lseek lstat "
    "madvise mmap mprotect munmap newfstatat pipe2 pread64 readlink readlinkat rt_sigaction rt_sigprocmask "
    "sigaltstack socket stat statx sysinfo umask uname".split()
)
_A_LOOK = re.compile(r"poll\(.*, 0\) += ")  # a poll(2) that does not wait


@dataclass(frozen=True)
class Call:
    """The nth call of its name."""

    name: str
    nth: int
    line: str

    def __str__(self) -> str:
        return f"{self.name} #{self.nth}: {self.line[:120]}"


def calls(sandbox: Sandbox, *args: object, options: Sequence[str] = ()) -> list[Call]:
    """The system calls of one run of ctl, in order, up to its end. `options` of strace: -y names open files."""
    requires_strace()
    output = sandbox.tmp / "strace"
    sandbox.ctl(*args, prefix=["strace", "-s", "200", *options, "-o", output])
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


def changes(found: Sequence[Call]) -> list[Call]:
    """Those that change, or wait for, anything outside of the caller: from one to the next, all stays as it is.

    So ctl, killed as each of these begins, leaves behind whatever it can leave behind.
    """
    only_read: set[str] = set()  # open descriptors by which nobody is changed or waited for
    return [call for call in found if not _is_harmless(call, only_read)]


def _is_harmless(call: Call, only_read: set[str]) -> bool:
    result = call.line.rpartition(" = ")[2].split(" ")[0]
    if call.name in {"openat", "pidfd_open", "eventfd2"} and "O_CREAT" not in call.line and "O_TRUNC" not in call.line:
        only_read.add(result)
        return True
    if call.name in {"read", "close"}:
        descriptor = re.split(r"[(,)]", call.line)[1]
        harmless = descriptor in only_read
        only_read -= {descriptor} if call.name == "close" else set()
        return harmless
    return call.name in _HARMLESS or result == "-1" or bool(_A_LOOK.match(call.line))


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
