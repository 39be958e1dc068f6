"""A stop ends every process of the service by its schedule, a kill at once, and neither says so before it is true.

The services here are the ones that make start/stop scripts lie: zombies, stopped and frozen ones, programs that ignore
TERM, wrappers, escapees, and children that have children when they are told to end.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

from support import proc
from support.freezer import frozen, requires_freezer
from support.pace import TIME_FACTOR
from support.sandbox import Json, Sandbox
from support.strace import Call, calls
from support.waiting import readable, wait_file, wait_gone, wait_line, wait_until

QUICK = {"schedule": "TERM/0.2/KILL/5"}


@pytest.fixture
def name(sandbox: Sandbox) -> str:
    """A target that nobody else on this machine has, since its processes are counted by their CTL_TARGET."""
    return f"web-{sandbox.reaper.mark}"


def start(sandbox: Sandbox, name: str) -> int:
    """Starts it; the main process's pid."""
    pid: int = sandbox.ctl("start", name, "--json").expect(0).one["pid"]
    return pid


def sent(result: Json) -> list[tuple[int, str]]:
    return [(signalled["pid"], signalled["signal"]) for signalled in result["signals"]]


def pid_in(line: str) -> int:
    return int(line.partition("pid: ")[2].rstrip(")"))


# -- what "stopped" means


@pytest.mark.parametrize("verb", ["stop", "kill"])
def test_a_zombie_counts_as_stopped(sandbox: Sandbox, name: str, verb: str) -> None:
    """Its parent, this test, does not reap it: a stop that waited for its entry in /proc would wait for ever."""
    sandbox.service(name, "polite")
    service = sandbox.ctl_popen("run", name)
    service.wait_line("ready")
    stopped = sandbox.ctl(verb, name, "--json").expect(0).one
    assert (stopped["reason"], stopped["after"]) == ({"stop": "stopped", "kill": "killed"}[verb], "stopped")
    assert proc.state(service.pid) == "Z"
    assert sandbox.ctl("status", name).rc == 3
    assert sandbox.ctl(verb, name).expect(0).stdout == f"{name}: already stopped\n"


def test_a_recorded_zombie_is_not_running(sandbox: Sandbox, name: str) -> None:
    sandbox.service(name, "polite")
    service = sandbox.ctl_popen("run", name)
    service.wait_line("ready")
    service.signal(signal.SIGKILL)
    wait_gone(service.pidfd)
    assert proc.state(service.pid) == "Z"
    assert sandbox.ctl("status", name, "--json").expect(1).one["state"] == "ended"
    stopped = sandbox.ctl("stop", name, "--json").expect(0).one
    assert (stopped["before"], stopped["reason"], sent(stopped)) == ("ended", "already_stopped", [])
    assert sandbox.ctl("status", name).rc == 3


class TestAProcessWithoutItsFirstThread:
    """/proc shows it as a zombie without argv or environment, while its other threads work on. It is alive."""

    @pytest.fixture
    def pidfd(self, sandbox: Sandbox, name: str) -> int:
        sandbox.service(name, "leaderless", ready={"log": "^ready"})
        pid = start(sandbox, name)
        pidfd = sandbox.reaper.adopt(pid)
        assert proc.state(pid) == "Z"
        return pidfd

    @pytest.mark.parametrize("verb", ["stop", "kill"])
    def test_is_ended(self, sandbox: Sandbox, name: str, pidfd: int, verb: str) -> None:
        stopped = sandbox.ctl(verb, name, "--json").expect(0).one
        assert stopped["reason"] == {"stop": "stopped", "kill": "killed"}[verb]
        assert readable(pidfd, 0)

    def test_is_running(self, sandbox: Sandbox, name: str, pidfd: int) -> None:
        status = sandbox.ctl("status", name, "--json").expect(0).one
        assert status["state"] in {"running", "ready"}
        again = sandbox.ctl("start", name, "--json").expect(0).one
        assert (again["reason"], again["pid"]) == ("already_running", status["pid"])
        assert not readable(pidfd, 0)

    def test_is_not_said_to_have_ended_where_its_record_is_lost(self, sandbox: Sandbox, name: str, pidfd: int) -> None:
        """Its other threads still show argv and environment, under /proc/PID/task."""
        sandbox.record(name).unlink()
        sandbox.pid_file(name).unlink()
        assert sandbox.ctl("status", name).rc in {0, 4}
        assert sandbox.ctl("start", name, "--json").one["reason"] != "started"
        sandbox.ctl("kill", name)
        assert readable(pidfd, 0) or sandbox.ctl("status", name).rc == 4


def test_a_child_without_its_first_thread_is_ended_too(sandbox: Sandbox, name: str) -> None:
    script = 'trap "exit 0" TERM; "$@" & wait'
    command = ["sh", "-c", script, "sh", *sandbox.programs("leaderless")]
    log = sandbox.log(name)
    sandbox.define(name, {"start": {"command": command, "log": str(log)}, "ready": {"log": "^ready"}, "stop": QUICK})
    pid = start(sandbox, name)
    child = pid_in(wait_line(log, "ready"))
    pidfd = sandbox.reaper.adopt(child)
    assert (proc.parent(child), proc.state(child)) == (pid, "Z")
    sandbox.ctl("stop", name).expect(0)
    assert readable(pidfd, 0)


def test_a_stopped_process_is_ended_by_term(sandbox: Sandbox, name: str) -> None:
    """TERM stays pending in a process that is stopped; CONT after it lets the process act on it."""
    sandbox.service(name, "stopped", stop={"schedule": "TERM/20/KILL/5"})
    pid = start(sandbox, name)
    wait_until(lambda: proc.state(pid) == "T", "it has stopped itself")
    assert sandbox.ctl("status", name, "--json").expect(0).one["state"] == "paused"
    stopped = sandbox.ctl("stop", name, "--json").expect(0).one
    assert (stopped["before"], stopped["reason"], sent(stopped)) == ("paused", "stopped", [(pid, "TERM")])
    wait_line(sandbox.log(name), "ended")


def test_a_stopped_survivor_is_ended_by_term(sandbox: Sandbox, name: str) -> None:
    script = 'trap "exit 0" TERM; "$@" & wait; wait'
    command = ["sh", "-c", script, "sh", *sandbox.programs("stopped")]
    stop = {"schedule": "TERM/20/KILL/5"}
    sandbox.define(name, {"start": {"command": command, "log": str(sandbox.log(name))}, "stop": stop,
                          "ready": {"log": "^ready"}})  # fmt: skip
    start(sandbox, name)
    child = pid_in(wait_line(sandbox.log(name), "ready"))
    wait_until(lambda: proc.state(child) == "T", "the child has stopped itself")
    assert sandbox.ctl("stop", name, "--json").expect(0).one["reason"] == "stopped"
    wait_line(sandbox.log(name), "ended")


def test_a_program_that_has_executed_another_is_the_same_process(sandbox: Sandbox, name: str) -> None:
    fifo = sandbox.fifo("go")
    command = ["sh", "-c", 'echo first; read -r _ <"$0"; exec "$@"', str(fifo), *sandbox.programs("polite")]
    log = sandbox.log(name)
    sandbox.define(name, {"start": {"command": command, "log": str(log)}, "ready": {"log": "^first"}})
    pid = start(sandbox, name)
    fifo.write_text("go\n", encoding="ascii")
    wait_line(log, f"ready (pid: {pid})")
    assert sandbox.ctl("status", name, "--json").expect(0).one["pid"] == pid
    assert sent(sandbox.ctl("stop", name, "--json").expect(0).one) == [(pid, "TERM")]


# -- the schedule


def test_what_ignores_term_is_killed_after_its_grace_and_this_is_said(sandbox: Sandbox, name: str) -> None:
    sandbox.service(name, "ignorer", stop=QUICK)
    pid = start(sandbox, name)
    stopped = sandbox.ctl("stop", name, "--json").expect(0).one
    assert (stopped["reason"], stopped["escalated"], stopped["ok"]) == ("escalated", True, True)
    assert sent(stopped) == [(pid, "TERM"), (pid, "KILL")]
    assert stopped["signals"][1]["at_s"] >= 0.2
    assert not sandbox.has_run(name)
    assert not sandbox.pid_file(name).exists()


def test_the_signals_follow_the_schedule(sandbox: Sandbox, name: str) -> None:
    sandbox.service(name, "recorder", "-", stop={"schedule": "INT/0.2/USR1/0/TERM/0.3/QUIT/0.1/KILL/5"})
    pid = start(sandbox, name)
    stopped = sandbox.ctl("stop", name, "--json").expect(0).one
    times = [signalled["at_s"] for signalled in stopped["signals"]]
    assert sent(stopped) == [(pid, signal_) for signal_ in ("INT", "USR1", "TERM", "QUIT", "KILL")]
    assert times == sorted(times)
    due = [0.0, 0.2, 0.2, 0.5, 0.6]
    assert all(at >= expected for at, expected in zip(times, due, strict=True)), times
    assert all(at < expected + 5 for at, expected in zip(times, due, strict=True)), times
    log = sandbox.log(name).read_text(encoding="utf-8").splitlines()
    got = [line.split()[1] for line in log if line.startswith("got") and "CONT" not in line]
    assert got == ["INT", "USR1", "TERM", "QUIT"]


def test_a_step_is_not_taken_once_the_process_has_ended(sandbox: Sandbox, name: str) -> None:
    sandbox.service(name, "polite", stop={"schedule": "TERM/20/QUIT/5/KILL/5"})
    pid = start(sandbox, name)
    stopped = sandbox.ctl("stop", name, "--json").expect(0).one
    assert sent(stopped) == [(pid, "TERM")]
    assert not stopped["escalated"]


@pytest.mark.parametrize("schedule", ["TERM/0.2", "TERM/0.1/INT/0.1", "TERM/0", "-15/0.2"])
def test_without_kill_what_ignores_it_is_left_and_said_to_be_alive(sandbox: Sandbox, name: str, schedule: str) -> None:
    sandbox.service(name, "ignorer", stop={"schedule": schedule})
    pid = start(sandbox, name)
    record = sandbox.run_on_record(name)
    result = sandbox.ctl("stop", name).expect(150)
    assert result.stdout == ""
    what = f"still alive after the whole schedule: pid {pid} (state S); it was not sent KILL"
    assert result.stderr == f"ctl: {name}: {what}; to fix: ctl kill {name}\n"
    assert proc.alive(pid)
    assert proc.alive_for_psutil(pid)
    assert sandbox.run_on_record(name) == record
    assert sandbox.ctl("status", name, "--json").expect(0).one["pid"] == pid
    left = sandbox.ctl("stop", name, "--json").expect(150).one
    assert (left["reason"], left["ok"], left["escalated"]) == ("timeout", False, False)
    assert [survivor["pid"] for survivor in left["survivors"]] == [pid]
    assert sandbox.ctl("kill", name, "--json").expect(0).one["reason"] == "killed"


def test_forever_repeats_until_it_has_ended(sandbox: Sandbox, name: str) -> None:
    sandbox.service(name, "stubborn", 4, stop={"schedule": "forever/TERM/0.1"})
    pid = start(sandbox, name)
    stopped = sandbox.ctl("stop", name, "--json").expect(0).one
    assert sent(stopped) == [(pid, "TERM")] * 4
    times = [signalled["at_s"] for signalled in stopped["signals"]]
    assert all(round(at * 1000) >= 100 * number for number, at in enumerate(times)), times
    assert (stopped["reason"], stopped["escalated"]) == ("stopped", False)


def test_a_lone_number_is_term_then_kill(sandbox: Sandbox, name: str) -> None:
    sandbox.service(name, "ignorer")
    pid = start(sandbox, name)
    stopped = sandbox.ctl("stop", name, "--schedule", "0.2", "--json")
    assert sent(stopped.one) == [(pid, "TERM"), (pid, "KILL")]


@pytest.mark.parametrize("schedule", ["KILL/0", "TERM/0/KILL/0"])
def test_a_schedule_that_does_not_wait_says_what_it_knows(sandbox: Sandbox, name: str, schedule: str) -> None:
    """Nobody can promise that the process has ended when nobody waits for it: either answer, but a true one."""
    sandbox.service(name, "ignorer", stop={"schedule": schedule})
    pidfd = sandbox.reaper.adopt(start(sandbox, name))
    result = sandbox.ctl("stop", name, "--json")
    assert (result.rc, bool(result.one["survivors"])) in {(0, False), (150, True)}
    wait_gone(pidfd)
    assert sandbox.ctl("stop", name, "--json").expect(0).one["reason"] == "already_stopped"


def test_kill_alone_is_no_escalation(sandbox: Sandbox, name: str) -> None:
    sandbox.service(name, "ignorer", stop={"schedule": "KILL/5"})
    start(sandbox, name)
    stopped = sandbox.ctl("stop", name, "--json").expect(0).one
    assert (stopped["reason"], stopped["escalated"]) == ("stopped", False)


def test_a_grace_of_zero_kills_at_once(sandbox: Sandbox, name: str) -> None:
    sandbox.service(name, "ignorer", stop={"schedule": "TERM/60/KILL/5"})
    pid = start(sandbox, name)
    stopped = sandbox.ctl("stop", name, "--grace", 0, "--json").expect(0).one
    assert sent(stopped) == [(pid, "TERM"), (pid, "KILL")]
    assert stopped["duration_s"] < 30


def test_the_grace_ends_early_when_the_process_does(sandbox: Sandbox, name: str) -> None:
    sandbox.service(name, "slow_stop", 0.2, stop={"schedule": "TERM/60/KILL/5"})
    start(sandbox, name)
    stopped = sandbox.ctl("stop", name, "--json").expect(0).one
    assert (stopped["reason"], stopped["escalated"]) == ("stopped", False)
    assert 0.2 <= stopped["duration_s"] < 30
    wait_line(sandbox.log(name), "stopped")


def test_a_frozen_process_is_listed_with_its_state_and_its_record_kept(sandbox: Sandbox, name: str) -> None:
    """No signal reaches it until the freezer lets it go; then what was sent takes effect."""
    requires_freezer()
    sandbox.service(name, "polite", stop={"schedule": "TERM/0.2/KILL/0.2"})
    pid = start(sandbox, name)
    pidfd = sandbox.reaper.adopt(pid)
    with frozen(pid):
        result = sandbox.ctl("stop", name, "--json").expect(150).one
        (survivor,) = result["survivors"]
        assert (survivor["pid"], survivor["state"]) == (pid, "D")
        assert (result["reason"], result["escalated"]) == ("timeout", True)
        assert result["errors"][0]["what"].startswith(
            f"still alive after the whole schedule: pid {pid} (state D); state D cannot be killed until "
        )
        assert sandbox.has_run(name)
        assert sandbox.ctl("status", name, "--json").expect(0).one["pid"] == pid
        killed = sandbox.ctl("kill", name, timeout=30).expect(150)
        assert f"pid {pid} (state D)" in killed.stderr
    wait_gone(pidfd)
    assert sandbox.ctl("stop", name, "--json").expect(0).one["reason"] == "already_stopped"
    assert sandbox.ctl("status", name).rc == 3


# -- all of its processes


def test_a_child_that_ignores_term_behind_a_shell_dies(sandbox: Sandbox, name: str) -> None:
    file = sandbox.tmp / "child"
    sandbox.service(name, "wrapper", file, stop=QUICK)
    pid = start(sandbox, name)
    child = int(wait_file(file))
    stopped = sandbox.ctl("stop", name, "--json").expect(0).one
    assert not proc.services(name)
    assert not proc.alive(child)
    assert sent(stopped)[0] == (pid, "TERM")
    assert (child, "KILL") in sent(stopped)
    assert (stopped["reason"], stopped["escalated"]) == ("escalated", True)


@pytest.mark.parametrize("verb", ["stop", "kill"])
def test_what_has_left_session_and_parent_dies_by_its_run_id(sandbox: Sandbox, name: str, verb: str) -> None:
    file = sandbox.tmp / "escapee"
    sandbox.service(name, "escapee", file, stop=QUICK)
    pid = start(sandbox, name)
    escapee = int(wait_file(file))
    assert proc.session(escapee) != pid
    assert proc.parent(escapee) != pid
    ended = sandbox.ctl(verb, name, "--json").expect(0).one
    assert (escapee, "KILL") in sent(ended)
    assert not proc.services(name)


def test_the_processes_of_another_run_and_service_are_left_alone(sandbox: Sandbox, name: str) -> None:
    """The same program beside it, with the same parent and children of its own."""
    other = f"{name}.other"
    for target in (name, other):
        sandbox.service(target, "tree", 2, 1, stop=QUICK)
        start(sandbox, target)
        wait_line(sandbox.log(target), "ready (pid:")
    before = sorted(proc.services(other))
    assert len(before) == 3
    sandbox.ctl("kill", name).expect(0)
    assert not proc.services(name)
    assert sorted(proc.services(other)) == before


class TestKillMode:
    """A main process with two children which ignore TERM."""

    @pytest.fixture
    def family(self, sandbox: Sandbox, name: str) -> Callable[[str], tuple[int, list[int]]]:
        def begin(mode: str) -> tuple[int, list[int]]:
            stop = {"kill_mode": mode, **QUICK}
            sandbox.service(name, "tree", "--ignore-term", 2, 1, stop=stop)
            pid = start(sandbox, name)
            return pid, proc.children(pid)

        return begin

    def test_process_leaves_the_children_alone(
        self, sandbox: Sandbox, name: str, family: Callable[[str], tuple[int, list[int]]]
    ) -> None:
        pid, children = family("process")
        stopped = sandbox.ctl("stop", name, "--json").expect(0).one
        assert sent(stopped) == [(pid, "TERM")]
        assert sorted(proc.services(name)) == sorted(children)
        assert not sandbox.has_run(name)

    def test_process_does_not_hold_for_kill(
        self, sandbox: Sandbox, name: str, family: Callable[[str], tuple[int, list[int]]]
    ) -> None:
        family("process")
        sandbox.ctl("kill", name).expect(0)
        assert not proc.services(name)

    def test_tree_gives_each_step_to_all(
        self, sandbox: Sandbox, name: str, family: Callable[[str], tuple[int, list[int]]]
    ) -> None:
        pid, children = family("tree")
        stopped = sandbox.ctl("stop", name, "--json").expect(0).one
        assert sent(stopped)[0] == (pid, "TERM")
        assert sorted(sent(stopped)[1:3]) == [(child, "TERM") for child in sorted(children)]
        assert sorted(sent(stopped)[3:]) == [(child, "KILL") for child in sorted(children)]
        assert not proc.services(name)

    def test_mixed_tells_the_children_only_after_the_main_process_has_ended(
        self, sandbox: Sandbox, name: str, family: Callable[[str], tuple[int, list[int]]]
    ) -> None:
        pid, children = family("mixed")
        stopped = sandbox.ctl("stop", name, "--schedule", "TERM/1/KILL/5", "--json").expect(0).one
        assert sent(stopped)[0] == (pid, "TERM")
        assert sorted(sent(stopped)[1:3]) == [(child, "TERM") for child in sorted(children)]
        assert sorted(sent(stopped)[3:]) == [(child, "KILL") for child in sorted(children)]
        assert stopped["signals"][-1]["at_s"] >= 1
        assert (stopped["reason"], stopped["escalated"]) == ("escalated", True)

    def test_mixed_kills_nobody_when_all_end_in_the_grace(self, sandbox: Sandbox, name: str) -> None:
        sandbox.service(name, "tree", 2, 2, stop={"schedule": "TERM/20/KILL/5"})
        start(sandbox, name)
        stopped = sandbox.ctl("stop", name, "--json").expect(0).one
        assert {signal_ for _, signal_ in sent(stopped)} == {"TERM"}
        assert (stopped["reason"], stopped["escalated"]) == ("stopped", False)
        assert not proc.services(name)


@pytest.mark.parametrize(
    ("verb", "mode"), [("kill", "mixed"), ("stop", "mixed"), ("stop", "tree")], ids=lambda value: value
)
def test_who_has_children_when_told_to_end_is_wiped_out(sandbox: Sandbox, name: str, verb: str, mode: str) -> None:
    # Time enough for all forty, and all of it is spent.
    sandbox.service(name, "hydra", 4, 40, stop={"schedule": f"TERM/{0.5 * TIME_FACTOR}/KILL/5", "kill_mode": mode})
    start(sandbox, name)
    assert len(proc.services(name)) == 5
    ended = sandbox.ctl(verb, name, "--json").expect(0).one
    assert not ended["survivors"]
    assert not proc.services(name)
    born = sandbox.log(name).read_text(encoding="utf-8").count("born")
    if verb == "stop":
        assert born == 40, "the children were not told, or had no children"
        assert ended["escalated"]


# -- survivors of an earlier run


def orphan(sandbox: Sandbox, name: str, **stop: Any) -> tuple[int, int]:
    """A service whose main process was killed by accident, leaving one process behind: (main, survivor)."""
    file = sandbox.tmp / "escapee"
    sandbox.service(name, "escapee", file, stop={**QUICK, **stop})
    pid = start(sandbox, name)
    escapee = int(wait_file(file))
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not proc.alive(pid), "the main process has ended")
    return pid, escapee


@pytest.mark.parametrize("verb", ["stop", "kill"])
def test_what_a_dead_main_process_has_left_is_ended(sandbox: Sandbox, name: str, verb: str) -> None:
    pid, escapee = orphan(sandbox, name)
    assert sandbox.ctl("status", name).rc == 1
    ended = sandbox.ctl(verb, name, "--json").expect(0).one
    assert ended["before"] == "ended"
    assert ended["changed"] is True
    assert ended["reason"] == {"stop": "escalated", "kill": "killed"}[verb]
    assert {signalled[0] for signalled in sent(ended)} == {escapee}
    assert pid not in {signalled[0] for signalled in sent(ended)}
    assert not proc.services(name)
    assert sandbox.ctl("status", name).rc == 3


def test_in_mode_process_a_stop_leaves_what_a_dead_main_process_has_left(sandbox: Sandbox, name: str) -> None:
    _, escapee = orphan(sandbox, name, kill_mode="process")
    assert sent(sandbox.ctl("stop", name, "--json").expect(0).one) == []
    assert proc.alive(escapee)


# -- a service that ctl did not start


def test_a_process_started_by_hand_is_stopped_with_its_children(sandbox: Sandbox, name: str) -> None:
    """No record, no CTL_TARGET, no run id, no session of its own: found by its rule, its children by their parent."""
    sandbox.define(name, {"match": {"cmdline": f"{name}-by-hand"}, "stop": QUICK})
    script = 'trap "exit 0" TERM; "$@" & wait; wait'
    tree = sandbox.programs("tree", "--ignore-term", 2, 2)
    main = sandbox.reaper.start(["sh", "-c", script, f"{name}-by-hand", *tree])
    (child,) = proc.children(main.pid)
    family = [child, *proc.children(child), *(leaf for node in proc.children(child) for leaf in proc.children(node))]
    assert len(family) == 7
    pidfds = [sandbox.reaper.adopt(pid) for pid in family]
    stopped = sandbox.ctl("stop", name, "--json").expect(0).one
    assert stopped["pid"] == main.pid
    assert all(readable(pidfd, 0) for pidfd in (main.pidfd, *pidfds))
    assert proc.alive(os.getpid())


def test_the_session_it_was_started_in_is_not_its_own(sandbox: Sandbox, name: str) -> None:
    """Started by hand in a shell, beside others of that shell: they are no children of it."""
    sandbox.define(name, {"match": {"cmdline": f"{name}-by-hand"}, "stop": QUICK})
    beside = sandbox.reaper.start(sandbox.programs("recorder", "-"))
    main = sandbox.reaper.start(sandbox.programs("polite", 0, f"{name}-by-hand"))
    assert proc.session(beside.pid) == proc.session(main.pid)
    assert sent(sandbox.ctl("stop", name, "--json").expect(0).one) == [(main.pid, "TERM")]
    assert beside.out
    assert proc.alive(beside.pid)
    assert "got" not in "".join(beside.out.seen)


# --------------------------------------------------------------------------------------------------- signals on time


def looks(traced: list[Call]) -> int:
    """How often the process table was listed."""
    return sum(call.name == "openat" and '"/proc", ' in call.line for call in traced)


def until_signal(traced: list[Call], signal_name: str) -> list[Call]:
    """The calls before the first such signal."""
    at = next(at for at, call in enumerate(traced) if call.name == "pidfd_send_signal" and signal_name in call.line)
    return traced[:at]


@pytest.mark.parametrize("mode", ["mixed", "process", "tree"])
def test_the_main_process_is_signalled_after_one_look(sandbox: Sandbox, name: str, mode: str) -> None:
    """Whoever forks on this host makes each look longer, and none must come between a step and its time."""
    sandbox.service(name, "ignorer", stop={"schedule": "TERM/0.2/KILL/5", "kill_mode": mode})
    start(sandbox, name)
    traced = calls(sandbox, "stop", name)
    before_term, before_kill = until_signal(traced, "SIGTERM"), until_signal(traced, "SIGKILL")
    assert looks(before_term) == 1
    # One more in the middle of the step, for those that have been born since: none between a step and its time.
    assert looks(before_kill) == (1 if mode == "process" else 2)
