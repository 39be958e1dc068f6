"""Which errors a system call can return, by its man page, and which calls of a run are alike."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from support.sandbox import ROOT
from support.strace import Call

_TABLE = """
openat openat2                                  EMFILE ENFILE ENOMEM EACCES EIO EINTR
newfstatat statx readlink readlinkat            ENOMEM EACCES EIO
access faccessat faccessat2 statfs chdir        ENOMEM EACCES EIO
fstat getdents64                                ENOMEM EIO
read pread64                                    ENOMEM EIO EINTR
write pwrite64                                  ENOSPC EIO EINTR
fsync fdatasync                                 ENOSPC EIO EINTR
ftruncate fchmod fchown                         EIO EINTR
rename renameat renameat2 mkdir mkdirat link    ENOSPC ENOMEM EACCES EIO
unlink unlinkat chmod fchmodat chown fchownat   ENOMEM EACCES EIO
getxattr lgetxattr fgetxattr listxattr          ENOMEM EIO
flock wait4 waitid getrandom                    EINTR
poll ppoll epoll_wait                           ENOMEM EINTR
fork vfork clone clone3                         ENOMEM EAGAIN
pidfd_open inotify_init1 eventfd2 socket        EMFILE ENFILE ENOMEM
pipe2 epoll_create1 timerfd_create              EMFILE ENFILE ENOMEM
dup dup2 dup3                                   EMFILE
inotify_add_watch                               ENOSPC ENOMEM EACCES
bind connect sendto sendmsg                     ENOMEM EACCES
recvfrom recvmsg                                ENOMEM EINTR
bpf                                             ENOMEM EACCES
"""
ERRORS = {name: errors for *names, errors in (
    (*re.findall(r"\b[a-z0-9_]+", line), re.findall(r"\bE[A-Z]+", line)) for line in _TABLE.strip().splitlines()
) for name in names}  # fmt: skip
# What the interpreter does for itself: to import, and of its own code.
_IMPORT = re.compile(rf"{re.escape(str(ROOT))}/(lib|\.venv)|/lib/python|\.pyc?\b|site-packages|\.so\b")
_EFFECTS = {"pidfd_send_signal", "vfork", "rename", "unlink", "flock", "mkdir"}
_FILE = re.compile(r"^\w+\(\d+<(/[^>]*)>")


def errors_of(call: Call) -> Sequence[str]:
    """EINTR only where Python calls again by itself (PEP 475), which it does not where it opens a directory."""
    if _IMPORT.search(call.line):
        return ()
    errors = list(ERRORS.get(call.name, ()))
    if call.name in {"write", "pwrite64"} and not _FILE.match(call.line):
        errors = ["EINTR"]  # a pipe, an eventfd
    if "O_DIRECTORY" in call.line and "EINTR" in errors:
        errors.remove("EINTR")
    if "O_CREAT" in call.line:
        errors.append("ENOSPC")
    return errors


def representatives(found: Sequence[Call], root: Path, each: int = 1) -> Iterator[Call]:
    """The first `each` of those that are alike: the same call of the same file, after the same last effect."""
    seen, effect = Counter[tuple[str, str]](), ""
    for call in found:
        what = alike(call, root)
        seen[effect, what] += 1
        if seen[effect, what] <= each:
            yield call
        if call.name in _EFFECTS:
            effect = what


def alike(call: Call, root: Path) -> str:
    """The call without its numbers and without what is read or written."""
    text = re.sub(r"AT_FDCWD<[^>]*>", "", call.line.replace(str(root), "ROOT"))
    if call.name in {"read", "write", "pread64", "pwrite64", "getdents64", "readlink", "poll"}:
        text = text.split(">", 1)[0] if "<" in text else text.split(",", 1)[0]
    return re.sub(r"[0-9a-f]{8,}|\d+", "N", text.rpartition(" = ")[0] or text)
