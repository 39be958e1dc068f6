"""The window of restart --rolling slides: the next one begins as soon as one is ready, and none after an interrupt."""

from __future__ import annotations

import signal
from pathlib import Path

from support.sandbox import Sandbox
from support.waiting import wait_line


def gated(sandbox: Sandbox, *names: str) -> dict[str, Path]:
    """Services that become ready when their fifo is written to; they are defined, and not running."""
    gates = {name: sandbox.fifo(name) for name in names}
    for name, gate in gates.items():
        script = f"echo begun; read x <{gate}; echo up; exec sleep 600"
        sandbox.service(name, "idle", start={"command": ["/bin/sh", "-c", script]}, ready={"log": "^up$"})
    return gates


def begun(sandbox: Sandbox, name: str) -> None:
    sandbox.adopt(name)
    wait_line(sandbox.log(name), "begun")


def test_the_next_begins_when_any_is_ready(sandbox: Sandbox) -> None:
    gates = gated(sandbox, "a", "b", "c", "d")
    process = sandbox.ctl_popen("restart", *gates, "--rolling", 2, "--json")
    begun(sandbox, "a")
    begun(sandbox, "b")
    assert not sandbox.has_run("c")
    gates["b"].write_text("go\n")
    begun(sandbox, "c")
    assert not sandbox.has_run("d")
    gates["c"].write_text("go\n")
    begun(sandbox, "d")
    gates["a"].write_text("go\n")
    gates["d"].write_text("go\n")
    result = sandbox.collect(process).expect(0)
    assert [one["target"] for one in result.json["results"]] == ["a", "b", "c", "d"]


def test_after_an_interrupt_no_other_begins(sandbox: Sandbox) -> None:
    gates = gated(sandbox, "a", "b", "c", "d")
    process = sandbox.ctl_popen("restart", *gates, "--rolling", 2, "--max-failures", 9, "--json")
    begun(sandbox, "a")
    begun(sandbox, "b")
    process.signal(signal.SIGINT)
    result = sandbox.collect(process).expect(130)
    assert [one["reason"] for one in result.json["results"]] == ["interrupted", "interrupted", "skipped", "skipped"]
    assert not sandbox.log("c").exists()
    assert "ctl: c: skipped, since ctl was interrupted before its turn" in result.stderr
