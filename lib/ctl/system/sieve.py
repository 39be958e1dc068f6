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
from ctl.system.procfs import DELETED, Gone, ProcessLook

_CHUNK: Final = 1 << 16  # bytes; of who has more to say it cannot be told what is not in there
_LINKS_OF_ONE_THREAD: Final = 3  # of /proc/PID/task: . and .. and its own, proc_task_getattr() in fs/proc/base.c

# Whether a process cannot satisfy a rule, by its name in /proc and a descriptor of that. Raises ProcessLookupError or
# FileNotFoundError where its first thread says nothing, another OSError where it may not be asked.
_Excludes = Callable[[str, int], bool]


def worth_a_look(rules: Rules, of_others: list[str], names: list[str] | None = None) -> Iterator[int]:
    """The processes that may satisfy the rules, and those that could not be asked. The others do not satisfy them.

    Those that only the default user excludes, as far as was asked, are added to `of_others`. With `names` (in /proc)
    only these are looked at.
    """
    questions = tuple(_questions(rules))
    excludes_default = None if rules.default_uid is None else _is_not_of(rules.default_uid)
    proc = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)  # one step less for the kernel in each path
    try:
        for name in os.listdir(proc) if names is None else names:
            if not name.isdecimal():
                continue
            if excludes_default is not None and _is_excluded(name, proc, (excludes_default,)):
                of_others.append(name)
            elif not _is_excluded(name, proc, questions):
                yield int(name)
    finally:
        os.close(proc)


def _is_excluded(name: str, proc: int, questions: tuple[_Excludes, ...]) -> bool:
    for excludes in questions:
        try:
            if excludes(name, proc):
                return True
        except (ProcessLookupError, FileNotFoundError, Gone):
            return not _has_other_threads(name, proc)
        except OSError:  # what another user's process executes is a secret, its arguments are none
            continue
    return False


def _has_other_threads(name: str, proc: int) -> bool:
    """Where the first has ended, as in a zombie, these still say what it was. A kernel thread has none."""
    try:
        return os.stat(f"{name}/task", dir_fd=proc).st_nlink > _LINKS_OF_ONE_THREAD
    except (ProcessLookupError, FileNotFoundError):
        return False
    except OSError:
        return True  # it could not be asked


def _questions(rules: Rules) -> Iterator[_Excludes]:
    """The cheapest first: who owns it takes a quarter of what its arguments take, and what it executes a third."""
    if rules.uid is not None:  # of the default user was asked before
        yield _is_not_of(rules.uid)
    if rules.executable is not None:
        yield _executes_none_of(rules.executable)
    if words := rules.words:
        yield _lacks(words, "cmdline", rules)
    if rules.marker is not None:
        yield _lacks((f"CTL_TARGET={rules.marker.target}".encode(),), "environ", rules)


def _is_not_of(uid: int) -> _Excludes:
    return lambda name, proc: os.stat(name, dir_fd=proc).st_uid != uid


def _lacks(texts: tuple[bytes, ...], file: str, rules: Rules) -> _Excludes:
    """What was overwritten, and lacks everything, says nothing of a process that executes what the service does."""
    longest, *others = texts
    least = b"=" if file == "environ" else b""

    def excludes(name: str, proc: int) -> bool:
        fd = os.open(f"{name}/{file}", os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc)
        try:
            raw = os.read(fd, _CHUNK)
        finally:
            os.close(fd)
        if least not in raw or not raw.strip(b"\0"):
            if rules.may_be(ProcessLook(int(name))):
                return False
            if not raw:
                raise ProcessLookupError
        return (longest not in raw or any(text not in raw for text in others)) and len(raw) < _CHUNK

    return excludes


def _executes_none_of(pattern: re.Pattern[str]) -> _Excludes:
    match = pattern.match
    return lambda name, proc: match(os.readlink(f"{name}/exe", dir_fd=proc).removesuffix(DELETED)) is None
