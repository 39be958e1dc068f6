"""ctl killed with SIGKILL at its system calls: no service ever runs unrecorded, and the next ctl goes on from there.

From the first effect on, which is the opening of its lock file, it is killed at every call that changes anything, or
waits: between two of them it only looks, and leaves behind what it would have left at the next. Each core has a pid
namespace of its own, in which the process table is small and always the same: so the nth call of a name is the same
call in every run, and no other test's processes are counted.
"""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any

import pytest

from support import proc
from support.pidreuse import Pids, Scenario, in_own_namespace
from support.reaper import MARK
from support.requires import requires_strace
from support.sandbox import Sandbox
from support.strace import calls, changes, kill_at, since, was_killed
from support.waiting import wait_file, wait_gone, wait_until

LASTING = frozenset({"vfork", "write", "rename", "unlink", "flock", "pidfd_send_signal", "wait4", "exit_group"})
ENOUGH = 5  # failures of one worker
MISSED = 5  # calls that one run makes and the next does not: a child may end before it is told to
AT_ONCE, SOON = {"settle": 0}, {"settle": 0.05}  # by the clock alone: every start makes the same calls
NewSandbox = Callable[[], AbstractContextManager[Sandbox]]


def define(sandbox: Sandbox, kind: str) -> None:
    """The service `web`: simple, forking, or a simple one with children that outlive their parent's TERM."""
    if kind == "forking":
        pid_file = sandbox.tmp / "daemon.pid"
        forking = {"type": "forking"}
        kept = {"pid_file": str(pid_file)}
        sandbox.service("web", "forker", "--pidfile", pid_file, start=forking, ready=SOON, stop=kept)
    elif kind == "tree":
        sandbox.service("web", "tree", 2, 1, ready=AT_ONCE)
    else:
        sandbox.service("web", "polite", ready=SOON)


# -- inside a pid namespace, as its PID 1


def start_simple(_: Pids, sandbox: Sandbox) -> dict[str, Any]:
    define(sandbox, "simple")
    return sweep(sandbox, "start")


def start_forking(_: Pids, sandbox: Sandbox) -> dict[str, Any]:
    """It begins as a simple one does: here only what has a lasting effect is told apart."""
    define(sandbox, "forking")
    return sweep(sandbox, "start", LASTING)


def stop(_: Pids, sandbox: Sandbox) -> dict[str, Any]:
    define(sandbox, "tree")
    return sweep(sandbox, "stop")


def restart(_: Pids, sandbox: Sandbox) -> dict[str, Any]:
    """Its halves are those of a stop and a start: here only what has a lasting effect is told apart."""
    define(sandbox, "tree")
    return sweep(sandbox, "restart", LASTING)


def sweep(sandbox: Sandbox, verb: str, only: frozenset[str] = frozenset()) -> dict[str, Any]:
    """Kills `ctl VERB web` at this worker's share of the system calls that change anything, or of those named."""
    if verb != "start":
        sandbox.ctl("start", "web").expect(0)
    found = since(calls(sandbox, verb, "web"), "web.lock")
    chosen = [call for call in changes(found) if not only or call.name in only]
    worker, workers = json.loads((sandbox.tmp / "share").read_text(encoding="ascii"))
    missed, failed, seen = [], [], set[str]()
    for call in chosen[worker::workers]:
        clear(sandbox)
        if verb != "start":
            sandbox.ctl("start", "web").expect(0)
        try:
            result = kill_at(sandbox, call, verb, "web")
            missed += [] if was_killed(result) else [f"at {call}: {result}"]
            {"start": after_start, "stop": after_stop, "restart": after_restart}[verb](sandbox, seen)
        except Exception as error:
            failed.append(f"killed at {call}\n{type(error).__name__}: {error}")
            if len(failed) == ENOUGH:
                break
    clear(sandbox)
    return {"all": len(found), "tried": len(chosen[worker::workers]), "missed": missed, "failed": failed}


def after_start(sandbox: Sandbox, seen: set[str]) -> None:
    """Nothing of the service runs, or it is recorded, found and killed; and it can be started anew."""
    wait_until(lambda: sandbox.record("web").exists() or not living(sandbox), "what runs is recorded", timeout=5)
    if living(sandbox) or left_on_disk(sandbox) not in seen:
        assert_truthful_status(sandbox)
        sandbox.ctl("kill", "web").expect(0)
        assert_nothing_left(sandbox)
    if (left := left_on_disk(sandbox)) not in seen:  # a start begins from what is on disk: once for each such state
        seen.add(left)
        started = sandbox.ctl("start", "web", "--json").expect(0).one
        assert_runs(sandbox, started["pid"])
        assert len(living(sandbox)) == 1
        sandbox.ctl("stop", "web").expect(0)
        assert_nothing_left(sandbox)


def after_stop(sandbox: Sandbox, _: set[str]) -> None:
    """Status tells the truth, and a second stop finishes the job."""
    assert_truthful_status(sandbox)
    sandbox.ctl("stop", "web").expect(0)
    assert_nothing_left(sandbox)


def after_restart(sandbox: Sandbox, _: set[str]) -> None:
    """Status tells the truth, and a second restart finishes the job."""
    assert_truthful_status(sandbox)
    pid = sandbox.ctl("restart", "web", "--json").expect(0).one["pid"]
    assert_runs(sandbox, pid)
    # A child behind the gate ends when it finds that ctl is gone, in its own time.
    wait_until(lambda: {proc.session(member) for member in living(sandbox)} == {pid}, "only the new one", timeout=5)


def living(sandbox: Sandbox) -> list[int]:
    """Every process of the service, whatever ctl knows of it."""
    ours = proc.with_environment(MARK, sandbox.reaper.mark)
    return sorted(pid for pid in proc.services("web") if pid in ours)


def left_on_disk(sandbox: Sandbox) -> str:
    """What a killed ctl has left in the run directory, without the numbers in it."""
    files = sorted(path for path in sandbox.run_dir.iterdir() if path.suffix != ".lock")
    return re.sub(r"\d+", "N", " ".join(f"{path.name} {path.read_text(encoding='utf-8')}" for path in files))


def assert_truthful_status(sandbox: Sandbox) -> None:
    status, before = None, [0]
    while before != living(sandbox):  # something was on its way out, or up: ask again
        before = living(sandbox)
        status = sandbox.ctl("status", "web", "--json")
    assert status
    if status.rc == 0:
        pid = status.one["pid"]
        wait_until(lambda: pid in living(sandbox) or not proc.alive(pid), f"pid {pid} is of the service", timeout=5)
        if not proc.alive(pid):  # since then, as a child behind the gate does: ask again
            assert_truthful_status(sandbox)
    else:  # of what it did not see, nothing is more than what a main process has left behind
        assert status.rc in {1, 3}, status
        assert all(proc.session(pid) != pid for pid in before), f"{before} not seen: {status}"


def assert_runs(sandbox: Sandbox, pid: int) -> None:
    # A process that is still being executed shows no environment yet.
    wait_until(lambda: pid in living(sandbox), f"pid {pid} is a process of the service", timeout=5)


def assert_nothing_left(sandbox: Sandbox) -> None:
    assert living(sandbox) == [], "processes of it are left"
    assert not sandbox.record("web").exists(), "its record is left"
    assert not sandbox.pid_file("web").exists(), "its pid file is left"


def clear(sandbox: Sandbox) -> None:
    """The state in which the calls were counted."""
    sandbox.ctl("kill", "web").expect(0) if living(sandbox) else None
    for directory in (sandbox.run_dir, sandbox.log_dir):
        for path in directory.iterdir():
            path.unlink()
    (sandbox.tmp / "daemon.pid").unlink(missing_ok=True)
    for pid in proc.children(os.getpid()):  # ctl's orphans are ours here: zombies would be counted by a scan
        if proc.state(pid) == "Z":
            os.waitpid(pid, 0)


# -- outside


def on_all_cores(new_sandbox: NewSandbox, scenario: Scenario) -> list[dict[str, Any]]:
    workers = len(os.sched_getaffinity(0))

    def work(worker: int) -> Any:
        with new_sandbox() as sandbox:
            (sandbox.tmp / "share").write_text(json.dumps([worker, workers]), encoding="ascii")
            return in_own_namespace(sandbox, scenario, timeout=240)

    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(work, range(workers)))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("scenario", [start_simple, start_forking, stop, restart], ids=lambda s: s.__name__)
def test_killed_at_its_system_calls(new_sandbox: NewSandbox, scenario: Scenario) -> None:
    requires_strace()
    parts = on_all_cores(new_sandbox, scenario)
    tried = sum(part["tried"] for part in parts)
    failed, missed = ([text for part in parts for text in part[which]] for which in ("failed", "missed"))
    print(f"{tried} of {parts[0]['all']} calls, not killed at {len(missed)}")
    assert not failed, f"{len(failed)} of {tried}:\n" + "\n\n".join(failed[:10])
    assert tried >= 20
    allowed = max(MISSED, 0.1 * tried)
    assert len(missed) <= allowed, "the calls of one run are not those of the next:\n" + "\n".join(missed[:10])


def test_killed_while_a_ready_command_runs(sandbox: Sandbox) -> None:
    """What a probe leaves running is not the service, and does not outlive its kill."""
    asked = sandbox.tmp / "asked"
    probe = ["sh", "-c", 'echo $$ >"$0.new"; mv "$0.new" "$0"; exec tail -f /dev/null', str(asked)]
    sandbox.service("web", "polite", ready={"command": probe, "timeout": 600})
    start = sandbox.ctl_popen("start", "web")
    asking = sandbox.reaper.adopt(int(wait_file(asked)))
    pid = sandbox.pid("web")
    start.signal(signal.SIGKILL)
    start.wait()
    status = sandbox.ctl("status", "web", "--json").expect(0).one
    assert (status["pid"], status["claim"][0]["verdict"]) == (pid, "holds")
    assert sandbox.ctl("kill", "web", "--json").expect(0).one["pid"] == pid
    assert sandbox.ctl("status", "web", "--json").expect(3).one["state"] == "stopped"
    wait_gone(asking, 5)
    assert_nothing_left(sandbox)
