"""A pid that was the service's is another process's while stop, kill, pause, reload or restart is under way.

It is recycled after any system call of ctl, and by the dozen at any moment. Half of the innocents are of the service's
user, half of another. One with a signal pending, or stopped, or gone, was signalled: not one may be.
"""

from __future__ import annotations

import json
import os
import random
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from itertools import pairwise
from typing import Any

import pytest

from attack.errors import representatives
from attack.innocent import Innocent, take
from attack.stage import HANG, Stage
from attack.verbs import Acting
from support import pace, proc
from support.pidreuse import Pids, in_own_namespace
from support.reaper import Process
from support.requires import requires_strace
from support.sandbox import PLAIN_UID, Sandbox
from support.strace import Call, calls, since
from support.waiting import readable, wait_on_disk

VERBS = {"stop": "running", "kill": "running", "pause": "running", "reload": "running", "restart": "running"}
USERS = (0, PLAIN_UID)
SERVICES = 24  # at a time
REUSES = int(pace.choose(10, 1000 * pace.SOAK))  # for each verb
SAMPLE = 3  # of the other system calls, for each verb, in every run of the suite
LIMIT = pace.choose(120.0, 3600.0 * pace.SOAK)
NewSandbox = Callable[[], AbstractContextManager[Sandbox]]


def plan(sandbox: Sandbox) -> Any:
    return json.loads((sandbox.tmp / "plan").read_text(encoding="ascii"))


# -- inside: after one system call


def after_each_call(pids: Pids, sandbox: Sandbox) -> dict[str, Any]:
    verb, worker, workers = plan(sandbox)
    stage = Stage(sandbox, Acting(verb, (verb, "web", "--json"), VERBS[verb], "alone"))
    stage.prepare()
    mine = points(calls(sandbox, *stage.acting.argv, options=["-y"]), sandbox)[worker::workers]
    reused, wrong = 0, []
    for number, call in enumerate(mine):
        stage.prepare()
        assert stage.main
        with stopped_after(sandbox, call, stage.acting.argv) as is_held:
            innocent = take(pids, stage.main, USERS[number % 2]) if is_held else None
        if innocent:
            reused += 1
            wrong += harmed([innocent], f"after {call}")
            sandbox.ctl("kill", "web")
            wrong += harmed([innocent], f"by the next kill, after {call}")
            innocent.end()
        stage.clear()
    return {"reused": reused, "tried": len(mine), "wrong": wrong}


def points(found: Sequence[Call], sandbox: Sandbox) -> list[Call]:
    """Those right before a signal is sent, and of the others one for all that are alike, or some of these."""
    found = [call for call in since(found, "web.lock") if call.name != "exit_group"]
    last = [before for before, call in pairwise(found) if call.name in {"pidfd_send_signal", "kill", "tgkill"}]
    alike = representatives(found, sandbox.root, max(1, int(pace.SOAK)))
    others = [call for call in alike if call not in last]
    return last + (others if pace.SOAK else others[:: len(others) // SAMPLE])


@contextmanager
def stopped_after(sandbox: Sandbox, call: Call, argv: Sequence[str]) -> Iterator[bool]:
    """ctl is held by SIGSTOP after this call for the block, then goes on to its end. False: it made no such call."""
    output = sandbox.tmp / "held"
    output.unlink(missing_ok=True)
    inject = f"--inject={call.name}:signal=STOP:when={call.nth}"
    strace = sandbox.ctl_popen(*argv, prefix=["strace", "-o", output, "-e", f"trace={call.name}", inject])

    def how() -> str | None:
        text = output.read_text(encoding="utf-8", errors="replace") if output.exists() else ""
        return next((end for end in ("stopped by SIGSTOP", "+++") if end in text), None)

    is_held = wait_on_disk(output, how, HANG, lambda: f"neither stopped nor ended, {call}") != "+++"
    held = [sandbox.reaper.adopt(pid) for pid in proc.children(strace.pid)] if is_held else []
    try:
        yield is_held
    finally:
        for pidfd in held:
            signal.pidfd_send_signal(pidfd, signal.SIGCONT)
        assert sandbox.collect(strace, HANG).rc != 199, f"a fault in ctl, {call}"


# -- inside: many, at any moment


def by_the_dozen(pids: Pids, sandbox: Sandbox) -> dict[str, Any]:
    verb, worker, workers = plan(sandbox)
    names = [f"s{number}" for number in range(SERVICES)]
    for number, name in enumerate(names):
        define(sandbox, name, number)
    chance = random.Random(f"{verb} {worker}")
    wanted, reused, wrong, rounds = -(-REUSES // workers), 0, [], 0
    takes = 0.5  # seconds that the verb takes, as the last one did
    while reused < wanted:
        rounds += 1
        assert rounds < 20 + wanted, f"only {reused} in {rounds} rounds"
        sandbox.ctl("start", *names).expect(0)
        victims = [pid for name in names for pid in victims_of(sandbox, name)]
        chance.shuffle(victims)
        ctl = sandbox.ctl_popen(verb, *names, "--json")
        innocents = list(recycled(pids, ctl, victims, chance, takes))
        result = sandbox.collect(ctl, HANG)
        takes = max(0.2, result.seconds)
        assert result.rc != 199, result
        wrong += harmed(innocents, f"round {rounds}, {verb}")
        sandbox.ctl("kill", *names)
        wrong += harmed(innocents, f"round {rounds}, kill after {verb}")
        for innocent in innocents:
            innocent.end()
        reap()
        reused += len(innocents)
    return {"reused": reused, "tried": rounds, "wrong": wrong}


def define(sandbox: Sandbox, name: str, number: int) -> None:
    """Every other has children, whose pids are free before that of their parent, which leads their session."""
    mode = ("mixed", "tree", "process")[number % 3]
    tables: dict[str, Any] = {"ready": {"settle": 0}, "reload": {"signal": "HUP"}}
    if number % 4 == 0:
        tables["match"] = {"cmdline": f"brood 0 {name}$"}
    stop = {"schedule": "TERM/0.3/KILL/5", "kill_mode": mode}
    sandbox.service(name, "brood", number % 2 * 2, name, stop=stop, **tables)


def victims_of(sandbox: Sandbox, name: str) -> list[int]:
    main = sandbox.pid(name)
    return proc.children(main) or [main]


def recycled(
    pids: Pids, ctl: Process, victims: Sequence[int], chance: random.Random, takes: float
) -> Iterator[Innocent]:
    """The innocents that have taken these pids before ctl has ended, spread over the time that it takes."""
    for pid in victims:
        if readable(ctl.pidfd, pace.deadline(chance.uniform(0, 2 * takes / len(victims)))):
            return
        if innocent := take(pids, pid, chance.choice(USERS)):
            yield innocent


def harmed(innocents: Sequence[Innocent], when: str) -> list[str]:
    return [f"pid {one.pid} of user {one.uid}: {harm} {when}" for one in innocents if (harm := one.harm())]


def reap() -> None:
    for pid in proc.children(os.getpid()):
        if proc.state(pid) == "Z":
            os.waitpid(pid, 0)


# -- outside


def attack(new_sandbox: NewSandbox, verb: str, scenario: Callable[[Pids, Sandbox], Any]) -> dict[str, Any]:
    """On all cores, added up."""
    workers = len(os.sched_getaffinity(0))

    def work(worker: int) -> Any:
        with new_sandbox() as sandbox:
            (sandbox.tmp / "plan").write_text(json.dumps([verb, worker, workers]), encoding="ascii")
            return in_own_namespace(sandbox, scenario, timeout=LIMIT)

    with ThreadPoolExecutor(workers) as pool:
        parts = list(pool.map(work, range(workers)))
    return {name: sum((part[name] for part in parts), [] if name == "wrong" else 0) for name in parts[0]}


@pytest.mark.soak
@pytest.mark.timeout(LIMIT + 60)
@pytest.mark.parametrize("verb", VERBS)
def test_recycled_after_a_system_call(new_sandbox: NewSandbox, verb: str) -> None:
    requires_strace()
    found = attack(new_sandbox, verb, after_each_call)
    print(f"{verb}: {found['reused']} pids recycled, after {found['tried']} system calls")
    assert not found["wrong"], found["wrong"]
    assert found["reused"] > found["tried"] // 2


@pytest.mark.soak
@pytest.mark.timeout(LIMIT + 60)
@pytest.mark.parametrize("verb", VERBS)
def test_recycled_by_the_dozen(new_sandbox: NewSandbox, verb: str) -> None:
    found = attack(new_sandbox, verb, by_the_dozen)
    print(f"{verb}: {found['reused']} pids recycled, in {found['tried']} rounds")
    assert not found["wrong"], found["wrong"]
    assert found["reused"] >= REUSES
