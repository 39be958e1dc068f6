"""The commands of a definition, probes and hooks. Each has a session and a time of its own and leaves nothing."""

from __future__ import annotations

import os
import select
from typing import Final, NamedTuple

from ctl.model.program import Program
from ctl.model.verdict import NO, UNKNOWN, YES, Verdict
from ctl.system import procfs
from ctl.system.environment import new_run_id
from ctl.system.pidfd import open_handle, open_pidfd
from ctl.system.spawn import become_user, find_executable

_MARK: Final = "CTL_HOOK_ID"
_OUTPUT_KEPT: Final = 1024  # characters of a chunk of its output; it may print megabytes
_CHUNKS_KEPT: Final = 4


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
    hook_id = new_run_id()
    environment = {name: value for name, value in program.environment.items() if name != "CTL_TARGET"}
    output: list[str] = []
    in_time = True
    try:
        running = sh.Command(path)(
            *argv[1:],
            _bg=True,
            _bg_exc=False,
            _return_cmd=True,
            _new_session=True,
            _tty_out=False,
            _decode_errors="replace",
            _out=lambda chunk: _keep(output, chunk),
            _err=lambda chunk: _keep(output, chunk),
            _env=environment | {_MARK: hook_id},
            _cwd=program.directory,
            # Not sh's _uid: that knows neither a group of its own nor a user without an entry in passwd(5).
            _preexec_fn=lambda: become_user(program.account, program.umask),
        )
        in_time = _await_end(running.pid, seconds, given_up)
        _kill_hook(hook_id)
        running.wait()
    except sh.CommandNotFound:
        return Answer(UNKNOWN, f"command {argv[0]}: cannot be executed")
    except sh.ErrorReturnCode as error:
        if not in_time:
            return Answer(UNKNOWN, f"command {argv[0]}: no answer in {seconds:.3g} s{_last_line(output)}")
        return Answer(NO, f"command {argv[0]}: exit status {error.exit_code}{_last_line(output)}")
    except (OSError, sh.ForkException) as error:
        return Answer(UNKNOWN, f"command {argv[0]}: cannot run: {error}")
    return Answer(YES)


def _await_end(pid: int, seconds: float, given_up: int) -> bool:
    """Wait for the end of our child. False where its time was over, or it was given up, before."""
    pidfd = open_pidfd(pid)
    if pidfd is None:
        return True
    try:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        poll.register(given_up, select.POLLIN)
        return pidfd in {fd for fd, _ in poll.poll(seconds * 1000)}
    finally:
        os.close(pidfd)


def _keep(output: list[str], chunk: str) -> None:
    output.append(chunk[-_OUTPUT_KEPT:])
    del output[:-_CHUNKS_KEPT]


def _last_line(output: list[str]) -> str:
    lines = "".join(output).strip().splitlines()
    return f": {lines[-1]}" if lines else ""


def _kill_hook(hook_id: str) -> None:
    """Kill what carries this id, wherever it went."""
    for pid in procfs.pids():
        try:
            if procfs.read_variable(pid, _MARK) != hook_id:
                continue
            handle = open_handle(pid)
            if handle is None:
                continue
            with handle:
                if procfs.read_variable(pid, _MARK) == hook_id:
                    handle.send("KILL")
        except (procfs.Gone, procfs.Forbidden):
            continue
