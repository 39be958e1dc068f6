"""What --dry-run foresees is what then is: whether anything would be changed, and the state after it."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from support import proc
from support.sandbox import Sandbox
from support.waiting import wait_gone, wait_until

Situation = Callable[[Sandbox], object]


def stopped(_: Sandbox) -> None: ...


def running(sandbox: Sandbox) -> None:
    sandbox.ctl("start", "web").expect(0)


def paused(sandbox: Sandbox) -> None:
    running(sandbox)
    sandbox.ctl("pause", "web").expect(0)


def paused_for_an_hour(sandbox: Sandbox) -> None:
    running(sandbox)
    sandbox.ctl("pause", "web", "--for", "1h").expect(0)


def resumed_by_hand(sandbox: Sandbox) -> None:
    paused(sandbox)
    main = sandbox.adopt("web")
    signal.pidfd_send_signal(main, signal.SIGCONT)
    wait_until(lambda: proc.state(sandbox.pid("web")) != "T", "it goes on")


def unrecorded(sandbox: Sandbox) -> None:
    running(sandbox)
    sandbox.record("web").unlink()
    sandbox.pid_file("web").unlink()


def crashed(sandbox: Sandbox) -> None:
    running(sandbox)
    end(sandbox.adopt("web"))


def end(main: int) -> None:
    signal.pidfd_send_signal(main, signal.SIGKILL)
    wait_gone(main)


def leaving_a_pid_file(sandbox: Sandbox) -> None:
    crashed(sandbox)
    sandbox.record("web").unlink()


def crashed_when_paused(sandbox: Sandbox) -> None:
    paused(sandbox)
    end(sandbox.adopt("web"))


CASES: list[tuple[Situation, str]] = [
    (stopped, "start"), (stopped, "stop"), (stopped, "restart"),
    (running, "start"), (running, "kill"), (running, "restart"), (running, "reload"), (running, "pause"),
    (running, "pause --for 1h"), (running, "resume"),
    (paused, "start"), (paused, "pause"), (paused, "pause --for 1h"), (paused, "resume"), (paused, "stop"),
    (paused_for_an_hour, "pause"),
    (resumed_by_hand, "resume"), (resumed_by_hand, "start"),
    (unrecorded, "start"), (unrecorded, "stop"),
    (crashed, "start"), (crashed, "stop"), (crashed, "kill"), (crashed, "restart"),
    (leaving_a_pid_file, "stop"), (crashed_when_paused, "stop"),
]  # fmt: skip


@pytest.mark.parametrize(("situation", "verb"), CASES, ids=lambda value: getattr(value, "__name__", value))
def test_what_it_foresees_comes_true(sandbox: Sandbox, situation: Situation, verb: str) -> None:
    mark = sandbox.reaper.mark
    sandbox.service("web", "polite", 0, mark, match={"cmdline": mark}, reload={"command": ["/bin/true"]})
    situation(sandbox)
    foreseen = sandbox.ctl(*verb.split(), "web", "--dry-run", "--json").expect(0).one
    done = sandbox.ctl(*verb.split(), "web", "--json").expect(0).one
    plan = foreseen.get("plan") or {"steps": [], "after": foreseen["after"]}
    assert not foreseen["changed"]
    assert (foreseen["before"], bool(plan["steps"]), plan["after"]) == (done["before"], done["changed"], done["after"])


def test_no_step_is_foreseen_for_who_outlives_a_main_process_that_stop_is_to_end_alone(sandbox: Sandbox) -> None:
    child = sandbox.tmp / "child"
    sandbox.service("web", "wrapper", child, match={"cmdline": str(child)}, stop={"kill_mode": "process"})
    crashed(sandbox)
    foreseen = sandbox.ctl("stop", "web", "--dry-run", "--json").expect(0).one
    assert (foreseen["reason"], foreseen["plan"]["processes"]) == ("already_stopped", [])
    assert [step for step in foreseen["plan"]["steps"] if "TERM" in step] == []
    assert sandbox.ctl("stop", "web", "--json").expect(0).one["signals"] == []
