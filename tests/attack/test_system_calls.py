"""Every acting verb, killed with SIGKILL or failed by the kernel at its system calls: nothing is lost, and no lie told.

SIGKILL comes at every call that changes anything, or waits, from the first effect on, which is the opening of the lock
file: between two of them ctl only looks, and leaves behind what it would have left at the next. An error comes at every
call that can return it, from the reading of ctl.toml on. Of calls that are alike the first stands for all, and in every
run of the suite only some of these are tried. `bin/test --soak` tries all of these, --soak=12 the first twelve alike.

Each core has a pid namespace of its own, in which the process table is small and always the same: so the nth call of a
name is the same call in every run, and no other test's processes are counted.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import pytest

from attack.errors import errors_of, representatives
from attack.stage import Stage
from attack.verbs import VERBS
from support import pace
from support.pidreuse import Pids, in_own_namespace
from support.requires import requires_strace
from support.sandbox import Sandbox
from support.strace import Call, calls, changes, since, was_killed
from support.waiting import wait_file, wait_gone

SAMPLE = 3  # of each kind of accident, for each verb and core, in every run of the suite
ENOUGH = pace.choose(5, 1000)  # failures of one worker
MISSED = 3  # calls that one run makes and the next does not: a child may end before it is told to
LIMIT = pace.choose(240.0, 6 * 3600.0)
NewSandbox = Callable[[], AbstractContextManager[Sandbox]]


class Accident(NamedTuple):
    """What happens to ctl at one of its system calls."""

    call: Call
    error: str  # "": SIGKILL

    @property
    def inject(self) -> str:
        what = f"error={self.error}" if self.error else "signal=KILL"
        return f"--inject={self.call.name}:{what}:when={self.call.nth}"

    def __str__(self) -> str:
        return f"{self.error or 'KILL'} at {self.call}"


# -- inside a pid namespace, as its PID 1


def sweep(_: Pids, sandbox: Sandbox) -> dict[str, Any]:
    """This worker's share of the accidents of one verb."""
    plan = json.loads((sandbox.tmp / "plan").read_text(encoding="ascii"))
    stage = Stage(sandbox, VERBS[plan["verb"]])
    stage.prepare()
    accidents = [
        accident
        for kind in accidents_of(calls(sandbox, *stage.acting.argv, options=["-y"]), sandbox)
        for accident in sample(kind[plan["worker"] :: plan["workers"]])
    ]
    missed, failed = [], []
    for accident in accidents:
        try:
            stage.prepare()
            result = stage.call("strace", "-o", "/dev/null", "-e", f"trace={accident.call.name}", accident.inject)
            killed = was_killed(result)
            missed += [] if killed or accident.error else [f"{accident}: {result}"]
            stage.judge(result, killed)
        except Exception as error:
            failed.append(f"{accident}\n{type(error).__name__}: {error}")
            if len(failed) == ENOUGH:
                break
            stage.clear()
    stage.clear()
    return {"tried": len(accidents), "missed": missed, "failed": failed}


def fail_after_the_signal(_: Pids, sandbox: Sandbox) -> dict[str, Any]:
    """What each verb says where the first file that it opens once a signal is sent cannot be read."""
    told = {}
    for verb in ("stop", "kill", "resume"):
        stage = Stage(sandbox, VERBS[verb])
        stage.prepare()
        found = since(calls(sandbox, *stage.acting.argv), "pidfd_send_signal")
        call = next(call for call in found if call.name == "openat" and '"/proc/' in call.line)
        stage.prepare()
        result = stage.call("strace", "-o", "/dev/null", Accident(call, "EIO").inject)
        stage.judge(result, killed=False)
        told[verb] = {name: result.one[name] for name in ("before", "changed", "signals")}
        stage.clear()
    return told


def accidents_of(found: Sequence[Call], sandbox: Sandbox) -> Iterator[list[Accident]]:
    """The kills, then the errors."""
    each = max(1, int(pace.SOAK))
    lasting = representatives(changes(since(found, "web.lock")), sandbox.root, each)
    failing = representatives(since(found, "ctl.toml"), sandbox.root, each)
    yield [Accident(call, "") for call in lasting]
    yield [Accident(call, error) for call in failing for error in errors_of(call)]


def sample(kind: Sequence[Accident]) -> Sequence[Accident]:
    """Some of them, evenly spread and always the same."""
    if pace.SOAK or len(kind) <= SAMPLE:
        return kind
    return [kind[index * len(kind) // SAMPLE] for index in range(SAMPLE)]


# -- outside


def on_all_cores(new_sandbox: NewSandbox, verb: str) -> list[dict[str, Any]]:
    workers = len(os.sched_getaffinity(0))

    def work(worker: int) -> Any:
        with new_sandbox() as sandbox:
            plan = {"verb": verb, "worker": worker, "workers": workers}
            (sandbox.tmp / "plan").write_text(json.dumps(plan), encoding="ascii")
            return in_own_namespace(sandbox, sweep, timeout=LIMIT)

    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(work, range(workers)))


@pytest.mark.soak
@pytest.mark.timeout(LIMIT + 60)
@pytest.mark.parametrize("verb", VERBS)
def test_killed_or_failed_at_its_system_calls(new_sandbox: NewSandbox, verb: str) -> None:
    requires_strace()
    parts = on_all_cores(new_sandbox, verb)
    tried = sum(part["tried"] for part in parts)
    failed, missed = ([text for part in parts for text in part[which]] for which in ("failed", "missed"))
    print(f"{verb}: {tried} accidents, not killed at {len(missed)}")
    assert not failed, f"{len(failed)} of {tried}:\n" + "\n\n".join(failed)
    assert tried >= 10
    allowed = max(MISSED, 0.1 * tried)
    assert len(missed) <= allowed, "the calls of one run are not those of the next:\n" + "\n".join(missed[:10])


def test_what_was_sent_is_told_where_the_look_after_it_fails(sandbox: Sandbox) -> None:
    requires_strace()
    for verb, told in in_own_namespace(sandbox, fail_after_the_signal).items():
        assert told["before"] == VERBS[verb].before, verb
        assert told["changed"], verb
        assert told["signals"], verb


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
    assert sandbox.running("web") == []
    assert not sandbox.has_run("web"), "its record is left"
    assert not sandbox.pid_file("web").exists(), "its pid file is left"
