"""The gate: a child that waits to become the service until ctl has recorded it.

The child is one line of shell that reads from its stdin, a pipe of which ctl holds the other end. When ctl writes, it
executes the program and keeps its pid, start time and pidfd inode. When ctl dies first, it reads the end of the file
and exits: no service ever runs unrecorded. No Python runs between fork and exec, so threads may spawn side by side.
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import shutil
import signal
import stat
import subprocess
from pathlib import Path
from typing import Any, NoReturn

from ctl.model.errors import CtlError
from ctl.model.program import Account, Program
from ctl.system import descriptors, gate
from ctl.system.environment import DEFAULT_PATH
from ctl.system.failure import failure
from ctl.system.files.directories import open_directory
from ctl.system.interrupts import Patience
from ctl.system.pidfd import Handle, open_handle
from ctl.system.turns import Hurry, let_others

# Kept, because subprocess asks after every child whose object is gone, and does so in each new start: of a thousand
# services that would be half a million questions.
_children: list[subprocess.Popen[bytes]] = []


class Gated:
    """A child behind the gate."""

    def __init__(
        self, child: subprocess.Popen[bytes], handle: Handle, opener: int, soft_descriptors: int | None
    ) -> None:
        self.handle = handle
        self._descriptors = soft_descriptors
        self._child = child
        _children.append(child)
        self._opener: int | None = opener

    def open(self) -> None:
        """Let the child become the service. A child that was killed meanwhile is found by its handle."""
        if self._opener is not None:
            with contextlib.suppress(BrokenPipeError):
                os.write(self._opener, b"open\n" if self._descriptors is None else b"open %d\n" % self._descriptors)
        self._close()

    def abandon(self) -> None:
        """Let the child end without becoming anything, and wait for that."""
        if self._opener is not None:
            self._close()
            with let_others():
                self._child.wait()

    def how_it_ended(self) -> str | None:
        """How the child ended, None while it runs."""
        status = self._child.poll()
        return None if status is None else in_words(status)

    @property
    def status(self) -> int | None:
        """Its status as wait(2) has it, None while it runs."""
        code = self._child.poll()
        return None if code is None else -code if code < 0 else code << 8

    def succeeded(self) -> bool:
        """Whether the child exited with status 0."""
        return self._child.poll() == 0

    def why_not_executed(self, last_line: str) -> str | None:
        """Why the program could not be executed, in the gate's own words; None where it was, or it did not come to it.

        The gate is a shell, and its last line in the log all that it leaves: 126 and 127 (sh(1)) may be the program's
        own exit status as well, and errno is told in no other way. It has the form `ctl-gate: ...: REASON`.
        """
        if self._child.poll() not in (126, 127) or not last_line.startswith(f"{gate.NAME}:"):
            return None
        return last_line.rpartition(": ")[2]

    def _close(self) -> None:
        if self._opener is not None:
            os.close(self._opener)
            self._opener = None


def spawn(program: Program, log: int) -> Gated:
    """Start the child behind the gate, in a session of its own, with stdout and stderr in `log`. Raises CtlError."""
    gated = _behind(gate.COMMAND, program, log)
    try:
        _set_limits(gated.handle.pid, program)
    except PermissionError:
        gated.abandon()
        if program.account is None:
            raise _may_not_be_raised(program) from None
        return _spawn_limiting_itself(program, log)
    except BaseException:
        gated.abandon()
        raise
    return gated


def _spawn_limiting_itself(program: Program, log: int) -> Gated:
    """Where root may not limit another user's process, as in most containers: prlimit(2) needs CAP_SYS_RESOURCE.

    Nobody may raise a limit there either, and to lower its own no process needs a right: so the child does that itself,
    as the service's user.
    """
    for name, bound in _limits_of(program):
        hard = resource.getrlimit(name)[1]
        if hard != resource.RLIM_INFINITY and (bound == resource.RLIM_INFINITY or bound > hard):
            raise _may_not_be_raised(program)
    bounds = {name: "unlimited" if value == "infinity" else value for name, value in program.limits.items()}
    options = " ".join(f"--{name}={bound}:{bound}" for name, bound in bounds.items())
    nice = "" if program.nice is None else str(program.nice)
    return _behind((*gate.LIMITING_COMMAND, options, nice), program, log)


def _behind(command: tuple[str, ...], program: Program, log: int) -> Gated:
    behind, opener = os.pipe2(os.O_CLOEXEC)
    try:
        child = fork(
            (*command, *program.argv),
            program,
            program.account,
            stdin=behind,
            stdout=log,
            stderr=log,
            env=program.environment,
        )
    except OSError as error:
        os.close(opener)
        raise failure(error, "cannot start it", otherwise="exec_failed", where=program.place("[start]")) from None
    except BaseException:
        os.close(opener)
        raise
    finally:
        os.close(behind)
    try:
        handle = open_handle(child.pid)
        if handle is None:
            status = child.wait()
            raise CtlError("not_ready" if status < 0 else "exec_failed", f"{in_words(status)} while starting")
        return Gated(child, handle, opener, None if "nofile" in program.limits else descriptors.given())
    except BaseException:
        os.close(opener)
        child.wait()
        raise


def require_executable(program: Program) -> None:
    """Raises CtlError (exec_failed) where the program is not there or may not be executed."""
    name = program.argv[0]
    where = program.place("start.command")
    _require_directory(program)
    found = find_executable(program, name)
    if found is None:
        searched = program.environment.get("PATH", DEFAULT_PATH)
        what = f"{name} is not installed: it is not in {searched}"
        raise CtlError("exec_failed", what, where=where, fix="write its whole path where it is elsewhere")
    path = Path(program.directory, found)
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise CtlError("exec_failed", f"{path} cannot be executed: {error.strerror}", where=where) from None
    if stat.S_ISDIR(mode):
        raise CtlError("exec_failed", f"{path} is a directory, not a program", where=where)
    # As root, access(2) says yes when anyone may execute it; the service's own user is asked by the kernel, at exec.
    if not os.access(path, os.X_OK):
        raise CtlError("exec_failed", f"{path} is not executable", where=where, fix=f"chmod +x '{path}'")
    if lack := lack_of_interpreter(path):
        raise CtlError("exec_failed", f"{path} {lack}", where=where)


def _require_directory(program: Program) -> None:
    where = program.place("start.directory")
    try:
        os.close(open_directory(program.directory, program.account))
    except (FileNotFoundError, NotADirectoryError):
        raise CtlError("bad_config", f"{program.directory} is not a directory", where=where) from None
    except OSError as error:
        whom = f" by {program.account.name}" if program.account is not None else ""
        what = f"{program.directory} cannot be entered{whom}: {error.strerror}"
        raise CtlError("exec_failed", what, where=where) from None


def become(program: Program, patience: Patience) -> NoReturn:
    """Turn this process into the program, in the foreground. Raises CtlError, Interrupted."""
    # Python ignores the first two, and exec would hand that on. INT and TERM are not for us any more.
    for signum in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, signal.SIG_DFL)
    patience.check()
    descriptors.restore()
    try:
        _set_limits(os.getpid(), program)
    except PermissionError:
        raise _may_not_be_raised(program) from None
    try:
        os.umask(program.umask)
        os.chdir(open_directory(program.directory, program.account))
        _become_user_by_exec(program.account)
        _execute(program)
    except OSError as error:
        if program.account is not None:
            os.seteuid(0)
            whom = f" by {program.account.name}"
        else:
            whom = ""
        what = f"{program.argv[0]} cannot be executed{whom}: {error.strerror}"
        raise CtlError("exec_failed", what, where=program.place("start.command")) from None


def _execute(program: Program) -> NoReturn:
    """As execvp(3) does it: what the kernel does not know the format of is a shell script."""
    try:
        os.execvpe(program.argv[0], program.argv, program.environment)
    except OSError as error:
        path = find_executable(program, program.argv[0])
        if error.errno != errno.ENOEXEC or path is None:
            raise
        os.execve(gate.SHELL, (gate.SHELL, path, *program.argv[1:]), program.environment)


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


def in_words(status: int) -> str:
    """A wait status as subprocess gives it, in words."""
    if status >= 0:
        return f"exited with status {status}"
    try:
        return f"was killed by {signal.Signals(-status).name.removeprefix('SIG')}"
    except ValueError:
        return f"was killed by signal {-status}"  # a real-time one


def fork(argv: tuple[str, ...], program: Program, account: Account | None, **others: Any) -> subprocess.Popen[bytes]:
    """A child in the program's directory and a session of its own, as that user and nobody else. Raises OSError."""
    directory = open_directory(program.directory, program.account)
    try:
        with let_others(Hurry.GREAT):
            return subprocess.Popen(
                argv,
                cwd=f"/proc/self/fd/{directory}",  # the child goes there before it is that user
                start_new_session=True,
                umask=program.umask,
                user=None if account is None else account.uid,
                group=None if account is None else account.gid,
                extra_groups=None if account is None else account.groups,
                **others,
            )
    finally:
        os.close(directory)


def _set_limits(pid: int, program: Program) -> None:
    """prlimit(2) and setpriority(2) reach the waiting child from outside. Raises PermissionError, CtlError."""
    with contextlib.suppress(ProcessLookupError):  # killed meanwhile, as its handle will tell
        for kind, bound in _limits_of(program):
            try:
                resource.prlimit(pid, kind, (bound, bound))
            except ValueError as error:
                raise CtlError("bad_config", str(error), where=program.place("start.limits")) from None
        if program.nice is not None:
            os.setpriority(os.PRIO_PROCESS, pid, program.nice)


def _limits_of(program: Program) -> list[tuple[int, int]]:
    """The limits in the kernel's terms, soft and hard alike."""
    return [
        (getattr(resource, f"RLIMIT_{name.upper()}"), resource.RLIM_INFINITY if value == "infinity" else int(value))
        for name, value in program.limits.items()
    ]


def _may_not_be_raised(program: Program) -> CtlError:
    hard = {name: resource.getrlimit(getattr(resource, f"RLIMIT_{name.upper()}"))[1] for name in program.limits}
    allowed = ", ".join(f"{name} {'infinity' if bound < 0 else bound}" for name, bound in hard.items())
    if allowed:
        what = f"its limits are above the hard ones here ({allowed}), and may not be raised without CAP_SYS_RESOURCE"
    else:
        what = "its priority may not be raised without CAP_SYS_NICE"
    return CtlError("permission_denied", what, where=program.place("start.limits" if allowed else "start.nice"))


def lack_of_interpreter(path: Path) -> str:
    """What to say of a script whose #! names what is not there; empty for any other file.

    execve(2) fails as if the script itself were not there. Nothing but a regular file is opened: a fifo would wait.
    """
    try:
        if not path.is_file():
            return ""
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            first = os.read(fd, 256).partition(b"\n")[0]
        finally:
            os.close(fd)
    except OSError:
        return ""
    words = first[2:].split() if first.startswith(b"#!") else []
    lacking = bool(words) and not os.access(words[0], os.X_OK)
    return f"needs {words[0].decode(errors='replace')}, which is not installed" if lacking else ""
