"""The commands of a definition, probes and hooks. Each has a session and a time of its own and leaves nothing."""

from __future__ import annotations

import io
import os
import select
import subprocess
from pathlib import Path
from typing import Final, cast

from ctl.model.answer import Answer
from ctl.model.program import Program
from ctl.model.verdict import NO, UNKNOWN, YES
from ctl.system import descriptors, procfs
from ctl.system.environment import new_run_id
from ctl.system.marks import Marks
from ctl.system.members import Members
from ctl.system.spawn import find_executable, fork, in_words, lack_of_interpreter
from ctl.system.wait import now

_MARK: Final = "CTL_HOOK_ID"
_CHUNK: Final = 65536  # bytes, as many as a pipe holds, pipe(7)
_OUTPUT_KEPT: Final = 4096  # bytes of its end; it may print megabytes
_KILLED_WITHIN: Final = 5.0  # seconds for all of it
_CLEAN_UP_WITHIN: Final = 1.0  # seconds for what was killed to be gone


def run_command(argv: tuple[str, ...], program: Program, seconds: float, given_up: int) -> Answer:
    """Yes where it exits 0, no where it exits with another status.

    It runs as the service's user, in its environment and directory. What still runs of it when it has ended, when its
    `seconds` are over or when the descriptor `given_up` becomes readable, is killed. Should ctl itself be killed
    before, a kill or stop of the service ends it too, by its run id. It has no CTL_TARGET, and so is never taken for
    the service.
    """
    asked = f"command {argv[0]}"
    path = find_executable(program, argv[0])
    if path is None:
        return Answer(UNKNOWN, "not installed", asked)
    hook_id, began = new_run_id(), int(procfs.ticks_now())
    try:
        with _launch((path, *argv[1:]), program, hook_id) as child:
            try:
                in_time, said = _follow(child, seconds, given_up)
            finally:
                uid = os.geteuid() if program.account is None else program.account.uid
                _kill_hook(hook_id, began, uid, child.pid)
    except OSError as error:
        return Answer(UNKNOWN, _why_not(error, path, program.directory), asked)
    if child.returncode == 0:
        return Answer(YES)
    lines = said.decode(errors="replace").strip().splitlines()
    last_line = f": {lines[-1]}" if lines else ""
    if not in_time:
        return Answer(UNKNOWN, f"no answer in {seconds:.3g} s{last_line}", asked)
    how = f"exit status {child.returncode}" if child.returncode > 0 else in_words(child.returncode)
    return Answer(NO, f"{how}{last_line}", asked)


def _launch(argv: tuple[str, ...], program: Program, hook_id: str) -> subprocess.Popen[bytes]:
    environment = {name: value for name, value in program.environment.items() if name != "CTL_TARGET"}
    return fork(
        argv,
        program,
        program.account,
        bufsize=0,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment | {_MARK: hook_id},
        # Python between fork and exec, so no more of it than one system call, and only where that is needed.
        preexec_fn=None if descriptors.given() is None else descriptors.restore,
    )


def _why_not(error: OSError, path: str, directory: str) -> str:
    if error.filename == directory:  # Popen tells so where it was chdir(2) that failed
        return f"cannot be executed in {directory}: {error.strerror}"
    file = Path(directory, path)
    if isinstance(error, FileNotFoundError) and not file.exists():
        return "not installed"
    return lack_of_interpreter(file) or f"cannot be executed: {error.strerror}"


def _follow(child: subprocess.Popen[bytes], seconds: float, given_up: int) -> tuple[bool, bytes]:
    """Read what it writes until it ends, its time is over or it is given up: whether it ended, and its last output.

    Its output is not waited for: what it has started may hold that open for ever.
    """
    deadline = now() + seconds
    pidfd, output = os.pidfd_open(child.pid), cast(io.FileIO, child.stdout)
    os.set_blocking(output.fileno(), False)
    poll = select.poll()
    for fd in (pidfd, given_up, output.fileno()):
        poll.register(fd, select.POLLIN)
    said = b""
    try:
        while True:
            ready = {fd for fd, _ in poll.poll(max(0.0, deadline - now()) * 1000)}
            chunk = output.read(_CHUNK)
            if chunk == b"" and output.fileno() in ready:
                poll.unregister(output)
            said = (said + (chunk or b""))[-_OUTPUT_KEPT:]
            if ready & {pidfd, given_up} or now() >= deadline:
                return pidfd in ready, said
    finally:
        os.close(pidfd)


def _kill_hook(hook_id: str, since_ticks: int, uid: int, session: int) -> None:
    """Kill what carries this id, wherever it went, and what that has started meanwhile."""
    marks = Marks(values={_MARK: frozenset({hook_id})}, uid=uid, sessions=frozenset({session}))
    members = Members([], marks, since_ticks)
    try:
        until = now() + _KILLED_WITHIN  # it may fork as quickly as it is killed
        while (left := members.refresh()) and now() < until:
            for member in left:
                member.send("KILL")
            if not all(_ends_soon(member.fd) for member in left):
                break  # in a state in which nothing can be killed
    finally:
        members.close()


def _ends_soon(pidfd: int) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(_CLEAN_UP_WITHIN * 1000))
