"""The commands of a definition, probes and hooks. Each has a session and a time of its own and leaves nothing."""

from __future__ import annotations

import os
import select
import signal
from typing import Any, BinaryIO, Final, NamedTuple

from ctl.model.program import Program
from ctl.model.verdict import NO, UNKNOWN, YES, Verdict
from ctl.system import descriptors, procfs
from ctl.system.environment import new_run_id
from ctl.system.members import Members
from ctl.system.pidfd import open_pidfd
from ctl.system.spawn import become_user, find_executable

_MARK: Final = "CTL_HOOK_ID"
_OUTPUT_KEPT: Final = 1024  # characters of a chunk of its output; it may print megabytes
_CHUNKS_KEPT: Final = 4
_CLEAN_UP_WITHIN: Final = 1.0  # seconds for what was killed to be gone


class Answer(NamedTuple):
    """What a probe says, or whether a hook did its work: unknown where it could not be asked, or did not answer."""

    verdict: Verdict
    why: str = ""  # in one line; empty for a yes


def run_command(argv: tuple[str, ...], program: Program, seconds: float, given_up: int) -> Answer:
    """Yes where it exits 0, no where it exits with another status.

    It runs as the service's user, in its environment and directory. What still runs of it when it has ended, when its
    `seconds` are over or when the descriptor `given_up` becomes readable, is killed. Should ctl itself be killed
    before, a kill or stop of the service ends it too, by its run id. It has no CTL_TARGET, and so is never taken for
    the service.
    """
    import sh

    path = find_executable(program, argv[0])
    if path is None:
        return Answer(UNKNOWN, f"command {argv[0]}: not installed")
    hook_id, began = new_run_id(), int(procfs.ticks_now())
    environment = {name: value for name, value in program.environment.items() if name != "CTL_TARGET"}
    output: list[str] = []
    in_time = True
    try:
        with open(os.devnull, "rb") as nothing:
            running = _launch(sh.Command(path), argv, program, environment | {_MARK: hook_id}, nothing, output)
        in_time = _ends_in_time(running.pid, seconds, given_up)
        _kill_hook(hook_id, began)
        running.wait()
    except sh.CommandNotFound:
        problem = "cannot be executed" if os.path.exists(path) else "not installed"
        return Answer(UNKNOWN, f"command {argv[0]}: {problem}")
    except sh.ErrorReturnCode as error:
        if not in_time:
            return Answer(UNKNOWN, f"command {argv[0]}: no answer in {seconds:.3g} s{_last_line(output)}")
        code = error.exit_code
        how = f"exit status {code}" if code >= 0 else f"was killed by signal {-code}"
        return Answer(NO, f"command {argv[0]}: {how}{_last_line(output)}")
    except (OSError, sh.ForkException) as error:
        why = str(error).strip().splitlines()[-1].rpartition("] ")[2]  # of what sh tells, the line of the exception
        return Answer(UNKNOWN, f"command {argv[0]}: cannot be executed: {why}")
    return Answer(YES)


def _launch(
    command: Any,
    argv: tuple[str, ...],
    program: Program,
    environment: dict[str, str],
    stdin: BinaryIO,
    output: list[str],
) -> Any:
    def become() -> None:
        # sh ignores HUP in what it runs in the background, and Python XFSZ: neither is meant for the command.
        for signum in (signal.SIGHUP, signal.SIGXFSZ):
            signal.signal(signum, signal.SIG_DFL)
        descriptors.restore()
        # Not sh's _uid: that knows neither a group of its own nor a user without an entry in passwd(5).
        become_user(program.account, program.umask)

    return command(
        *argv[1:],
        _in=stdin,
        _out=lambda chunk: _keep(output, chunk),
        _err=lambda chunk: _keep(output, chunk),
        _bg=True,
        _bg_exc=False,
        _return_cmd=True,
        _new_session=True,
        _tty_out=False,
        _decode_errors="replace",
        _env=environment,
        _cwd=program.directory,
        _preexec_fn=become,
    )


def _ends_in_time(pid: int, seconds: float, given_up: int) -> bool:
    pidfd = open_pidfd(pid)
    if pidfd is None:
        return True
    try:
        return _await_end(pidfd, seconds, given_up)
    finally:
        os.close(pidfd)


def _await_end(pidfd: int, seconds: float, *given_up: int) -> bool:
    """Wait for the end of a process. False where its time was over, or it was given up, before."""
    poll = select.poll()
    for fd in (pidfd, *given_up):
        poll.register(fd, select.POLLIN)
    return pidfd in {fd for fd, _ in poll.poll(seconds * 1000)}


def _keep(output: list[str], chunk: str) -> None:
    output.append(chunk[-_OUTPUT_KEPT:])
    del output[:-_CHUNKS_KEPT]


def _last_line(output: list[str]) -> str:
    lines = "".join(output).strip().splitlines()
    return f": {lines[-1]}" if lines else ""


def _kill_hook(hook_id: str, since_ticks: int) -> None:
    """Kill what carries this id, wherever it went, and what that has started meanwhile."""
    members = Members([], [hook_id], since_ticks, _MARK)
    try:
        while left := members.refresh():
            for member in left:
                member.send("KILL")
            if not all(_await_end(member.fd, _CLEAN_UP_WITHIN) for member in left):
                break  # in a state in which nothing can be killed
    finally:
        members.close()
