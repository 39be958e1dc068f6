"""What /proc says of a process. A reader returns None for what may not be read, and raises Gone for who is not there.

See proc(5) and its pages proc_pid_stat(5), proc_pid_status(5), proc_pid_cmdline(5), proc_pid_environ(5).
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import time
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Final, TypeVar

import msgspec

from ctl.model.match import Marker, Program

T = TypeVar("T")
PF_KTHREAD: Final = 0x00200000  # linux/sched.h
TICKS_PER_SECOND: Final = os.sysconf("SC_CLK_TCK")
_ENV_START: Final = 50 - 3  # env_start of proc_pid_stat(5), of the fields behind the name; env_end comes after it
_CHUNK: Final = 1 << 16
NOT_UTF8: Final = "backslashreplace"  # what is no text is still shown, and can be printed and encoded
DELETED: Final = " (deleted)"  # what the kernel appends to the link of a program that was replaced on disk
_EXEC_TAKES: Final = 0.5  # seconds, at the very most
_GONE: Final = (errno.ENOENT, errno.ESRCH)
# EIO: what its memory is mapped from cannot be read, as on a file system that answers no more.
_FORBIDDEN: Final = (errno.EACCES, errno.EPERM, errno.EIO)


class Gone(Exception):
    """No such process, or none that this /proc shows."""


class Forbidden(Exception):
    """The process is there, and /proc does not let us read what tells it apart (hidepid=1)."""


class Stat(msgspec.Struct, frozen=True):
    """The fields of proc_pid_stat(5) that tell processes apart and how they are related."""

    pid: int
    comm: str
    state: str
    ppid: int
    session: int
    flags: int
    start_ticks: int

    @property
    def is_kernel_thread(self) -> bool:
        return bool(self.flags & PF_KTHREAD)


class FileId(msgspec.Struct, frozen=True):
    """One file, whatever its names."""

    device: int
    inode: int


NO_FILE: Final = FileId(0, 0)


class Entry(msgspec.Struct, frozen=True):
    """The directory /proc/PID: it is made anew where the pid has passed to another process, and sometimes else."""

    inode: int
    made: int  # nanoseconds since the epoch
    uid: int  # the effective user of its process, as for read_owner


def read_entry(pid: int) -> Entry:
    """By far the cheapest question about a process. Raises Gone."""
    found = _stat_of(f"/proc/{pid}")
    return Entry(found.st_ino, found.st_ctime_ns, found.st_uid)


def own_pid() -> int:
    """That of this very process."""
    return os.getpid()


def pids() -> Iterator[int]:
    """Every process that /proc shows."""
    for name in os.listdir("/proc"):
        if name.isdecimal():
            yield int(name)


def read_stat(pid: int) -> Stat:
    """Raises Gone or Forbidden."""
    raw = _read(f"/proc/{pid}/stat")
    if raw is None:
        raise Forbidden(pid)
    # comm may hold anything, also ") S 1 ": it ends at the last parenthesis.
    opening, closing = raw.index(b"("), raw.rindex(b")")
    fields = raw[closing + 2 :].split()
    return Stat(
        pid=pid,
        comm=raw[opening + 1 : closing].decode(errors=NOT_UTF8),
        state=fields[0].decode(),
        ppid=int(fields[1]),
        session=int(fields[3]),
        flags=int(fields[6]),
        start_ticks=int(fields[19]),
    )


def read_argv(pid: int) -> list[str] | None:
    """Its arguments now, which it may have overwritten. Empty for a kernel thread and a zombie. Raises Gone."""
    raw = _read_cmdline(pid)
    return None if raw is None else _argv_of(raw)


def read_raw_arguments(pid: int) -> bytes | None:
    """Its arguments as the kernel hands them out, each ended by a NUL. Raises Gone."""
    return _read_cmdline(pid)


def read_command_line(pid: int) -> str | None:
    """Its arguments joined by spaces, as pgrep -f joins them. Raises Gone."""
    raw = _read_cmdline(pid)
    return None if raw is None else _command_line_of(raw)


def read_executable(pid: int) -> str | None:
    """The path of the file it executes, also after an upgrade replaced that. "" for a kernel thread. Raises Gone."""
    return _of_executable(pid, lambda link: os.readlink(link).removesuffix(DELETED), "")


def read_executable_id(pid: int) -> FileId | None:
    """Which file it executes, whatever its path means in the mount namespace of the process. Raises Gone."""
    return _of_executable(pid, file_id, NO_FILE)


def file_id(path: str) -> FileId:
    """Which file it is. Raises OSError."""
    found = os.stat(path)
    return FileId(found.st_dev, found.st_ino)


def _program(link: str) -> Program:
    found, path = os.stat(link), os.readlink(link)
    return Program(found.st_dev, found.st_ino, path.removesuffix(DELETED), path.endswith(DELETED))


def _of_executable(pid: int, ask: Callable[[str], T], nothing: T) -> T | None:
    """What `ask` says of the link to its executable; `nothing` of a kernel thread, None where it may not be known."""
    for thread in itertools.chain([pid], _other_threads(pid)):
        try:
            return ask(f"/proc/{pid}/task/{thread}/exe")
        except OSError as error:
            if error.errno in _FORBIDDEN:
                return None
            if error.errno not in _GONE:
                raise
    _stat_of(f"/proc/{pid}")
    return nothing


def read_variable(pid: int, name: str, *, wait_for_exec: bool = False) -> str | None:
    """The value that `name` had in its environment when it was executed, "" where it had none. Raises Gone.

    The environment is empty for a moment while a process executes a program; with `wait_for_exec` that moment is given.
    """
    raw = _read_environ(pid)
    if raw == b"" and wait_for_exec:
        raw = _environ_after_exec(pid)
    if raw is None:
        return None
    start = f"{name}=".encode()
    for entry in raw.split(b"\0") if start in raw else ():
        if entry.startswith(start):
            return entry[len(start) :].decode(errors=NOT_UTF8)
    return ""


def read_marker(pid: int) -> Marker | None:
    """What ctl put into its environment. Raises Gone."""
    raw = _read_environ(pid)
    return None if raw is None else _marker_of(raw)


def _marker_of(raw: bytes) -> Marker:
    if b"CTL_TARGET=" not in raw:
        return Marker()
    ours = (entry for entry in raw.split(b"\0") if entry.startswith((b"CTL_TARGET=", b"CTL_RUN_DIR=")))
    found = dict(entry.decode(errors=NOT_UTF8).partition("=")[::2] for entry in ours)
    return Marker(found.get("CTL_TARGET", ""), found.get("CTL_RUN_DIR", ""))


def read_environment(pid: int) -> bytes:
    """Its environment when it was executed, empty where it may not be read. Raises Gone."""
    return _read_environ(pid) or b""


def read_owner(pid: int) -> int:
    """Its effective user id. Raises Gone.

    The kernel gives the directory /proc/PID to that user in any case; only what is in there belongs to root where the
    process is not dumpable, task_dump_owner() in fs/proc/base.c.
    """
    return _stat_of(f"/proc/{pid}").st_uid


def read_users(pid: int) -> tuple[int, int]:
    """Its real and its effective user. Raises Gone or Forbidden."""
    real, effective, *_ = map(int, _status_field(pid, b"Uid"))
    return real, effective


def is_any_of(uid: int) -> bool:
    """Whether any process may have this real user: getpriority(2) looks at all at once, while none can fork or end."""
    try:
        os.getpriority(os.PRIO_USER, uid)
    except ProcessLookupError:
        return uid == 0  # which stands for the caller's own
    except OSError:
        pass
    return True


def in_our_pid_namespace(pid: int) -> bool:
    """Whether its pid is one of our own namespace's, and not that of a container inside it.

    Raises Gone or Forbidden.
    NSpid lists its pid in each namespace from that of this /proc inwards, and stays readable for other users.
    """
    return len(_status_field(pid, b"NSpid")) == 1


def defaults_to(pid: int, number: int) -> bool | None:
    """Whether a signal would have its default action: it is neither caught, ignored nor blocked, proc_pid_status(5).

    Of what is blocked its first thread is asked. None where it cannot be told. Raises Gone.
    """
    try:
        masks = [int(_status_field(pid, name)[0], 16) for name in (b"SigCgt", b"SigIgn", b"SigBlk")]
    except Forbidden:
        return None
    if any(mask >> (number - 1) & 1 for mask in masks):
        return False
    return None if _awaits_signals(pid) else True


def ignores(pid: int, number: int) -> bool:
    """Whether it ignores the signal: SigIgn, proc_pid_status(5). False where that may not be read. Raises Gone.

    What is blocked is not ignored: a program with a signalfd(2) or in sigwait(3) acts on what it blocks.
    """
    try:
        return bool(int(_status_field(pid, b"SigIgn")[0], 16) >> (number - 1) & 1)
    except Forbidden:
        return False


def _awaits_signals(pid: int) -> bool:
    """Whether a thread is in sigwait(3): what it waits for is shown as not blocked for as long as it does."""
    threads = itertools.chain([pid], _other_threads(pid))
    return any(b"sigtimedwait" in (_read(f"/proc/{pid}/task/{thread}/wchan") or b"") for thread in threads)


def descendants(pid: int, is_anothers: Callable[[int], bool] = lambda _: False) -> list[int] | None:
    """The processes that descend from it, None where the kernel does not list children (CONFIG_PROC_CHILDREN).

    Those of which `is_anothers` says yes are left out, with all that descend from them. Unlike a look at every process
    there is, it costs what its own family costs.
    """
    found: list[int] = []
    parents_left = [pid]
    while parents_left:
        parent = parents_left.pop()
        try:
            for thread in os.listdir(f"/proc/{parent}/task"):
                listed = (_read(f"/proc/{parent}/task/{thread}/children") or b"").split()
                children = [child for child in map(int, listed) if not is_anothers(child)]
                found += children
                parents_left += children
        except (OSError, Gone):
            if parent == pid:
                return None
    return found


def ticks_now() -> float:
    """The clock that start times are read from: clock ticks since boot, suspended time included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) * TICKS_PER_SECOND


def is_stopped(pid: int) -> bool | None:
    """Whether all its threads are stopped by a signal: state T, proc_pid_stat(5). Raises Gone.

    None where a tracer holds one, state t: once that leaves, it may be stopped or go on, ptrace(2); and where it may
    not be read. A process that is being stopped shows T as soon as its first thread is; others may still be on their
    way.
    """
    states = []
    for thread in _threads(pid):
        with contextlib.suppress(Gone):
            states.append((_read(f"/proc/{pid}/task/{thread}/stat") or b") ?").rpartition(b") ")[2][:1])
    living = {state for state in states if state not in (b"Z", b"X")}
    if not living or living - {b"T", b"t", b"?"}:
        return False
    return True if living == {b"T"} else None


def read_tracer(pid: int) -> int | None:
    """Who traces it, ptrace(2); None where nobody does, or it may not be read. Raises Gone."""
    try:
        return int(_status_field(pid, b"TracerPid")[0]) or None
    except Forbidden:
        return None


def parents(pid: int) -> Iterator[int]:
    """The parent of `pid`, its parent, and so on up to pid 1."""
    seen: set[int] = set()
    while pid > 1 and pid not in seen:
        seen.add(pid)
        try:
            pid = read_stat(pid).ppid
        except (Gone, Forbidden):
            return
        if pid > 0:
            yield pid


def read_cgroups(pid: int) -> list[str]:
    """The paths of its control groups, cgroups(7), that of the unified hierarchy or of systemd's own first.

    Empty where they may not be read. Raises Gone.
    """
    return parse_cgroups(_read(f"/proc/{pid}/cgroup") or b"")


def parse_cgroups(content: bytes) -> list[str]:
    """`read_cgroups` of what stands in /proc/PID/cgroup."""
    lines = [line.split(":", 2) for line in content.decode(errors=NOT_UTF8).splitlines()]
    # Of two hierarchies of systemd's own kind, it uses the one in which the process is not in the root.
    paths = sorted((controllers not in ("", "name=systemd"), path == "/", path) for _, controllers, path in lines)
    return [path for *_, path in paths]


def read_locks() -> list[str]:
    """The lines of proc_locks(5)."""
    return _read_list("/proc/locks").decode().splitlines()


def hides_others() -> bool:
    """Whether /proc is mounted so that it does not show us every process (hidepid=, proc(5))."""
    if os.geteuid() == 0:
        return False
    options = mount_options()
    gid = options.get("gid")
    trusted = gid is not None and int(gid) in {os.getegid(), *os.getgroups()}
    return options.get("hidepid", "off") not in ("0", "off") and not trusted


def mount_options() -> dict[str, str]:
    """Those of the file system that is mounted on /proc, the last one where there are several."""
    found = {}
    for place, kind, options in mounts():
        if (place, kind) == ("/proc", "proc"):
            found = dict(option.partition("=")[::2] for option in options.split(","))
    return found


def mounts() -> Iterator[tuple[str, str, str]]:
    """Where each file system is mounted, its kind and its own options, proc_pid_mountinfo(5)."""
    for line in _read_list("/proc/self/mountinfo").decode(errors=NOT_UTF8).splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        yield before.split(" ")[4], kind, options


class ProcessLook:
    """A look at one process for the match rules, each field read at most once and only when it is asked for."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    @cached_property
    def uid(self) -> int:
        return read_owner(self.pid)

    @cached_property
    def argv(self) -> list[str] | None:
        return None if self._cmdline is None else _argv_of(self._cmdline)

    @cached_property
    def command_line(self) -> str | None:
        return None if self._cmdline is None else _command_line_of(self._cmdline)

    def mentions(self, text: bytes) -> bool:
        return self._cmdline is None or text in self._cmdline

    @cached_property
    def _cmdline(self) -> bytes | None:
        return _read_cmdline(self.pid)

    @cached_property
    def executable(self) -> str | None:
        return read_executable(self.pid)

    @cached_property
    def marker(self) -> Marker | None:
        return None if self._environ is None else _marker_of(self._environ)

    @cached_property
    def is_overwritten(self) -> bool:
        """Whether it was given an environment, and shows none of it any more."""
        return self._environ is not None and b"=" not in self._environ and not _was_given_none(self.pid)

    @cached_property
    def _environ(self) -> bytes | None:
        return _read_environ(self.pid)

    @cached_property
    def program(self) -> Program | None:
        return _of_executable(self.pid, _program, None)


def _was_given_none(pid: int) -> bool:
    """Whether it was executed without any environment, as by `env -i`. False where the kernel does not tell."""
    raw = _read(f"/proc/{pid}/stat") or b""
    fields = raw.rpartition(b") ")[2].split()
    start, end = fields[_ENV_START : _ENV_START + 2] or (b"0", b"0")
    return start == end != b"0"


def _argv_of(raw: bytes) -> list[str]:
    return raw.decode(errors=NOT_UTF8).removesuffix("\0").split("\0") if raw else []


def _command_line_of(raw: bytes) -> str:
    return raw.rstrip(b"\0").replace(b"\0", b" ").decode(errors=NOT_UTF8)


def _read_cmdline(pid: int) -> bytes | None:
    raw = _read(f"/proc/{pid}/cmdline")
    return raw if raw != b"" else _read_of_another_thread(pid, "cmdline")


def _read_environ(pid: int) -> bytes | None:
    with contextlib.suppress(Gone, FileNotFoundError):
        environ = _read(f"/proc/{pid}/environ")
        # Once the first thread has ended, its environment is empty on Linux 6.1, as that of a kernel thread is, and
        # Gone on newer ones. The links of a directory are two, and one for each directory in it.
        if environ != b"" or os.stat(f"/proc/{pid}/task").st_nlink <= 3:
            return environ
    return _read_of_another_thread(pid, "environ")


def _environ_after_exec(pid: int) -> bytes | None:
    """While a process executes a program, it has neither arguments nor an environment. That is over in no time.

    One that is ending has none either, and is soon a zombie: Gone.
    """
    until = time.monotonic() + _EXEC_TAKES
    while time.monotonic() < until and not _read_cmdline(pid):
        if read_stat(pid).state in "ZX":
            raise Gone(pid)
        os.sched_yield()
    return _read_environ(pid)


def _read_of_another_thread(pid: int, name: str) -> bytes | None:
    """A process whose first thread has ended before the others shows what they share only under their ids."""
    for thread in _other_threads(pid):
        return _read(f"/proc/{pid}/task/{thread}/{name}")
    return b""


def _other_threads(pid: int) -> Iterator[int]:
    """Its threads but the first. Looked for only when they are asked for. Raises Gone."""
    for thread in _threads(pid):
        if thread != pid:
            yield thread


def _threads(pid: int) -> list[int]:
    """Its threads; the first where the others may not be known. Raises Gone, and OSError where it cannot be told."""
    try:
        return [int(thread) for thread in os.listdir(f"/proc/{pid}/task")]
    except OSError as error:
        if error.errno in _GONE:
            raise Gone(pid) from None
        if isinstance(error, PermissionError):
            return [pid]
        raise


def _status_field(pid: int, name: bytes) -> list[bytes]:
    raw = _read(f"/proc/{pid}/status")
    if raw is None:
        raise Forbidden(pid)
    start = raw.index(b"\n" + name + b":") + len(name) + 2
    return raw[start : raw.index(b"\n", start)].split()


def _stat_of(path: str) -> os.stat_result:
    """Raises Gone, and OSError where it cannot be told."""
    try:
        return os.stat(path)
    except OSError as error:
        if error.errno in _GONE:
            raise Gone(path) from None
        raise


def _read(path: str) -> bytes | None:
    """A file of one process, None where it may not be read. Raises Gone."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            content = os.read(fd, _CHUNK)
            if len(content) == _CHUNK:
                content += _rest(fd)
            return content
        finally:
            os.close(fd)
    except OSError as error:
        if error.errno in _GONE:
            raise Gone(path) from None
        if error.errno in _FORBIDDEN:
            return None
        raise


def _read_list(path: str) -> bytes:
    """A file with a line for each of many things: the kernel hands it out a page at a time, whatever is asked for."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return _rest(fd)
    finally:
        os.close(fd)


def _rest(fd: int) -> bytes:
    parts = []
    while part := os.read(fd, _CHUNK):
        parts.append(part)
    return b"".join(parts)
