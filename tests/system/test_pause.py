"""A paused service is paused as a whole or not at all, goes on when its time is over, and leaves nothing of the pause.

The time is kept by a process of its own, the keeper, whatever becomes of the ctl that paused.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from support import proc
from support.bystander import assert_untouched, start_bystander
from support.freezer import frozen, requires_freezer
from support.full_dir import full, read_only
from support.pty import Terminal
from support.reaper import MARK
from support.requires import requires, requires_namespaces, requires_root, requires_strace
from support.sandbox import CTL, NOBODY_UID, Json, Sandbox
from support.strace import Call, calls, kill_at, was_killed
from support.waiting import wait_file, wait_gone, wait_line, wait_until

THREADS = """
import threading, signal, os
for _ in range(4):
    threading.Thread(target=signal.pause, daemon=True).start()
print(f"ready (pid: {os.getpid()})", flush=True)
signal.pause()
"""
# Ends when its worker has, and so never where that is held.
MASTER = """
import os, signal
worker = os.fork()
if worker == 0:
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    while True: signal.pause()
def end(*_):
    os.kill(worker, signal.SIGTERM)
    os.waitpid(worker, 0)
    os._exit(0)
signal.signal(signal.SIGTERM, end)
print(f"ready (pid: {os.getpid()})", flush=True)
while True: signal.pause()
"""
HANGS = ["sh", "-c", 'echo $$ >"$0.new"; mv "$0.new" "$0"; exec tail -f /dev/null']  # and a file that tells its pid


def start(sandbox: Sandbox, *names: str) -> list[int]:
    """Starts them side by side; the main processes' pids, once each has spoken."""
    started = sandbox.ctl("start", *names, "--json").expect(0).by_target
    for name in names:
        wait_line(sandbox.log(name), "ready (pid:")
    return [started[name]["pid"] for name in names]


def python(sandbox: Sandbox, name: str, text: str, **tables: Json) -> None:
    command = ["/usr/bin/python3", "-S", "-E", "-c", text]
    sandbox.service(name, "idle", start={"command": command, "log": str(sandbox.log(name))}, **tables)


def sent(result: Json) -> list[tuple[int, str]]:
    return [(signalled["pid"], signalled["signal"]) for signalled in result["signals"]]


def states(sandbox: Sandbox, *names: str) -> set[str]:
    """Of every thread of every process of these services."""
    return {
        Path(task, "stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
        for name in names
        for pid in sandbox.running(name)
        for task in Path(f"/proc/{pid}/task").iterdir()
    }


def keepers(sandbox: Sandbox) -> list[int]:
    """Every keeper of this sandbox, which the reaper will end, as pidfds."""
    ours = proc.with_environment(MARK, sandbox.reaper.mark)
    return [sandbox.reaper.adopt(pid) for pid in ours if "--due" in proc.argv(pid)]


def assert_goes_on(sandbox: Sandbox, *names: str) -> None:
    """Soon, all of it, and nothing is left: neither a keeper nor a file."""
    wait_until(lambda: states(sandbox, *names).isdisjoint("Tt"), "they go on")
    for keeper in keepers(sandbox):
        wait_gone(keeper)
    assert not list(sandbox.run_dir.glob("*.paused*"))


def test_every_process_is_held_and_goes_on(sandbox: Sandbox) -> None:
    """The main process first, and last: neither is to see its children held while it runs."""
    names = ["tree", "escapee", "threads"]
    sandbox.service("tree", "tree", 2, 2)
    sandbox.service("escapee", "escapee", sandbox.tmp / "escaped")
    python(sandbox, "threads", THREADS)
    mains = start(sandbox, *names)
    paused = sandbox.ctl("pause", *names, "--json").expect(0).by_target
    assert states(sandbox, *names) == {"T"}
    assert [len(paused[name]["signals"]) for name in names] == [7, 2, 1]
    again = sandbox.ctl("pause", *names, "--json").expect(0)
    assert (again.json["changed"], {one["reason"] for one in again.by_target.values()}) == (False, {"already_paused"})
    resumed = sandbox.ctl("resume", *names, "--json").expect(0).by_target
    for name, main in zip(names, mains, strict=True):
        assert sent(paused[name])[0] == (main, "STOP")
        assert sent(resumed[name])[-1] == (main, "CONT")
        assert {pid for pid, _ in sent(paused[name])} == {pid for pid, _ in sent(resumed[name])}
    assert_goes_on(sandbox, *names)
    assert sandbox.ctl("resume", *names, "--json").expect(0).json["changed"] is False


def test_what_forks_without_end_is_held_to_the_last_process(sandbox: Sandbox) -> None:
    """Three chains of processes of which each lives 2.5 ms, and a main process that forks on. Each fork is a dot."""
    sandbox.service("web", "storm", 3, 2500, 4000, ready={"settle": 0.05})
    pidfd = sandbox.reaper.adopt(start(sandbox, "web")[0])
    for _ in range(4):
        assert sandbox.ctl("pause", "web", "--json").expect(0).one["reason"] == "paused"
        assert_forks_no_more(sandbox)
        assert states(sandbox, "web") == {"T"}
        sandbox.ctl("resume", "web").expect(0)
    sandbox.ctl("kill", "web").expect(0)
    wait_gone(pidfd, 0)
    assert_forks_no_more(sandbox)
    assert sandbox.running("web") == []


def assert_forks_no_more(sandbox: Sandbox) -> None:
    forks = sandbox.log("web").stat().st_size
    for _ in range(5):
        sandbox.running("web")  # which takes longer than many of them live
    assert sandbox.log("web").stat().st_size == forks, "somebody goes on forking"


@pytest.mark.parametrize("moment", ["at the first STOP", "between two", "at its end"])
def test_it_goes_on_in_time_though_the_ctl_that_paused_was_killed(sandbox: Sandbox, moment: str) -> None:
    names = ["web", "db"]
    for name in names:
        sandbox.service(name, "tree", 2, 1)
    start(sandbox, *names)
    one = ["web"]  # of several, threads do the work, which strace does not follow
    call = _call_at(sandbox, moment, "pause", *one, "--for", "0.3s")
    sandbox.ctl("pause", "db", "--for", "0.3s").expect(0)
    assert was_killed(killed := kill_at(sandbox, call, "pause", *one, "--for", "0.3s")), killed
    assert_goes_on(sandbox, *names)
    assert sandbox.ctl("pause", "web", "--json").expect(0).one["changed"], "it was not left as it should be"


def _call_at(sandbox: Sandbox, moment: str, *args: object) -> Call:
    """The system call of such a pause at that moment. Measuring it takes a whole pause."""
    found = calls(sandbox, *args)
    assert_goes_on(sandbox, "web")
    stops = [call for call in found if call.name == "pidfd_send_signal" and "SIGSTOP" in call.line]
    assert len(stops) == 3
    return {"at the first STOP": stops[0], "between two": stops[1], "at its end": found[-1]}[moment]


def test_several_are_resumed_by_one_keeper(sandbox: Sandbox) -> None:
    names = ["a", "b", "c"]
    for name in names:
        sandbox.service(name, "polite")
    start(sandbox, *names)
    paused = sandbox.ctl("pause", *names, "--for", "0.5s", "--json").expect(0).by_target
    assert all(one["paused_until"] for one in paused.values())
    assert len(keepers(sandbox)) == 1
    sandbox.ctl("resume", "b").expect(0)
    assert_goes_on(sandbox, *names)


def test_a_keeper_of_many_has_the_descriptors_to_resume_them_all(sandbox: Sandbox) -> None:
    requires("prlimit")
    sandbox.service("web@", "idle")
    names = [f"web@{number}" for number in range(40)]
    sandbox.ctl("start", *names).expect(0)
    sandbox.ctl("pause", "web@", "--for", "1s", prefix=("prlimit", "--nofile=32:4096")).expect(0)
    assert_goes_on(sandbox, *names)


def test_why_a_keeper_does_not_come_up_is_said(sandbox: Sandbox) -> None:
    requires_namespaces()
    sandbox.service("web", "polite")
    start(sandbox, "web")
    none_left = 'echo 0 >/proc/sys/user/max_inotify_instances && exec "$0" "$@"'
    refused = sandbox.ctl("pause", "web", "--for", "1h", prefix=("unshare", "-Ur", "sh", "-c", none_left)).expect(1)
    assert "the user has no inotify instances left" in refused.stderr
    assert "(fs.inotify.max_user_instances)" in refused.stderr
    assert states(sandbox, "web") == {"S"}


def test_whatever_ends_a_pause_ends_its_keeper(sandbox: Sandbox) -> None:
    ends = {"a": ["resume"], "b": ["stop"], "c": ["kill"], "d": ["pause"], "e": ["pause", "--for", "1h"]}
    for name in ends:
        sandbox.service(name, "polite")
    start(sandbox, *ends)
    for name, (verb, *options) in ends.items():
        sandbox.ctl("pause", name, "--for", "600").expect(0)
        (keeper,) = keepers(sandbox)
        ended = sandbox.ctl(verb, name, *options, "--json").expect(0).one
        assert ended["changed"], name
        wait_gone(keeper)
        if name == "e":
            assert ended["paused_until"]
            sandbox.ctl("resume", name).expect(0)
    assert states(sandbox, "d") == {"T"}
    status = sandbox.ctl("status", "d", "--json").expect(0).one
    assert (status["state"], status["paused_until"]) == ("paused", None)
    sandbox.ctl("resume", "d").expect(0)
    assert_goes_on(sandbox, *ends)


def test_a_paused_service_can_be_stopped_killed_and_restarted(sandbox: Sandbox) -> None:
    """Its master waits for its worker, which has to go on for that."""
    names = ["stop", "kill", "restart"]
    for name in names:
        python(sandbox, name, MASTER, stop={"schedule": "TERM/20/KILL/5"})
    mains = dict(zip(names, start(sandbox, *names), strict=True))
    sandbox.ctl("pause", *names).expect(0)
    for name in names:
        result = sandbox.ctl(name, name, "--json").expect(0).one
        assert (result["before"], result["escalated"], result["changed"]) == ("paused", False, True)
        assert not proc.alive(mains[name])
    assert [len(sandbox.running(name)) for name in names] == [0, 0, 2]
    assert_goes_on(sandbox, "restart")


def test_it_is_drained_before_it_is_held(sandbox: Sandbox) -> None:
    sandbox.service("idle", "polite", drain={"command": ["true"], "timeout": 5})
    busy = sandbox.service("busy", "polite", drain={"command": [*HANGS, str(sandbox.tmp / "at")], "timeout": 1})
    start(sandbox, "idle", "busy")
    paused = sandbox.ctl("pause", "idle", "busy", "--json").expect(0).by_target
    assert (paused["idle"]["drained"], paused["idle"]["errors"]) == (True, [])
    assert (paused["busy"]["drained"], paused["busy"]["reason"]) == (None, "paused")
    (error,) = paused["busy"]["errors"]
    assert error["what"].startswith("not drained within 1 s: ")
    assert error["where"] == f"{busy}, drain"
    assert states(sandbox, "idle", "busy") == {"T"}
    assert not proc.alive(int((sandbox.tmp / "at").read_text(encoding="ascii"))), "its probe is still there"
    # Who is held could not answer: it is not asked again.
    assert sandbox.ctl("stop", "busy", "--json").expect(0).one["errors"] == []


def test_ctrl_c_while_it_drains_leaves_it_running(sandbox: Sandbox) -> None:
    at = sandbox.tmp / "at"
    sandbox.service("web", "polite", drain={"command": [*HANGS, str(at)], "timeout": 600})
    start(sandbox, "web")
    with Terminal(
        sandbox.reaper, [CTL, "pause", "web", "--for", "1h"], sandbox.environment({"TERM": "dumb"}), columns=500
    ) as terminal:
        probe = sandbox.reaper.adopt(int(wait_file(at)))
        terminal.interrupt()
        assert terminal.wait() == 130
        assert "ctl: web: interrupted" in terminal.screen
    wait_gone(probe, 5)
    assert states(sandbox, "web") == {"S"}
    assert_goes_on(sandbox, "web")


def test_one_that_cannot_be_held_lets_all_the_others_go_on(sandbox: Sandbox) -> None:
    """A child in state D. What is killed in the midst of that ends as soon as it can, and is not said to be paused."""
    requires_freezer()
    for name in ("web", "db"):
        sandbox.service(name, "tree", 2, 1)
    web, db = start(sandbox, "web", "db")
    held, doomed = proc.children(web)[1], proc.children(db)[1]
    with frozen(held, doomed):
        pauses = [sandbox.ctl_popen("pause", name, "--for", "1h", "--json") for name in ("web", "db")]
        wait_until(lambda: proc.state(db) == proc.state(web) == "T", "the main processes are held")
        kill = sandbox.ctl_popen("kill", "db", "--json")
        wait_until(lambda: not proc.alive(db), "the other one is killed")
        undone = sandbox.collect(pauses[0]).expect(150).one
        assert (undone["reason"], undone["after"], undone["changed"]) == ("timeout", "running", False)
        assert undone["errors"][0]["what"] == f"did not stop within 5 s: pid {held} (state D)"
        assert "T" not in states(sandbox, "web")
    assert sandbox.collect(kill).one["signals"]
    assert sandbox.collect(pauses[1]).one["reason"] in {"not_running", "timeout"}
    assert_goes_on(sandbox, "web", "db")
    sandbox.ctl("kill", "db").expect(0)
    assert sandbox.running("db") == []


def test_a_fault_of_the_kernel_s_in_the_midst_of_a_pause_leaves_nothing_held(sandbox: Sandbox) -> None:
    requires_strace()
    sandbox.service("web", "tree", 2, 1)
    start(sandbox, "web")
    second = ("strace", "-o", "/dev/null", "-e", "inject=pidfd_send_signal:error=EIO:when=2")
    failed = sandbox.ctl("pause", "web", prefix=second).expect(1)
    assert "Input/output error" in failed.stderr
    assert states(sandbox, "web") == {"S"}
    assert_goes_on(sandbox, "web")


def test_what_may_not_be_signalled_is_not_held(plain_sandbox: Sandbox) -> None:
    requires_root()
    word = f"orders-{plain_sandbox.reaper.mark}"
    plain_sandbox.define(word, {"match": {"cmdline": word, "user": "nobody"}})
    other = start_bystander(plain_sandbox.reaper, plain_sandbox.programs("recorder", "-", word), NOBODY_UID)
    for options in ([], ["--for", "1h"]):
        refused = plain_sandbox.ctl("pause", word, *options).expect(4)
        (line,) = refused.stderr.splitlines()
        assert f"not allowed to signal pid {other.pid}" in line
        assert_goes_on(plain_sandbox)
    assert_untouched(other)


@pytest.mark.parametrize("spoil", [full, read_only], ids=lambda spoil: spoil.__name__)
def test_a_run_directory_that_cannot_be_written_to(
    sandbox: Sandbox, spoil: Callable[[Path], AbstractContextManager[None]]
) -> None:
    """Nobody could know when to resume it, so with a time it is not paused; without one it is, and that is said."""
    sandbox.service("web", "tree", 2, 1)
    start(sandbox, "web")
    with spoil(sandbox.run_dir):
        refused = sandbox.ctl("pause", "web", "--for", "1h")
        assert refused.rc not in {0, 199}
        assert "T" not in states(sandbox, "web")
        paused = sandbox.ctl("pause", "web", "--json").expect(0).one
        assert paused["reason"] == "paused"
        assert [error["what"].partition(":")[0] for error in paused["errors"]] == [
            "cannot write down that it is paused"
        ]
        assert states(sandbox, "web") == {"T"}
        resumed = sandbox.ctl("resume", "web", "--json").expect(0).one
        assert (resumed["reason"], resumed["errors"]) == ("resumed", [])
        assert "T" not in states(sandbox, "web")
    assert_goes_on(sandbox, "web")


def test_the_keeper_is_never_taken_for_the_service(sandbox: Sandbox) -> None:
    """Its argv holds the service's name, and the service is found by nothing else."""
    name = f"orders-{sandbox.reaper.mark}"
    sandbox.service(name, "polite", 0, name, match={"cmdline": f" {name} ?"})
    (pid,) = start(sandbox, name)
    sandbox.ctl("pause", name, "--for", "1h").expect(0)
    (keeper,) = keepers(sandbox)
    for path in (sandbox.record(name), sandbox.pid_file(name)):
        path.unlink()
    status = sandbox.ctl("status", name, "--json").expect(0).one
    assert (status["state"], status["pid"]) == ("paused", pid)
    assert sandbox.ctl("kill", name, "--json").expect(0).one["pid"] == pid
    wait_gone(keeper)


def test_a_pause_that_is_left_of_another_run_says_nothing(sandbox: Sandbox) -> None:
    """A crash, a start by other means: neither the file nor its time is about this process."""
    sandbox.service("web", "polite")
    start(sandbox, "web")
    sandbox.ctl("pause", "web", "--for", "600").expect(0)
    left = json.loads((sandbox.run_dir / "web.paused").read_text(encoding="utf-8"))
    sandbox.ctl("restart", "web").expect(0)
    (sandbox.run_dir / "web.paused").write_text(json.dumps(left), encoding="utf-8")
    sandbox.ctl("pause", "web").expect(0)
    status = sandbox.ctl("status", "web", "--json").expect(0).one
    assert (status["state"], status["paused_until"]) == ("paused", None)
    sandbox.ctl("resume", "web").expect(0)
    assert_goes_on(sandbox, "web")


@pytest.fixture(autouse=True)
def _no_keeper_is_left(sandbox: Sandbox) -> Iterator[None]:
    yield
    assert keepers(sandbox) == [], f"a keeper is left: {os.listdir(sandbox.run_dir)}"


def test_resume_lets_go_what_a_main_process_that_was_killed_meanwhile_has_left_held(sandbox: Sandbox) -> None:
    sandbox.service("web", "tree", "--ignore-term", 2, 1)
    main = start(sandbox, "web")[0]
    sandbox.ctl("pause", "web").expect(0)
    gone = sandbox.reaper.adopt(main)
    signal.pidfd_send_signal(gone, signal.SIGKILL)
    wait_gone(gone)
    left = sandbox.running("web")
    assert left
    resumed = sandbox.ctl("resume", "web", "--json").expect(7)
    assert resumed.one["changed"] is True
    assert sorted(one["pid"] for one in resumed.one["signals"]) == sorted(left)
    wait_until(lambda: "T" not in {proc.state(pid) for pid in left}, "they go on")
    sandbox.ctl("kill", "web").expect(0)
    assert sandbox.running("web") == []
