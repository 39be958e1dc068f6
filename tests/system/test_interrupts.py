"""Ctrl-C on a terminal, and TERM, while ctl is at work: no half state is left, and it exits with 130 or 143.

A start that is interrupted takes down what it has started. A stop that is interrupted leaves the service findable, so
a second one finishes the job. And whatever ctl itself ignores or blocks, its services do not inherit it.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from support import proc
from support.freezer import frozen
from support.pty import Terminal
from support.reaper import MARK
from support.requires import requires, requires_strace
from support.sandbox import CTL, Sandbox
from support.screen import Screen
from support.strace import calls, since
from support.waiting import wait_file, wait_gone, wait_line, wait_until

TWICE = "ctl: web: interrupted: stopping it again; once more to kill it"
_libc = ctypes.CDLL(None)
How = Callable[[Terminal], None]


def ctrl_c(terminal: Terminal) -> None:
    terminal.interrupt()


def term(terminal: Terminal) -> None:
    terminal.process.signal(signal.SIGTERM)


BOTH = pytest.mark.parametrize(("interrupt", "code"), [(ctrl_c, 130), (term, 143)], ids=["ctrl-c", "term"])


@contextmanager
def typed(sandbox: Sandbox, *args: object) -> Iterator[Terminal]:
    """`ctl ARGS`, typed at a terminal."""
    with Terminal(
        sandbox.reaper, [CTL, *map(str, args)], sandbox.environment({"NO_COLOR": "1"}), columns=500
    ) as terminal:
        yield terminal


def services(sandbox: Sandbox, target: str = "web") -> list[int]:
    """Every process of the service, whatever ctl knows of it."""
    ours = proc.with_environment(MARK, sandbox.reaper.mark)
    return [pid for pid in proc.services(target) if pid in ours]


def assert_nothing_left(sandbox: Sandbox, target: str = "web") -> None:
    assert services(sandbox, target) == []
    assert sandbox.ctl("status", target, "--json").expect(3).one["state"] == "stopped"
    assert not sandbox.has_run(target)
    assert not sandbox.pid_file(target).exists()


def assert_running(sandbox: Sandbox, pid: int) -> None:
    assert proc.alive(pid)
    assert sandbox.ctl("status", "web", "--json").expect(0).one["pid"] == pid


def running(sandbox: Sandbox, *options: object) -> int:
    pid: int = sandbox.ctl("start", "web", "--json", *options).expect(0).one["pid"]
    wait_line(sandbox.log("web"), "ready (pid:")
    return pid


# -- start


def never_answers(sandbox: Sandbox) -> None:
    sandbox.service("web", "never_ready", ready={"tcp": "127.0.0.1:1", "timeout": 600})


def never_logs(sandbox: Sandbox) -> None:
    sandbox.service("web", "never_ready", ready={"log": "listening", "timeout": 600})


def never_notifies(sandbox: Sandbox) -> None:
    sandbox.service("web", "never_ready", start={"type": "notify"}, ready={"timeout": 600})


def never_settles(sandbox: Sandbox) -> None:
    sandbox.service("web", "polite", ready={"settle": 600})


def never_daemonizes(sandbox: Sandbox) -> None:
    sandbox.service("web", "forker", "--no-pidfile", "--hang", start={"type": "forking"}, ready={"timeout": 600})


def daemon_never_answers(sandbox: Sandbox) -> None:
    ready = {"tcp": "127.0.0.1:1", "timeout": 600}
    sandbox.service("web", "forker", "--no-pidfile", start={"type": "forking"}, ready=ready)


def has_children(sandbox: Sandbox) -> None:
    sandbox.service("web", "tree", 2, 2, ready={"tcp": "127.0.0.1:1", "timeout": 600})


SLOW = [
    never_answers, never_logs, never_notifies, never_settles, never_daemonizes, daemon_never_answers, has_children,
]  # fmt: skip


@pytest.mark.parametrize("define", SLOW, ids=lambda define: define.__name__)
@BOTH
def test_a_start_that_waits_for_readiness_stops_what_it_started(
    sandbox: Sandbox, define: Callable[[Sandbox], None], interrupt: How, code: int
) -> None:
    define(sandbox)
    with typed(sandbox, "start", "web") as terminal:
        wait_line(sandbox.log("web"), "ready (pid:")
        interrupt(terminal)
        terminal.expect(TWICE)
        assert terminal.wait() == code
        assert "started" not in terminal.screen
        assert "Traceback" not in terminal.screen
    assert_nothing_left(sandbox)
    assert sandbox.ctl("kill", "web").expect(0).stdout == "web: already stopped\n"


def test_ctrl_c_does_not_reach_the_service_itself(sandbox: Sandbox) -> None:
    schedule = {"schedule": "USR1/0.1/KILL/5"}
    sandbox.service("web", "recorder", ready={"tcp": "127.0.0.1:1", "timeout": 600}, stop=schedule)
    with typed(sandbox, "start", "web") as terminal:
        wait_line(sandbox.log("web"), "ready (pid:")
        terminal.interrupt()
        assert terminal.wait() == 130
    signals = [line for line in sandbox.log("web").read_text(encoding="utf-8").splitlines() if "got " in line]
    assert {line.split()[1] for line in signals} == {"USR1", "CONT"}
    assert_nothing_left(sandbox)


def test_an_interrupted_start_says_so_in_json(sandbox: Sandbox) -> None:
    never_answers(sandbox)
    start = sandbox.ctl_popen("start", "web", "--json")
    wait_line(sandbox.log("web"), "ready (pid:")
    start.signal(signal.SIGINT)
    result = sandbox.collect(start).expect(130)
    assert (result.json["ok"], result.one["reason"], result.one["exit_code"]) == (False, "interrupted", 130)


@pytest.mark.parametrize(
    ("first", "second", "code"), [(ctrl_c, ctrl_c, 130), (term, term, 143), (ctrl_c, term, 130)],
    ids=["ctrl-c twice", "term twice", "ctrl-c and term"],
)  # fmt: skip
def test_a_second_interrupt_kills_a_service_that_is_deaf_to_term(
    sandbox: Sandbox, first: How, second: How, code: int
) -> None:
    ready = {"tcp": "127.0.0.1:1", "timeout": 600}
    sandbox.service("web", "recorder", ready=ready, stop={"schedule": "TERM/600/KILL/5"})
    with typed(sandbox, "start", "web") as terminal:
        wait_line(sandbox.log("web"), "ready (pid:")
        first(terminal)
        wait_line(sandbox.log("web"), "got TERM")
        assert services(sandbox)
        second(terminal)
        assert terminal.wait() == code
    assert_nothing_left(sandbox)


@BOTH
def test_a_start_that_waits_for_a_ready_command_takes_that_down_too(
    sandbox: Sandbox, interrupt: How, code: int
) -> None:
    asked = sandbox.tmp / "asked"
    probe = ["sh", "-c", 'echo $$ >"$0.new"; mv "$0.new" "$0"; exec tail -f /dev/null', str(asked)]
    sandbox.service("web", "polite", ready={"command": probe, "timeout": 600})
    with typed(sandbox, "start", "web") as terminal:
        asking = sandbox.reaper.adopt(int(wait_file(asked)))
        interrupt(terminal)
        assert terminal.wait() == code
    wait_gone(asking, 5)
    assert_nothing_left(sandbox)


@BOTH
def test_all_of_several_starts_are_taken_down(sandbox: Sandbox, interrupt: How, code: int) -> None:
    names = [f"web{number}" for number in range(6)]
    for name in names:
        sandbox.service(name, "never_ready", ready={"log": "listening", "timeout": 600})
    with typed(sandbox, "start", *names) as terminal:
        for name in names:
            wait_line(sandbox.log(name), "ready (pid:")
        interrupt(terminal)
        assert terminal.wait() == code
    for name in names:
        assert_nothing_left(sandbox, name)


@pytest.mark.parametrize("case", ["several targets", "waiting for another ctl"])
def test_an_interrupt_may_reach_any_thread(sandbox: Sandbox, case: str) -> None:
    """signal(7): the kernel hands the signal to any thread of ctl, not always to its first."""
    names = ["web", "db", "queue"] if case == "several targets" else ["web"]
    for name in names:
        sandbox.service(name, "never_ready", ready={"log": "listening", "timeout": 600})
    start = sandbox.ctl_popen("start", *names)
    for name in names:
        wait_line(sandbox.log(name), "ready (pid:")
    interrupted = start
    if case == "waiting for another ctl":
        interrupted = sandbox.ctl_popen("stop", "web")
        wait_until(lambda: len(threads(interrupted.pid)) > 1, "a thread waits for the lock")
    other = max(threads(interrupted.pid) - {interrupted.pid})
    assert _libc.tgkill(interrupted.pid, other, signal.SIGINT) == 0
    sandbox.collect(interrupted).expect(130)
    assert start.alive() == (start is not interrupted)


def threads(pid: int) -> set[int]:
    return {int(name) for name in os.listdir(f"/proc/{pid}/task")}


@pytest.mark.parametrize("verb", ["start", "stop", "restart", "run"])
@BOTH
def test_waiting_for_another_ctl_is_given_up(sandbox: Sandbox, verb: str, interrupt: How, code: int) -> None:
    gate = sandbox.fifo("gate")
    sandbox.service("web", "listener", "--gate", gate, ready={"log": "listening on"})
    holder = sandbox.ctl_popen("start", "web")
    wait_line(sandbox.log("web"), "ready (pid:")
    (pid,) = services(sandbox)
    with typed(sandbox, verb, "web") as terminal:
        terminal.expect(f"waiting for ctl start (pid {holder.pid})")
        interrupt(terminal)
        assert terminal.wait() == code
        assert "ctl: web: interrupted" in terminal.screen
    gate.write_text("go", encoding="ascii")
    sandbox.collect(holder).expect(0)
    assert_running(sandbox, pid)


# -- stop, kill, restart


@BOTH
def test_a_stop_in_its_grace_leaves_the_service_findable(sandbox: Sandbox, interrupt: How, code: int) -> None:
    sandbox.service("web", "recorder", stop={"schedule": "TERM/600/KILL/5"})
    pid = running(sandbox)
    with typed(sandbox, "stop", "web") as terminal:
        wait_line(sandbox.log("web"), "got TERM")
        interrupt(terminal)
        assert terminal.wait() == code
        (line,) = Screen(terminal.screen, 24, 500).everything
        assert line.removeprefix("^C").startswith("ctl: web: interrupted")
        assert f"pid {pid}" in line, "it does not say who is left"
    assert_running(sandbox, pid)
    stopped = sandbox.ctl("stop", "web", "--schedule", "TERM/0.1/KILL/5", "--json").expect(0).one
    assert (stopped["reason"], stopped["pid"]) == ("escalated", pid)
    assert_nothing_left(sandbox)


def test_an_interrupted_stop_says_in_json_who_is_left(sandbox: Sandbox) -> None:
    sandbox.service("web", "recorder", stop={"schedule": "TERM/600/KILL/5"})
    pid = running(sandbox)
    stop = sandbox.ctl_popen("stop", "web", "--json")
    wait_line(sandbox.log("web"), "got TERM")
    stop.signal(signal.SIGTERM)
    result = sandbox.collect(stop).expect(143).one
    assert (result["ok"], result["reason"], result["pid"], result["after"]) == (False, "interrupted", pid, "stopping")
    assert [sent["signal"] for sent in result["signals"]] == ["TERM"]
    assert_running(sandbox, pid)


@BOTH
def test_a_stop_that_waits_for_survivors_can_be_finished_later(sandbox: Sandbox, interrupt: How, code: int) -> None:
    child_file = sandbox.tmp / "child"
    sandbox.service("web", "escapee", child_file, stop={"schedule": "TERM/600/KILL/5"})
    pid = running(sandbox)
    main, child = sandbox.adopt("web"), int(child_file.read_text(encoding="ascii"))
    with typed(sandbox, "stop", "web") as terminal:
        wait_gone(main)
        interrupt(terminal)
        assert terminal.wait() == code
    assert not proc.alive(pid)
    assert proc.alive(child)
    sandbox.ctl("stop", "web", "--schedule", "TERM/0.1/KILL/5").expect(0)
    assert not proc.alive(child)
    assert_nothing_left(sandbox)


@BOTH
def test_kill_of_one_that_cannot_be_killed_now(sandbox: Sandbox, interrupt: How, code: int) -> None:
    sandbox.service("web", "polite")
    pid = running(sandbox)
    pidfd = sandbox.adopt("web")
    with frozen(pid):
        with typed(sandbox, "kill", "web") as terminal:
            wait_until(lambda: pending_kill(pid), "it has been sent KILL")
            interrupt(terminal)
            assert terminal.wait() == code
        assert_running(sandbox, pid)
    wait_gone(pidfd)
    sandbox.ctl("kill", "web").expect(0)
    assert_nothing_left(sandbox)


def pending_kill(pid: int) -> bool:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    masks = [int(line.split()[1], 16) for line in lines if line.startswith(("SigPnd:", "ShdPnd:"))]
    return any(mask >> (signal.SIGKILL - 1) & 1 for mask in masks)


@BOTH
def test_a_restart_in_its_stop_starts_nothing(sandbox: Sandbox, interrupt: How, code: int) -> None:
    sandbox.service("web", "recorder", stop={"schedule": "TERM/600/KILL/5"})
    pid = running(sandbox)
    with typed(sandbox, "restart", "web") as terminal:
        wait_line(sandbox.log("web"), "got TERM")
        interrupt(terminal)
        assert terminal.wait() == code
    assert services(sandbox) == [pid]
    assert_running(sandbox, pid)


@BOTH
def test_a_restart_in_its_start_takes_the_new_one_down(sandbox: Sandbox, interrupt: How, code: int) -> None:
    gate = sandbox.fifo("gate")
    sandbox.service("web", "listener", "--gate", gate, ready={"log": "listening on", "timeout": 600})
    start = sandbox.ctl_popen("start", "web")
    gate.write_text("go", encoding="ascii")
    sandbox.collect(start).expect(0)
    old = sandbox.pid("web")
    with typed(sandbox, "restart", "web") as terminal:
        wait_until(lambda: "listening" not in _text(sandbox.log("web")) and bool(_text(sandbox.log("web"))), "new log")
        interrupt(terminal)
        assert terminal.wait() == code
    assert not proc.alive(old)
    assert_nothing_left(sandbox)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


# -- run


def test_run_hands_ctrl_c_to_the_service(sandbox: Sandbox) -> None:
    sandbox.service("web", "polite")
    with typed(sandbox, "run", "web") as terminal:
        terminal.expect("ready (pid:")
        assert_running(sandbox, terminal.process.pid)
        terminal.interrupt()
        assert terminal.wait() == -signal.SIGINT  # Python's own way to end by it
    assert services(sandbox) == []
    assert sandbox.ctl("stop", "web").expect(0).stdout == "web: already stopped (its record was stale)\n"


def test_run_hands_term_to_the_service(sandbox: Sandbox) -> None:
    sandbox.service("web", "polite", 7)
    with typed(sandbox, "run", "web") as terminal:
        terminal.expect("ready (pid:")
        terminal.process.signal(signal.SIGTERM)
        assert terminal.wait() == 7


# -- at any moment


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_interrupted_at_any_system_call_of_a_start(sandbox: Sandbox, number: signal.Signals) -> None:
    """Also while its modules are imported: it either never happened, or it is done, or it was undone; never a trace."""
    requires_strace()
    sandbox.service("web", "polite", ready={"settle": 0.05})
    every = since(calls(sandbox, "start", "web"), "/lib/ctl/shell/")
    sandbox.ctl("kill", "web").expect(0)
    chosen = every[1 :: len(every) // 12] + [call for call in every if call.name in {"vfork", "rename", "write"}]
    for call in chosen:
        inject = f"--inject={call.name}:signal={number.name}:when={call.nth}"
        result = sandbox.ctl("start", "web", "--json", prefix=["strace", "-o", "/dev/null", inject])
        assert "Traceback" not in result.stderr, f"at {call}: {result}"
        if result.rc == 0:
            assert services(sandbox) == [result.one["pid"]]
            sandbox.ctl("kill", "web").expect(0)
        else:
            assert result.rc in {128 + number, -number}, f"at {call}: {result}"
        assert_nothing_left(sandbox)


# -- what a service inherits


def dispositions(pid: int) -> dict[str, int]:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return {line[:6]: int(line.split()[1], 16) for line in lines if line.startswith(("SigIgn:", "SigBlk:"))}


DEAF: dict[str, list[str]] = {
    "as it is": [],
    "nohup": ["nohup"],
    "in the background of a script": ["sh", "-c", '"$@" & wait $!', "sh"],
    "cron or an odd supervisor": ["env", "--ignore-signal", "--block-signal=TERM,INT,HUP,CHLD,USR1"],
    "everything blocked": ["env", "--block-signal"],
    "a Python caller": [sys.executable, "-c", "import os, sys; os.execvp(sys.argv[1], sys.argv[1:])"],
}


@pytest.mark.parametrize("deaf", DEAF, ids=lambda name: name.replace(" ", "-"))
@pytest.mark.parametrize("verb", ["start", "run"])
def test_a_service_ignores_and_blocks_nothing_whatever_ctl_does(sandbox: Sandbox, deaf: str, verb: str) -> None:
    requires("nohup", "env")
    sandbox.service("web", "idle", ready={"settle": 0.05})
    process = sandbox.ctl_popen(verb, "web", prefix=DEAF[deaf])
    if verb == "start":
        sandbox.collect(process).expect(0)
    pid = sandbox.pid("web")
    wait_until(lambda: proc.argv(pid)[0].endswith("idle"), "it runs")
    assert dispositions(pid) == {"SigIgn": 0, "SigBlk": 0}
    assert sandbox.ctl("stop", "web", "--json").expect(0).one["escalated"] is False


def test_what_a_program_of_its_own_reads_of_its_signals(sandbox: Sandbox) -> None:
    dump = sandbox.tmp / "dump"
    sandbox.service("web", "env_dump", dump)
    sandbox.ctl("start", "web", prefix=["env", "--ignore-signal", "--block-signal"]).expect(0)
    seen: dict[str, Any] = json.loads(wait_file(dump))
    assert (seen["ignored"], seen["blocked"]) == (["PIPE", "XFSZ"], [])  # the two that Python itself ignores


def test_ctl_stays_as_deaf_as_its_caller_wanted(sandbox: Sandbox) -> None:
    """nohup is called so that a hang-up does not end it: nor does it, though its services hear it."""
    gate = sandbox.fifo("gate")
    sandbox.service("web", "listener", "--gate", gate, ready={"log": "listening on"})
    start = sandbox.ctl_popen("start", "web", prefix=["nohup"])
    wait_line(sandbox.log("web"), "ready (pid:")
    start.signal(signal.SIGHUP)
    gate.write_text("go", encoding="ascii")
    sandbox.collect(start).expect(0)
    assert len(services(sandbox)) == 1


def test_a_lost_terminal_leaves_a_recorded_service(sandbox: Sandbox) -> None:
    never_answers(sandbox)
    with typed(sandbox, "start", "web") as terminal:
        wait_line(sandbox.log("web"), "ready (pid:")
        terminal.hang_up()
        assert terminal.wait() != 0
    for pid in services(sandbox):
        assert_running(sandbox, pid)
    sandbox.ctl("kill", "web").expect(0)
    assert_nothing_left(sandbox)
