"""A recycled pid, on order: scenarios run as PID 1 of a pid namespace of their own, where pids can be chosen.

    def recycled(pids: Pids, sandbox: Sandbox) -> dict[str, object]:
        sandbox.ctl("start", "web").expect(0)
        pid = sandbox.pid("web")
        pids.end(pid)
        innocent = pids.start_as(pid, sandbox.programs("recorder"))
        result = sandbox.ctl("stop", "web", "--json")
        assert_untouched(innocent)
        return {"rc": result.rc, "reason": result.one["reason"]}

    def test_recycled(sandbox: Sandbox) -> None:
        assert in_own_namespace(sandbox, recycled)["reason"] == "already_stopped"

The scenario is a module-level function of the test's file, which is loaded again inside; what it returns comes back as
JSON, and what it raises fails the test. As PID 1 it is the parent of every orphan: a process of ctl's is a zombie, and
its pid not free, until `end` or `reap` is called. All processes of the namespace die with it.
"""

from __future__ import annotations

import ctypes
import importlib.util
import inspect
import json
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support import pace, proc
from support.programs import Programs
from support.reaper import Process, Reaper
from support.requires import requires_mounts
from support.sandbox import ROOT, Sandbox
from support.waiting import TIMEOUT

TRIES = 200
CLONE3 = 435  # on every architecture
_libc = ctypes.PyDLL(None, use_errno=True)  # it keeps the interpreter's lock: the child goes on in Python
Scenario = Callable[["Pids", Sandbox], Any]


@dataclass(frozen=True)
class Twins:
    """Two processes, one after the other, with the same pid and the same start time: the first is gone."""

    pid: int
    start_time: int
    old_pidfd: int
    old_inode: int
    new_pidfd: int
    new_inode: int


class Pids:
    """The choice of pids inside the namespace."""

    def __init__(self, reaper: Reaper, programs: Programs) -> None:
        self._reaper, self._programs = reaper, programs

    def start_as(self, pid: int, argv: Sequence[str | Path], **options: Any) -> Process:
        """`Reaper.start`, with exactly this pid."""
        leads = bool(options.pop("start_new_session", False))
        process = self._reaper.start([*self._programs("start_as", pid, int(leads)), *map(str, argv)], **options)
        failed = process.wait()
        assert not failed, f"pid {pid} was not to be had: {os.strerror(failed)}"
        process.become(pid)
        return process

    def fork_as(self, pid: int, then: Callable[[], None] = lambda: None) -> int:
        """Forks an idle child with exactly this pid, faster than `start_as`; `then` is what it does first."""
        if _clone_as(pid) == 0:
            then()
            while True:
                signal.pause()
        return pid

    def end(self, pid: int) -> None:
        """Kills the child or orphan and frees its pid."""
        pidfd = os.pidfd_open(pid)
        try:
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        finally:
            os.close(pidfd)
        self.reap(pid)

    def reap(self, pid: int) -> int:
        """Waits for the end of the child or orphan and frees its pid; returns its exit status, -N for signal N."""
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def twins(self, pid: int) -> Twins:
        """Recycles the pid within one clock tick. The new one is an idle fork of this process: end it with `end`."""
        for _ in range(TRIES):
            self.fork_as(pid)
            old_pidfd, old_start = os.pidfd_open(pid), proc.start_time(pid)
            old_inode = proc.pidfd_inode(old_pidfd)
            self.end(pid)
            self.fork_as(pid)
            if proc.start_time(pid) == old_start:
                new_pidfd = os.pidfd_open(pid)
                return Twins(pid, old_start, old_pidfd, old_inode, new_pidfd, proc.pidfd_inode(new_pidfd))
            self.end(pid)
            os.close(old_pidfd)
        raise AssertionError("never twice within one tick")


def in_own_namespace(sandbox: Sandbox, scenario: Scenario, timeout: float = 3 * TIMEOUT) -> Any:
    """What the scenario returns."""
    requires_mounts()
    inside = [sys.executable, "-m", "support.pidreuse", inspect.getfile(scenario), scenario.__name__]
    state = {"root": str(sandbox.root), "mark": sandbox.reaper.mark, "build": str(sandbox.programs.build_dir)}
    own = {"PYTHONPATH": f"{ROOT / 'tests'}:{ROOT / 'lib'}", "PYTHONDONTWRITEBYTECODE": "1", **pace.environment()}
    process = sandbox.reaper.start(
        ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", *inside, json.dumps(state)],
        ready=None,
        stderr=subprocess.PIPE,
        env=sandbox.environment(own),
    )
    assert process.out
    assert process.err
    *_, last = process.out.rest(timeout) or [""]
    errors = "\n".join(process.err.rest(timeout))
    assert process.wait(timeout) == 0, f"{scenario.__name__} failed in its pid namespace:\n{errors}"
    return json.loads(last)


def _clone_as(pid: int) -> int:
    """fork(2), with this pid for the child: clone3(2) with set_tid, Linux 5.5. Raises OSError."""
    wanted = ctypes.c_int(pid)
    clone_args = struct.pack("11Q", 0, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, ctypes.addressof(wanted), 1, 0)
    child: int = _libc.syscall(CLONE3, clone_args, len(clone_args))
    if child < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), f"pid {pid}")
    return child


def _inside(file: str, function: str, state: dict[str, str]) -> None:
    assert os.getpid() == 1, "not in a pid namespace of its own"
    spec = importlib.util.spec_from_file_location("scenario", file)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["scenario"] = module
    spec.loader.exec_module(module)
    reaper, programs = Reaper(state["mark"]), Programs(Path(state["build"]))
    sandbox = Sandbox(Path(state["root"]), reaper, programs)
    print(json.dumps(getattr(module, function)(Pids(reaper, programs), sandbox)), flush=True)
    os._exit(0)  # the kernel ends what is left in the namespace


if __name__ == "__main__":
    _inside(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]))
