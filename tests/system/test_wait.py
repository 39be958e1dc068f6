"""`ctl wait` in one process, what it waits for in another: it returns when that has come, and not before."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from support.hidepid import hidepid
from support.pidreuse import Pids, in_own_namespace
from support.reaper import Process
from support.requires import requires_mounts
from support.sandbox import PLAIN_UID, Json, Sandbox
from support.strace import calls
from support.waiting import wait_gone, wait_line


def waiting(sandbox: Sandbox, *args: object, target: str = "web") -> Process:
    """`ctl wait`, after it has looked and found that it has to wait."""
    process = sandbox.ctl_popen("wait", target, "--json", "--verbose", *args)
    assert process.err
    wait_line(process.err, "waiting until it is")
    return process


def outcome(sandbox: Sandbox, process: Process) -> tuple[str, str, str]:
    one = sandbox.collect(process).expect(0).one
    assert (one["ok"], one["changed"], one["signals"]) == (True, False, [])
    return one["before"], one["after"], one["reason"]


@pytest.mark.parametrize("kind", ["tcp", "log", "notify"])
def test_a_start_is_seen_running_and_then_ready(sandbox: Sandbox, port: int, kind: str) -> None:
    gate = sandbox.fifo("gate")
    listener: list[Any] = ["listener", "--port", port, "--gate", gate]
    kinds: dict[str, tuple[list[Any], Json, Json]] = {
        "tcp": (listener, {}, {"tcp": f"127.0.0.1:{port}"}),
        "log": (listener, {}, {"log": "^listening on"}),
        "notify": (["notifier", "--trigger", gate], {"type": "notify"}, {"timeout": 30}),
    }
    program, start, ready = kinds[kind]
    sandbox.service("web", *program, start=start, ready=ready)
    for_running, for_ready = waiting(sandbox, "--for", "running"), waiting(sandbox)
    starting = sandbox.ctl_popen("start", "web", "--json")
    assert outcome(sandbox, for_running) == ("stopped", "running", "started")
    wait_line(sandbox.log("web"), "ready (pid:")
    assert for_ready.alive(), str(sandbox.collect(for_ready))
    gate.write_text("go")
    assert outcome(sandbox, for_ready) == ("stopped", "ready", "started")
    sandbox.collect(starting).expect(0)


def test_settled_is_known_beforehand(sandbox: Sandbox) -> None:
    sandbox.service("web", "polite", ready={"settle": 1})
    process = waiting(sandbox)
    sandbox.ctl_popen("start", "web")
    assert outcome(sandbox, process) == ("stopped", "ready", "started")


def test_stopped_when_its_main_process_is_killed(sandbox: Sandbox) -> None:
    sandbox.service("web", "polite")
    sandbox.ctl("start", "web").expect(0)
    pidfd, pid = sandbox.adopt("web"), sandbox.pid("web")
    process = waiting(sandbox, "--for", "stopped")
    os.kill(pid, signal.SIGKILL)
    wait_gone(pidfd)
    assert outcome(sandbox, process) == ("running", "ended", "stopped")


def test_one_that_ends_and_is_started_again(sandbox: Sandbox) -> None:
    ready = {"log": r"^ready \(pid"}
    sandbox.service("web", "crash", ready=ready)
    process = waiting(sandbox)
    sandbox.ctl("start", "web").expect(151)
    sandbox.service("web", "polite", ready=ready)
    sandbox.ctl("start", "web").expect(0)
    assert outcome(sandbox, process) == ("stopped", "ready", "started")


def test_it_looks_only_when_something_is_announced(sandbox: Sandbox) -> None:
    sandbox.service("web", "never_ready", ready={"log": "^never$"})
    starting = sandbox.ctl_popen("start", "web")
    sandbox.adopt("web")
    wait_line(sandbox.log("web"), "waiting for a database")
    looks = [call for call in calls(sandbox, "wait", "web", "--timeout", 2.5) if "web.json" in call.line]
    assert len(looks) == 2, "one at first, and one at the end"
    assert starting.alive()


def test_one_that_is_started_without_ctl_is_noticed(sandbox: Sandbox) -> None:
    word = f"by-hand-{sandbox.reaper.mark}"
    sandbox.service("web", "recorder", "-", word, match={"cmdline": f"recorder.* {word}"})
    process = waiting(sandbox, "--for", "running")
    by_hand = sandbox.reaper.start(sandbox.programs("recorder", "-", word))
    assert sandbox.collect(process).expect(0).one["pid"] == by_hand.pid


def test_a_run_directory_that_is_not_there_yet(sandbox: Sandbox) -> None:
    sandbox.service("web", "polite")
    sandbox.run_dir.rmdir()
    process = waiting(sandbox)
    sandbox.ctl("start", "web").expect(0)
    assert outcome(sandbox, process) == ("stopped", "ready", "started")


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt(sandbox: Sandbox, signum: signal.Signals, code: int) -> None:
    sandbox.service("web", "polite")
    process = waiting(sandbox)
    process.signal(signum)
    assert sandbox.collect(process).expect(code).one["reason"] == "interrupted"


def recycled(pids: Pids, sandbox: Sandbox) -> Json:
    sandbox.service("web", "polite")
    sandbox.ctl("start", "web").expect(0)
    pid = sandbox.pid("web")
    for_stopped = waiting(sandbox, "--for", "stopped")
    pids.end(pid)
    pids.start_as(pid, sandbox.programs("recorder"), start_new_session=True)
    return {
        "stopped": sandbox.collect(for_stopped).rc,
        "running": sandbox.ctl("wait", "web", "--for", "running", "--timeout", 0).rc,
    }


def test_a_recycled_pid_is_not_running(sandbox: Sandbox) -> None:
    assert in_own_namespace(sandbox, recycled) == {"stopped": 0, "running": 151}


def test_what_cannot_be_seen_is_not_stopped(sandbox: Sandbox) -> None:
    requires_mounts()
    sandbox.service("web", "polite")
    result = sandbox.ctl("wait", "web", "--for", "stopped", prefix=hidepid(PLAIN_UID)).expect(4)
    assert "cannot tell whether it is running" in result.stderr
