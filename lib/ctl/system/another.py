"""Another ctl: it names services in its arguments, and is none of them. It is known by the files that it executes."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

from ctl.system import procfs
from ctl.system.gate import SEARCHES
from ctl.system.procfs import FileId, Gone

_PACKAGE: Final = Path(__file__).resolve().parents[1]
_FIRST: Final = 8  # words of its arguments, among which its script is
_OF_EVERY_CTL: Final = ("system/pidfd.py", "verbs/locate.py", "model/record.py")
_SINGLE: Final = ["-X", "ctl"]  # the option of the interpreter by which the single file says what it is
_HEADER: Final = 4096  # bytes


def arguments_of_ctl(pid: int) -> list[str] | None:
    """What another ctl was called with, None where the process is no ctl. Raises Gone."""
    argv = procfs.read_argv(pid) or []
    if tuple(argv) == SEARCHES:
        return []
    for index, word in enumerate(argv[:_FIRST]):
        is_single = argv[max(index - 2, 0) : index] == _SINGLE
        is_named = word.rpartition("/")[2] in ("ctl", "__main__.py") or word == _own_script()
        if index and (is_single or is_named) and _is_ctl(pid, word, is_single=is_single):
            return argv[index + 1 :]
    return None


@cache
def own_program() -> list[str]:
    """Our interpreter, its options and our script: our argv without what we were called with."""
    own = procfs.read_argv(os.getpid()) or []
    return own[: len(own) - len(sys.argv[1:])]


def _own_script() -> str:
    return own_program()[-1] if own_program() else ""


def _is_ctl(pid: int, script: str, *, is_single: bool) -> bool:
    """Whether it is a script of this installation, or the launcher, package or single file of another one."""
    for path in _seen_as(pid, script):
        try:
            found = os.stat(path)
            if FileId(found.st_dev, found.st_ino) in _own_files():
                return True
            if is_single:
                with open(path, "rb") as file:
                    return b"-X ctl" in file.read(_HEADER)
            resolved = os.path.realpath(path)
        except FileNotFoundError:
            continue
        except OSError:  # only its user may know: what is called so is taken for one
            return True
        package = Path(resolved).parent
        if script.endswith("/ctl"):
            package = package.parent / "lib/ctl"
        return all((package / part).exists() for part in _OF_EVERY_CTL)
    return False


def _seen_as(pid: int, script: str) -> Iterator[str]:
    """Where its script is, as seen from here: in its own mount namespace and directory, where that may be known."""
    yield f"/proc/{pid}/root{script}" if script.startswith("/") else f"/proc/{pid}/cwd/{script}"
    if script.startswith("/"):
        yield script


@cache
def _own_files() -> frozenset[FileId]:
    files = set()
    for path in (_PACKAGE / "__main__.py", _PACKAGE.parents[1] / "bin/ctl", Path(_own_script() or "/")):
        try:
            found = path.stat()
        except OSError:
            continue
        if path.is_file():
            files.add(FileId(found.st_dev, found.st_ino))
    return frozenset(files)


def callers_of(pid: int, arguments: list[str]) -> set[int]:
    """The ancestors of a ctl whose own argv holds its arguments: sudo, a shell, ssh."""
    call = " ".join(arguments)
    callers: set[int] = set()
    for parent in procfs.parents(pid):
        try:
            if call in (procfs.read_command_line(parent) or ""):
                callers.add(parent)
        except Gone:
            break
    return callers
