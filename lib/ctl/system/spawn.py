"""The gate: a child that waits to become the service until ctl has recorded it.

The child is one line of shell that reads from its stdin, a pipe of which ctl holds the other end. When ctl writes, it
executes the program and keeps its pid, start time and pidfd inode. When ctl dies first, it reads the end of the file
and exits: no service ever runs unrecorded. No Python runs between fork and exec, so threads may spawn side by side.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import stat
import subprocess
from pathlib import Path
from typing import NoReturn

from ctl.model.errors import CtlError
from ctl.model.program import Account, Program
from ctl.system import gate
from ctl.system.environment import DEFAULT_PATH
from ctl.system.pidfd import Handle, open_handle


class Gated:
    """A child behind the gate."""

    def __init__(self, child: subprocess.Popen[bytes], handle: Handle, opener: int) -> None:
        self.handle = handle
        self._child = child
        self._opener: int | None = opener

    def open(self) -> None:
        """Let the child become the service. A child that was killed meanwhile is found by its handle."""
        if self._opener is not None:
            with contextlib.suppress(BrokenPipeError):
                os.write(self._opener, gate.OPENED)
            self._close()

    def abandon(self) -> None:
        """Let the child end without becoming anything, and wait for that."""
        if self._opener is not None:
            self._close()
            self._child.wait()

    def how_it_ended(self) -> str | None:
        """How the child ended, None while it runs."""
        status = self._child.poll()
        return None if status is None else _ended(status)

    def succeeded(self) -> bool:
        """Whether the child exited with status 0."""
        return self._child.poll() == 0

    def failed_to_execute(self, last_line: str) -> bool:
        """Whether the child ended behind the gate because the shell could not execute the program, sh(1)."""
        return self._child.poll() in (126, 127) and last_line.startswith(f"{gate.NAME}:")

    def _close(self) -> None:
        if self._opener is not None:
            os.close(self._opener)
            self._opener = None


def spawn(program: Program, log: int) -> Gated:
    """Start the child behind the gate, in a session of its own, with stdout and stderr in `log`. Raises CtlError."""
    behind, opener = os.pipe2(os.O_CLOEXEC)
    child = None
    try:
        child = _fork(program, behind, log)
        handle = open_handle(child.pid)
        if handle is None:
            status = child.wait()
            raise CtlError("not_ready" if status < 0 else "exec_failed", f"{_ended(status)} while starting")
        _set_limits(child.pid, program)
        return Gated(child, handle, opener)
    except BaseException:
        os.close(opener)
        if child is not None:
            child.wait()
        raise
    finally:
        os.close(behind)


def require_executable(program: Program) -> None:
    """Raises CtlError (exec_failed) where the program is not there or may not be executed."""
    name = program.argv[0]
    where = "start.command"
    if not os.path.isdir(program.directory):
        raise CtlError("bad_config", f"{program.directory} is not a directory", where="start.directory")
    found = find_executable(program, name)
    if found is None:
        searched = program.environment.get("PATH", DEFAULT_PATH)
        raise CtlError("exec_failed", f"{name} is not installed: it is not in {searched}", where=where)
    path = Path(program.directory, found)
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise CtlError("exec_failed", f"{path} cannot be executed: {error.strerror}", where=where) from None
    if stat.S_ISDIR(mode):
        raise CtlError("exec_failed", f"{path} is a directory, not a program", where=where)
    # As root, access(2) says yes when anyone may execute it; the service's own user is asked by the kernel, at exec.
    if not os.access(path, os.X_OK):
        raise CtlError("exec_failed", f"{path} is not executable; mend it with: chmod +x '{path}'", where=where)
    _require_interpreter(path, where)


def become(program: Program) -> NoReturn:
    """Turn this process into the program, in the foreground. Raises CtlError."""
    try:
        for signum in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(signum, signal.SIG_DFL)  # Python ignores them, and exec would hand that on
        _set_limits(os.getpid(), program)
        os.umask(program.umask)
        os.chdir(program.directory)
        _become_user_by_exec(program.account)
        os.execvpe(program.argv[0], program.argv, program.environment)
    except OSError as error:
        if program.account is not None:
            os.seteuid(0)
            whom = f" by {program.account.name}"
        else:
            whom = ""
        raise CtlError(
            "exec_failed", f"{program.argv[0]} cannot be executed{whom}: {error.strerror}", where="start.command"
        ) from None


def become_user(account: Account | None) -> None:
    """Be that user and nobody else, for good: groups first, while we still may."""
    if account is not None:
        os.setgroups(account.groups)
        os.setgid(account.gid)
        os.setuid(account.uid)


def _become_user_by_exec(account: Account | None) -> None:
    """Be that user from the next execve(2) on, which copies the effective ids to the saved ones.

    Until then the saved user is root, so that a failure can be cleaned up after.
    """
    if account is not None:
        os.setgroups(account.groups)
        os.setresgid(account.gid, account.gid, 0)
        os.setresuid(account.uid, account.uid, 0)


def find_executable(program: Program, name: str) -> str | None:
    """The path of the program of that name for a service, None where it is not installed."""
    return name if "/" in name else shutil.which(name, path=program.environment.get("PATH", DEFAULT_PATH))


def _ended(status: int) -> str:
    """A wait status as subprocess gives it, in words."""
    if status >= 0:
        return f"exited with status {status}"
    try:
        return f"was killed by {signal.Signals(-status).name.removeprefix('SIG')}"
    except ValueError:
        return f"was killed by signal {-status}"  # a real-time one


def _fork(program: Program, behind: int, log: int) -> subprocess.Popen[bytes]:
    account = program.account
    try:
        return subprocess.Popen(
            (*gate.COMMAND, *program.argv),
            stdin=behind,
            stdout=log,
            stderr=log,
            env=program.environment,
            cwd=program.directory,
            start_new_session=True,
            umask=program.umask,
            user=None if account is None else account.uid,
            group=None if account is None else account.gid,
            extra_groups=None if account is None else account.groups,
        )
    except PermissionError as error:
        raise CtlError(
            "permission_denied", f"cannot start it: {error.strerror}", where="start.user, start.directory"
        ) from None
    except OSError as error:
        raise CtlError("exec_failed", f"cannot start it: {error.strerror}", where="start.command") from None


def _set_limits(pid: int, program: Program) -> None:
    """prlimit(2) and setpriority(2) reach the waiting child from outside."""
    key = "start.limits"
    try:
        for name, value in program.limits.items():
            key = f"start.limits.{name}"
            bound = resource.RLIM_INFINITY if value == "infinity" else int(value)
            resource.prlimit(pid, getattr(resource, f"RLIMIT_{name.upper()}"), (bound, bound))
        if program.nice is not None:
            key = "start.nice"
            os.setpriority(os.PRIO_PROCESS, pid, program.nice)
    except ValueError as error:
        raise CtlError("bad_config", str(error), where=key) from None
    except PermissionError:
        raise CtlError("permission_denied", "only root may set it so high", where=key) from None


def _require_interpreter(path: Path, where: str) -> None:
    """A script whose #! names a program that is not there fails with the script's own name, which misleads at night."""
    try:
        with path.open("rb") as program:
            first = program.readline(256)
    except OSError:
        return
    if first.startswith(b"#!"):
        words = first[2:].split()
        if words and not os.access(words[0], os.X_OK):
            interpreter = words[0].decode(errors="replace")
            raise CtlError("exec_failed", f"{path} needs {interpreter}, which is not installed", where=where)
