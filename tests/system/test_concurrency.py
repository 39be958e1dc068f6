"""Several ctl at work on one service: one at a time, never two services, and each tells the truth about its end.

The service holds an exclusive flock(2) of its own for as long as it lives, so a second one beside it could not even
come up: it would end with status 42, which no outcome here may ever mention.
"""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import pytest

from support import proc
from support.reaper import MARK, Process
from support.requires import requires
from support.sandbox import Result, Sandbox
from support.waiting import wait_line

CONFLICT = 42
ALONE = ("flock", "--no-fork", "--nonblock", "--conflict-exit-code", str(CONFLICT))
Table = Mapping[str, object]
BARRIER = 'exec 3<"$0"; echo here >&2; read -r _ <&3; exec 3<&-; exec "$@"'  # until nobody can write to the fifo


@pytest.fixture(autouse=True)
def _needs_flock() -> None:
    requires("flock")


def define(
    sandbox: Sandbox, program: str, *args: object, ready: Table | None = None, schedule: str = "TERM/60/KILL/5"
) -> None:
    """The service `web`, of which there cannot be two at a time. A stop waits long: who is cut short ends early."""
    command = [*ALONE, str(sandbox.tmp / "only-one"), *sandbox.programs(program, *args)]
    start = {"command": command, "log_keep": 100}
    # A process that is still being executed shows no environment yet: one that has spoken does.
    ready = ready or {"log": r"^ready \(pid:"}
    sandbox.service("web", program, *args, start=start, ready=ready, stop={"schedule": schedule})


def gated(sandbox: Sandbox) -> Path:
    """Defines a service that becomes ready once the fifo is written to."""
    gate = sandbox.fifo("gate")
    define(sandbox, "listener", "--gate", gate, ready={"log": "listening on"})
    return gate


def slow_to_stop(sandbox: Sandbox) -> Path:
    """Defines a service that ends once it was told to and the fifo is written to."""
    gate = sandbox.fifo("gate")
    define(sandbox, "slow_stop", gate)
    return gate


def call(sandbox: Sandbox, verb: str, *options: object) -> Process:
    return sandbox.ctl_popen(verb, "web", "--json", *options)


def waiting(sandbox: Sandbox, verb: str, holder: Process, held_by: str) -> Process:
    """Calls ctl, which now waits for the one that works on the service."""
    process = call(sandbox, verb)
    assert process.err
    line = process.err.wait("waiting")
    assert line == f"ctl: web: waiting for ctl {held_by} (pid {holder.pid})"
    return process


def logged(sandbox: Sandbox, text: str, timeout: float = 20) -> str:
    return wait_line(sandbox.log("web"), text, timeout)


def together(sandbox: Sandbox, verbs: Sequence[str]) -> list[Result]:
    """Calls them all at the same moment, and returns when all have ended."""
    fifo = sandbox.fifo(f"barrier-{len(os.listdir(sandbox.tmp))}")
    barrier = os.open(fifo, os.O_RDWR | os.O_CLOEXEC)
    try:
        processes = [
            sandbox.ctl_popen(verb, "web", "--json", prefix=["sh", "-c", BARRIER, str(fifo)]) for verb in verbs
        ]
        for process in processes:
            assert process.err
            process.err.wait("here")
    finally:
        os.close(barrier)
    results = [sandbox.collect(process, 60) for process in processes]
    assert_sensible(sandbox, results)
    return results


def assert_sensible(sandbox: Sandbox, results: Sequence[Result]) -> None:
    """No second service was ever tried, nothing hung or broke, and status agrees with the process table."""
    for result in results:
        assert f"status {CONFLICT}" not in result.stdout + result.stderr, f"a second service was tried: {result}"
        assert result.rc in {0, 151}, result
        assert "Traceback" not in result.stderr
    assert_truthful_status(sandbox)


def assert_truthful_status(sandbox: Sandbox) -> None:
    alive = services(sandbox)
    status = sandbox.ctl("status", "web", "--json")
    assert len(alive) <= 1, alive
    if alive:
        assert (status.expect(0).one["pid"], status.one["claim"][0]["verdict"]) == (alive[0], "holds")
    else:
        assert status.expect(3).one["state"] == "stopped"
        assert not sandbox.has_run("web")
        assert not sandbox.pid_file("web").exists()


def services(sandbox: Sandbox) -> list[int]:
    """Every process of the service `web` of this sandbox, whatever ctl knows of it."""
    ours = proc.with_environment(MARK, sandbox.reaper.mark)
    return [pid for pid in proc.services("web") if pid in ours]


def ready_lines(sandbox: Sandbox) -> list[int]:
    """The pids of all services that ever came up, from the log and its rotated ones."""
    texts = [path.read_text(encoding="utf-8") for path in sandbox.log_dir.glob("web.log*")]
    return [int(line[12:-1]) for text in texts for line in text.splitlines() if line.startswith("ready (pid:")]


def test_twenty_starts_at_once_make_one_service(sandbox: Sandbox) -> None:
    define(sandbox, "polite")
    results = [result.expect(0) for result in together(sandbox, ["start"] * 20)]
    (pid,) = services(sandbox)
    assert {result.one["pid"] for result in results} == {pid}
    assert ready_lines(sandbox) == [pid]
    assert sorted(result.one["reason"] for result in results) == ["already_running"] * 19 + ["started"]
    assert [result.one["reason"] for result in results if result.json["changed"]] == ["started"]


def test_starts_that_wait_for_one_that_waits_for_readiness_find_it_running(sandbox: Sandbox) -> None:
    gate = gated(sandbox)
    first = call(sandbox, "start")
    logged(sandbox, "ready (pid:")
    others = [waiting(sandbox, "start", first, "start") for _ in range(5)]
    gate.write_text("go", encoding="ascii")
    assert sandbox.collect(first).expect(0).one["reason"] == "started"
    results = [sandbox.collect(other).expect(0) for other in others]
    assert {(result.one["reason"], result.one["changed"]) for result in results} == {("already_running", False)}
    assert_truthful_status(sandbox)


def test_kill_cuts_a_start_that_waits_for_readiness_short(sandbox: Sandbox) -> None:
    gated(sandbox)
    start = call(sandbox, "start", "--timeout", 600)
    logged(sandbox, "ready (pid:")
    pid = sandbox.pid("web")
    killed = sandbox.ctl("kill", "web", "--json").expect(0)
    assert (killed.one["reason"], killed.one["pid"], killed.one["changed"]) == ("killed", pid, True)
    result = sandbox.collect(start).expect(151)
    assert (result.one["reason"], result.one["ok"]) == ("not_ready", False)
    assert f"ctl: web: was killed by KILL while starting ({sandbox.log('web')})\n" in result.stderr
    assert_truthful_status(sandbox)


def test_a_service_killed_before_it_is_ready_is_not_said_to_be_running(sandbox: Sandbox) -> None:
    gated(sandbox)
    start = call(sandbox, "start", "--timeout", 600)
    logged(sandbox, "ready (pid:")
    sandbox.ctl("kill", "web").expect(0)
    result = sandbox.collect(start).expect(151)
    assert (result.one["after"], result.one["changed"]) == ("stopped", False)


def test_kill_cuts_a_stop_in_its_grace_short(sandbox: Sandbox) -> None:
    define(sandbox, "recorder", schedule="TERM/600/KILL/5")
    pid = sandbox.ctl("start", "web", "--json").expect(0).one["pid"]
    logged(sandbox, "ready (pid:")
    stop = call(sandbox, "stop")
    logged(sandbox, f"got TERM from {stop.pid}")
    killed = sandbox.ctl("kill", "web", "--json").expect(0).one
    assert (killed["reason"], killed["pid"], killed["changed"]) == ("killed", pid, True)
    result = sandbox.collect(stop).expect(0).one
    assert (result["reason"], result["after"], result["pid"]) == ("stopped", "stopped", pid)
    assert [sent["signal"] for sent in result["signals"]] == ["TERM"]
    assert result["escalated"] is False
    assert_truthful_status(sandbox)


def test_a_start_waits_for_a_stop_and_then_starts_a_new_one(sandbox: Sandbox) -> None:
    gate = slow_to_stop(sandbox)
    old = sandbox.ctl("start", "web", "--json").expect(0).one["pid"]
    logged(sandbox, "ready (pid:")
    stop = call(sandbox, "stop")
    logged(sandbox, "stopping")
    start = waiting(sandbox, "start", stop, "stop")
    gate.write_text("go", encoding="ascii")
    assert sandbox.collect(stop).expect(0).one["reason"] == "stopped"
    result = sandbox.collect(start).expect(0)
    assert result.one["reason"] == "started"
    assert services(sandbox) == [result.one["pid"]] != [old]
    assert_truthful_status(sandbox)


def test_a_stop_waits_for_a_start_and_then_stops_it(sandbox: Sandbox) -> None:
    gate = gated(sandbox)
    start = call(sandbox, "start")
    logged(sandbox, "ready (pid:")
    stop = waiting(sandbox, "stop", start, "start")
    gate.write_text("go", encoding="ascii")
    started = sandbox.collect(start).expect(0).one
    stopped = sandbox.collect(stop).expect(0).one
    assert (started["reason"], stopped["reason"]) == ("started", "stopped")
    assert started["pid"] == stopped["pid"]
    assert_truthful_status(sandbox)


def test_the_second_of_two_stops_finds_it_stopped(sandbox: Sandbox) -> None:
    gate = slow_to_stop(sandbox)
    sandbox.ctl("start", "web").expect(0)
    logged(sandbox, "ready (pid:")
    first = call(sandbox, "stop")
    logged(sandbox, "stopping")
    second = waiting(sandbox, "stop", first, "stop")
    gate.write_text("go", encoding="ascii")
    outcomes = [sandbox.collect(process).expect(0).one for process in (first, second)]
    assert [(one["reason"], one["changed"]) for one in outcomes] == [("stopped", True), ("already_stopped", False)]
    assert outcomes[1]["signals"] == []
    assert_truthful_status(sandbox)


def test_the_second_of_two_restarts_restarts_what_the_first_has_started(sandbox: Sandbox) -> None:
    gate = slow_to_stop(sandbox)
    old = sandbox.ctl("start", "web", "--json").expect(0).one["pid"]
    logged(sandbox, "ready (pid:")
    first = call(sandbox, "restart")
    logged(sandbox, "stopping")
    second = waiting(sandbox, "restart", first, "restart")
    pids = []
    for process in (first, second):
        gate.write_text("go", encoding="ascii")  # when the one that this restart stops reads from it
        pids.append(sandbox.collect(process).expect(0).one["pid"])
    assert len({old, *pids}) == 3
    assert services(sandbox) == [pids[1]]
    assert_truthful_status(sandbox)


def test_kill_during_the_stop_of_a_restart_is_what_was_asked_for_last(sandbox: Sandbox) -> None:
    define(sandbox, "recorder", schedule="TERM/600/KILL/5")
    old = sandbox.ctl("start", "web", "--json").expect(0).one["pid"]
    logged(sandbox, "ready (pid:")
    restart = call(sandbox, "restart")
    logged(sandbox, f"got TERM from {restart.pid}")
    assert sandbox.ctl("kill", "web", "--json").expect(0).one["pid"] == old
    result = sandbox.collect(restart).expect(151).one
    assert (result["reason"], result["before"], result["after"], result["changed"]) == (
        "not_ready", "running", "stopped", True,
    )  # fmt: skip
    assert services(sandbox) == []
    assert_truthful_status(sandbox)


def test_kill_during_the_start_of_a_restart_ends_it(sandbox: Sandbox) -> None:
    gated(sandbox)
    restart = call(sandbox, "restart")
    logged(sandbox, "ready (pid:")
    assert sandbox.ctl("kill", "web", "--json").expect(0).one["reason"] == "killed"
    assert sandbox.collect(restart).expect(151).one["reason"] == "not_ready"
    assert_truthful_status(sandbox)


@pytest.mark.parametrize("_attempt", range(6))
def test_start_and_kill_at_the_same_moment(sandbox: Sandbox, _attempt: int) -> None:
    """They overlap in another way each time."""
    define(sandbox, "polite")
    start, kill = (result.one for result in together(sandbox, ["start", "kill"]))
    assert (start["reason"], kill["reason"]) in {
        ("started", "already_stopped"),  # kill came before it
        ("started", "killed"),  # or after it
        ("not_ready", "killed"),  # or in the midst of it
    }
    assert bool(services(sandbox)) == (kill["reason"] == "already_stopped")


@pytest.mark.parametrize(
    "pair", ["stop kill", "stop stop", "kill kill", "stop start", "restart restart", "kill restart"]
)
def test_two_verbs_at_the_same_moment_on_a_running_service(sandbox: Sandbox, pair: str) -> None:
    define(sandbox, "polite")
    for _ in range(3):
        sandbox.ctl("start", "web").expect(0)
        results = together(sandbox, pair.split())
        outcomes = {result.one["reason"] for result in results}
        if {"start", "restart"}.isdisjoint(pair.split()):
            assert services(sandbox) == []
            assert outcomes <= {"stopped", "killed", "already_stopped"}
            assert outcomes & {"stopped", "killed"}, "nobody says that he ended it"
        elif "kill" not in pair and "stop" not in pair:
            assert {result.one["pid"] for result in results} >= set(services(sandbox)) != set()


def test_a_crowd_of_verbs_at_the_same_moment(sandbox: Sandbox) -> None:
    define(sandbox, "polite")
    for _ in range(2):
        results = together(sandbox, ["start", "restart", "stop", "kill", "start"] * 4)
        assert all(result.rc == 0 for result in results if result.json["verb"] in {"stop", "kill"})
    pid = sandbox.ctl("start", "web", "--json").expect(0).one["pid"]
    assert services(sandbox) == [pid]
    sandbox.ctl("stop", "web").expect(0)
    assert_truthful_status(sandbox)
    assert len(ready_lines(sandbox)) == len(set(ready_lines(sandbox)))


def test_a_service_of_another_run_directory_is_not_ours(
    sandbox: Sandbox, new_sandbox: Callable[[], AbstractContextManager[Sandbox]]
) -> None:
    define(sandbox, "polite")
    pid = sandbox.ctl("start", "web", "--json").expect(0).one["pid"]
    with new_sandbox() as other:
        define(other, "polite")
        assert other.ctl("status", "web", "--json").expect(3).one["state"] == "stopped"
        assert other.ctl("kill", "web", "--json").expect(0).one["reason"] == "already_stopped"
        started = other.ctl("start", "web", "--json").expect(0).one
        assert started["reason"] == "started"
        assert started["pid"] != pid
    assert proc.alive(pid)
    assert sandbox.ctl("status", "web", "--json").expect(0).one["pid"] == pid


@pytest.mark.parametrize("verb", ["start", "stop", "restart", "run"])
@pytest.mark.parametrize("seconds", ["0", "0.2"])
def test_a_lock_timeout_names_who_holds_the_service(sandbox: Sandbox, verb: str, seconds: str) -> None:
    gated(sandbox)
    holder = call(sandbox, "start")
    logged(sandbox, "ready (pid:")
    busy = sandbox.ctl(verb, "web", "--lock-timeout", seconds).expect(153)
    held = f"ctl start (pid {holder.pid})"
    lock = sandbox.run_dir / "web.lock"
    lines = [f"ctl: web: waiting for {held}"] if float(seconds) else []  # nobody waits for 0 s
    fix = "--lock-timeout waits longer, ctl kill web cuts it short"
    assert busy.stderr.splitlines() == [
        *lines,
        f"ctl: web: {held} holds it; waited {seconds} s ({lock}); to fix: {fix}",
    ]
    assert busy.stdout == ""
    assert holder.alive()
    assert len(services(sandbox)) == 1


def test_the_holder_is_named_among_many_locks(sandbox: Sandbox) -> None:
    """The kernel hands out its list of locks a page at a time, the newest first on each core."""
    gated(sandbox)
    holder = call(sandbox, "start")
    logged(sandbox, "ready (pid:")
    with many_locks(sandbox.tmp, 120):
        busy = sandbox.ctl("stop", "web", "--lock-timeout", 0).expect(153)
        assert busy.stderr.startswith(f"ctl: web: ctl start (pid {holder.pid}) holds it; ")
        assert sandbox.ctl("status", "web", "--json").expect(0).one["state"] == "starting"


@contextmanager
def many_locks(directory: Path, count: int) -> Iterator[None]:
    """Inside, so many other files are locked on each core."""
    cores = os.sched_getaffinity(0)
    with ExitStack() as files:
        try:
            for core in cores:
                os.sched_setaffinity(0, {core})
                for number in range(count):
                    file = files.enter_context((directory / f"lock-{core}-{number}").open("w", encoding="ascii"))
                    fcntl.flock(file, fcntl.LOCK_EX)
        finally:
            os.sched_setaffinity(0, cores)
        yield


def test_busy_in_json(sandbox: Sandbox) -> None:
    gated(sandbox)
    holder = call(sandbox, "start")
    logged(sandbox, "ready (pid:")
    busy = sandbox.ctl("stop", "web", "--lock-timeout", 0, "--json").expect(153)
    assert (busy.one["reason"], busy.one["exit_code"], busy.one["changed"]) == ("busy", 153, False)
    assert f"pid {holder.pid}" in busy.one["errors"][0]["what"]


def test_a_killed_holder_lets_go_of_the_service(sandbox: Sandbox) -> None:
    gated(sandbox)
    holder = call(sandbox, "start")
    logged(sandbox, "ready (pid:")
    pid = sandbox.pid("web")
    holder.signal(signal.SIGKILL)
    holder.wait()
    stopped = sandbox.ctl("stop", "web", "--lock-timeout", 0, "--json").expect(0).one
    assert (stopped["reason"], stopped["pid"]) == ("stopped", pid)
    assert_truthful_status(sandbox)


def test_who_waits_goes_on_when_the_holder_is_killed(sandbox: Sandbox) -> None:
    gated(sandbox)
    holder = call(sandbox, "start")
    logged(sandbox, "ready (pid:")
    stop = waiting(sandbox, "stop", holder, "start")
    holder.signal(signal.SIGKILL)
    assert sandbox.collect(stop).expect(0).one["reason"] == "stopped"
    assert_truthful_status(sandbox)


def test_status_says_what_is_being_done(sandbox: Sandbox) -> None:
    gate = gated(sandbox)
    start = call(sandbox, "start")
    logged(sandbox, "ready (pid:")
    assert sandbox.ctl("status", "web", "--json").expect(0).one["state"] == "starting"
    gate.write_text("go", encoding="ascii")
    sandbox.collect(start).expect(0)
    assert sandbox.ctl("status", "web", "--json").expect(0).one["state"] == "ready"


def test_status_says_that_it_is_stopping(sandbox: Sandbox) -> None:
    define(sandbox, "recorder", schedule="TERM/600/KILL/5")
    sandbox.ctl("start", "web").expect(0)
    logged(sandbox, "ready (pid:")
    stop = call(sandbox, "stop")
    logged(sandbox, f"got TERM from {stop.pid}")
    assert sandbox.ctl("status", "web", "--json").expect(0).one["state"] == "stopping"
    sandbox.ctl("kill", "web").expect(0)
    sandbox.collect(stop).expect(0)


def test_one_target_that_is_busy_holds_up_no_other(sandbox: Sandbox) -> None:
    gated(sandbox)
    sandbox.service("db", "polite")
    holder = call(sandbox, "start")
    logged(sandbox, "ready (pid:")
    result = sandbox.ctl("start", "web", "db", "--lock-timeout", 0, "--json").expect(153)
    assert {name: one["reason"] for name, one in result.by_target.items()} == {"web": "busy", "db": "started"}
    assert holder.alive()
