"""Which files a service executes: its program, and where that is a script, the interpreter of that."""

from __future__ import annotations

import os
from collections.abc import Iterator

from ctl.model.match import Program
from ctl.model.service import Start
from ctl.system.environment import DEFAULT_PATH

_FIRST_LINE = 256  # bytes, of which execve(2) reads as many


def programs_of(start: Start | None) -> frozenset[Program]:
    """Those that are there now."""
    return frozenset(_each(start)) if start is not None else frozenset()


def _each(start: Start) -> Iterator[Program]:
    search = start.environment.get("PATH", DEFAULT_PATH)
    words = [start.command[0]]
    for _ in range(3):  # a script, env(1), and what that runs
        name = words[0] if words else ""
        path = os.path.join(start.directory, name) if "/" in name else _which(name, search)
        if not path:
            return
        try:
            found = os.stat(path)
            yield Program(found.st_dev, found.st_ino, os.path.realpath(path))
            words = _interpreter(path) if not words[1:] else [word for word in words[1:] if not word.startswith("-")]
        except OSError:
            return


def _which(name: str, search: str) -> str | None:
    """As shutil.which finds it, whose import takes longer than all the rest of a kill that finds nothing."""
    paths = (os.path.join(directory, name) for directory in search.split(":"))
    return next((path for path in paths if os.path.isfile(path) and os.access(path, os.X_OK)), None)


def _interpreter(path: str) -> list[str]:
    """The words after #!, none of what is no script."""
    if not os.path.isfile(path):
        return []
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        first = os.read(fd, _FIRST_LINE).partition(b"\n")[0]
    finally:
        os.close(fd)
    return os.fsdecode(first[2:]).split() if first.startswith(b"#!") else []
