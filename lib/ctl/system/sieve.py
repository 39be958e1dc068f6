"""The prefilter of the process table: it drops each process that one cheap question about a rule already excludes.

It exists because reading thousands of processes in full takes several times as long (`bin/bench discovery`). So it
makes as few system calls as the question needs, and no objects.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from typing import Final

from ctl.model.match import Rules
from ctl.system.procfs import DELETED

_CHUNK: Final = 1 << 16  # bytes; of who has more to say it cannot be told what is not in there
_LINKS_OF_ONE_THREAD: Final = 3  # of /proc/PID/task: . and .. and its own, proc_task_getattr() in fs/proc/base.c

# Whether a process cannot satisfy a rule, by its name in /proc and a descriptor of that. Raises ProcessLookupError or
# FileNotFoundError where its first thread says nothing, another OSError where it may not be asked.
_Excludes = Callable[[str, int], bool]


def worth_a_look(rules: Rules) -> Iterator[int]:
    """The processes that may satisfy the rules, and those that could not be asked. The others do not satisfy them."""
    questions = tuple(_questions(rules))
    proc = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)  # one step less for the kernel in each path
    try:
        for name in os.listdir(proc):
            if name.isdecimal() and not _is_excluded(name, proc, questions):
                yield int(name)
    finally:
        os.close(proc)


def _is_excluded(name: str, proc: int, questions: tuple[_Excludes, ...]) -> bool:
    for excludes in questions:
        try:
            if excludes(name, proc):
                return True
        except (ProcessLookupError, FileNotFoundError):
            return not _has_other_threads(name, proc)
        except OSError:  # what another user's process executes is a secret, its arguments are none
            continue
    return False


def _has_other_threads(name: str, proc: int) -> bool:
    """Where the first has ended, as in a zombie, these still say what it was. A kernel thread has none."""
    try:
        return os.stat(f"{name}/task", dir_fd=proc).st_nlink > _LINKS_OF_ONE_THREAD
    except OSError:
        return False


def _questions(rules: Rules) -> Iterator[_Excludes]:
    """The cheapest first: who owns it takes a quarter of what its arguments take, and what it executes a third."""
    if rules.uid is not None:
        yield _is_not_of(rules.uid)
    if rules.executable is not None:
        yield _executes_none_of(rules.executable)
    if words := rules.words:
        yield _lacks(words, "cmdline")
    if rules.marker is not None:
        yield _lacks((f"CTL_TARGET={rules.marker.target}".encode(),), "environ")


def _is_not_of(uid: int) -> _Excludes:
    return lambda name, proc: os.stat(name, dir_fd=proc).st_uid != uid


def _lacks(texts: tuple[bytes, ...], file: str) -> _Excludes:
    longest, *others = texts

    def excludes(name: str, proc: int) -> bool:
        fd = os.open(f"{name}/{file}", os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc)
        try:
            raw = os.read(fd, _CHUNK)
        finally:
            os.close(fd)
        if not raw:
            raise ProcessLookupError
        return (longest not in raw or any(text not in raw for text in others)) and len(raw) < _CHUNK

    return excludes


def _executes_none_of(pattern: re.Pattern[str]) -> _Excludes:
    match = pattern.match
    return lambda name, proc: match(os.readlink(f"{name}/exe", dir_fd=proc).removesuffix(DELETED)) is None
