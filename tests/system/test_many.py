"""Many services in one call: one look at the host answers them all, and they are told apart all the same."""

from __future__ import annotations

import json
import os
import re
import threading

import pytest

from ctl.model.match import Marker, Rules, necessary_literals
from ctl.system import table, turns
from ctl.system.reading import Reading, read_newcomers, read_processes
from ctl.system.sharing import Shared
from ctl.system.shortlist import Shortlist
from ctl.verbs.many import each
from support.reaper import Reaper
from support.requires import requires
from support.sandbox import Sandbox
from support.waiting import TIMEOUT, wait_gone, wait_until


def test_nobody_is_answered_by_a_look_that_began_before_the_question() -> None:
    looks: list[int] = []
    first_is_under_way, go_on = threading.Event(), threading.Event()

    def look(before: int | None, _thoroughly: bool) -> int:
        assert before == (looks[-1] if looks else None)
        looks.append(len(looks))
        if len(looks) == 1:
            first_is_under_way.set()
            assert go_on.wait(20)
        return looks[-1]

    shared = Shared(look)
    answers: list[tuple[int, int]] = []

    def ask() -> None:
        asked_at = len(looks)
        answers.append((asked_at, shared.get()))

    threads = [threading.Thread(target=ask) for _ in range(50)]
    threads[0].start()
    assert first_is_under_way.wait(20)
    for thread in threads[1:]:
        thread.start()
    go_on.set()
    for thread in threads:
        thread.join(20)
    assert len(answers) == 50
    assert all(answer >= asked_at for asked_at, answer in answers)
    assert len(looks) < 10, "each had a look of its own"


def test_a_look_that_fails_fails_for_who_looked_and_the_next_one_looks_again() -> None:
    failing = [True]

    def look(_before: int | None, _thoroughly: bool) -> int:
        if failing:
            raise OSError("no /proc")
        return 7

    shared = Shared(look)
    with pytest.raises(OSError, match="no /proc"):
        shared.get()
    failing.clear()
    assert shared.get() == 7


def test_the_longer_a_look_takes_the_longer_the_others_go_first() -> None:
    """Else a host with thousands of processes would be looked at again and again, and the others come to nothing."""
    at_once, looking = Shared(lambda _before, _thoroughly: 1), threading.Event()
    takes_long = Shared(lambda _before, _thoroughly: not looking.wait(0.1))
    assert at_once.get() == takes_long.get() == 1
    assert takes_long._patience > 3 * at_once._patience


def test_the_next_shortlist_has_read_what_the_one_before_was_asked_for(sandbox: Sandbox) -> None:
    """So that this is part of the look, and of how long it takes."""
    first = Shortlist.after(None, True)
    first.candidates(Rules(marker=Marker("web", str(sandbox.run_dir))))
    second = Shortlist.after(first, True)
    assert {"_pids", "_markers"} <= vars(second).keys()
    assert "_arguments" not in vars(second)


@pytest.mark.parametrize(
    "pattern", [r"recorder\.py - web --id 1$", r"web", r"--id (1|10)", r"(?i)RECORDER", r"nowhere to be seen"]
)
def test_the_shortlist_leaves_out_nobody_who_matches(sandbox: Sandbox, reaper: Reaper, pattern: str) -> None:
    all_arguments = (("web", "--id", 1), ("web", "--id", 10), ("db", "--id", 1))
    ours = {reaper.start(sandbox.programs("recorder", "-", *arguments)).pid for arguments in all_arguments}
    cmdline = re.compile(pattern)
    rules = Rules(cmdline=cmdline, literals=necessary_literals(cmdline))
    # Of what other tests run, somebody may have come or gone between the two.
    assert ours & _pids(table.scan(rules, Shortlist().candidates)) == ours & _pids(table.scan(rules))


def test_the_shortlist_finds_by_marker_and_by_main_class(sandbox: Sandbox, reaper: Reaper) -> None:
    marker = Marker("web", str(sandbox.run_dir))
    marked = reaper.start(
        sandbox.programs("recorder", "-"), env={"CTL_TARGET": "web", "CTL_RUN_DIR": str(sandbox.run_dir)}
    )
    reaper.start(sandbox.programs("recorder", "-"), env={"CTL_TARGET": "web", "CTL_RUN_DIR": "/elsewhere"})
    java = sandbox.tmp / "java"
    java.symlink_to(sandbox.programs.path("idle"))
    main = reaper.start([str(java), "-cp", "x.jar", "org.example.Main"])
    reaper.start([str(java), "-cp", "org.example.Main", "org.example.Other"])
    for rules, process in ((Rules(marker=marker), marked), (Rules(java_main="org.example.Main"), main)):
        assert _pids(table.scan(rules, Shortlist().candidates)) == {process.pid}


def test_a_reading_knows_who_carries_what_and_who_has_come(sandbox: Sandbox, reaper: Reaper) -> None:
    idle = [str(sandbox.programs.path("idle"))]
    before = read_processes()
    marked = reaper.start(idle, env={"CTL_RUN_ID": "a" * 32})
    after = read_processes()
    since = before.stats[1].start_ticks if 1 in before.stats else 0
    assert after.carriers(["a" * 32, "b" * 32], "CTL_RUN_ID", since) == {marked.pid}
    assert marked.pid in after.relatives([after.stats[marked.pid].ppid], [])
    plain = reaper.start(idle)
    assert plain.pid in read_newcomers().came_since(after.number).pids
    assert read_newcomers().came_since(after.number).pids.count(marked.pid) == 0


def test_a_reading_that_has_forgotten_who_came_does_not_say_that_nobody_ended() -> None:
    first = reading = Reading(None, True)
    for _ in range(17):
        reading = Reading(reading, False)
    assert reading.came_since(first.number).ended == {None}


def test_services_of_one_template_are_started_and_stopped_by_the_dozen(sandbox: Sandbox) -> None:
    sandbox.service(
        "worker@",
        "polite",
        match={"cmdline": rf"polite.py {{instance}} {sandbox.reaper.mark}$"},
        start={"command": [*sandbox.programs("polite"), "{instance}", sandbox.reaper.mark]},
    )
    names = [f"worker@{number}" for number in range(40)]
    started = sandbox.ctl("start", *names, "--json").expect(0)
    pids = {result["target"]: result["pid"] for result in started.json["results"]}
    assert len(set(pids.values())) == len(names)
    for name in names[::2]:
        sandbox.record(name).unlink()
        sandbox.pid_file(name).unlink()
    stopped = sandbox.ctl("stop", *names[:20], "--json").expect(0)
    assert {result["target"]: result["pid"] for result in stopped.json["results"]} == {
        name: pids[name] for name in names[:20]
    }
    left = sandbox.ctl("status", *names[20:], "--json").expect(0)
    assert {result["target"]: result["pid"] for result in left.json["results"]} == {
        name: pids[name] for name in names[20:]
    }
    sandbox.ctl("kill", "worker@").expect(0)
    assert not any(sandbox.running(name) for name in names)


def test_a_low_limit_of_descriptors_neither_fails_the_call_nor_reaches_the_services(sandbox: Sandbox) -> None:
    requires("prlimit")
    low = ("prlimit", "--nofile=80:4096")
    dumps = sandbox.tmp / "dumps"
    dumps.mkdir(mode=0o777)
    dumps.chmod(0o777)
    sandbox.service("dump@", "env_dump", start={"command": [*sandbox.programs("env_dump"), f"{dumps}/{{instance}}"]},
                    drain={"command": ["/bin/sh", "-c", f"ulimit -Sn > {dumps}/drain-$$"], "timeout": 10})  # fmt: skip
    names = [f"dump@{number}" for number in range(30)]
    sandbox.ctl("start", *names, prefix=low).expect(0)
    sandbox.ctl("stop", *names, prefix=low).expect(0)
    limits = [json.loads(path.read_text())["limits"]["nofile"] for path in sorted(dumps.glob("[0-9]*"))]
    assert limits == [[80, 4096]] * len(names)
    asked = [path.read_text().strip() for path in sorted(dumps.glob("drain-*"))]
    assert asked == ["80"] * len(names)


@pytest.mark.parametrize("verb", ["stop", "kill", "pause"])
def test_a_service_may_have_more_processes_than_ctl_is_allowed_descriptors(sandbox: Sandbox, verb: str) -> None:
    requires("prlimit")
    sandbox.service("pool", "tree", 80, 1)
    sandbox.ctl("start", "pool").expect(0)
    acted = sandbox.ctl(verb, "pool", "--json", prefix=("prlimit", "--nofile=64:4096")).expect(0)
    assert len(sandbox.running("pool")) == (81 if verb == "pause" else 0)
    assert len({sent["pid"] for sent in acted.one["signals"]}) == 81


def _pids(scan: table.Scan) -> set[int]:
    try:
        return {handle.pid for handle in scan.matching}
    finally:
        for handle in scan.matching:
            handle.close()


@pytest.mark.parametrize(("patience", "order"), [(60.0, "GREAT SOME NONE"), (0.0, "GREAT NONE SOME")])
def test_whose_turn_it_is(patience: float, order: str) -> None:
    """Who is in no hurry comes after all others, but does not wait for ever."""
    all_turns, served = turns._Turns(), list[str]()

    def serve(hurry: turns.Hurry) -> None:
        turn = all_turns.take(hurry, patience)
        served.append(hurry.name)
        all_turns.give_back(turn)

    turn = all_turns.take()
    waiting = [threading.Thread(target=serve, args=[hurry]) for hurry in reversed(turns.Hurry)]
    try:
        for thread in waiting:
            thread.start()
        wait_until(lambda: all(len(queue) == 1 for queue in all_turns._waiting.values()), "all wait")
        assert served == []
    finally:
        all_turns.give_back(turn)
        for thread in waiting:
            thread.join(TIMEOUT)
    assert served == order.split()
    all_turns.take()  # nobody holds it any more


def test_one_that_hangs_in_its_turn_holds_up_no_other() -> None:
    """At a file of a dead file server, say: nothing of ours waits there, so nothing gives the turn back."""
    served, go_on = threading.Event(), threading.Event()

    def act(name: str) -> bool:
        if name == "hangs":
            return go_on.wait(TIMEOUT)
        served.set()
        return True

    thread = threading.Thread(target=lambda: each(["hangs", "web", "db"], act))
    thread.start()
    try:
        assert served.wait(TIMEOUT / 2)
    finally:
        go_on.set()
        thread.join(TIMEOUT)


def test_one_at_a_time_computes_and_the_others_wait(reaper: Reaper) -> None:
    """While one waits, for a process or for a look that all share, another one has its turn."""
    computing, most = 0, 0
    ended = reaper.start(["true"], ready=None)

    def compute() -> None:
        nonlocal computing, most
        for _ in range(20):
            computing += 1
            most = max(most, computing)
            os.sched_yield()
            computing -= 1
            with turns.let_others():
                wait_gone(ended.pidfd)

    assert each(range(8), lambda _: compute()) == [None] * 8
    assert most == 1
