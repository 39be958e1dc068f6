"""A record that was put back from a backup, lost or forged: what runs all the same is found, ended and replaced."""

from __future__ import annotations

import json
import signal

import pytest

from support.sandbox import Sandbox
from support.waiting import wait_file, wait_gone


def put_back_an_old_record(sandbox: Sandbox) -> int:
    """The record of an earlier run beside a running service; returns the pid of that."""
    sandbox.service("web", "polite")
    sandbox.ctl("start", "web").expect(0)
    old = sandbox.record("web").read_bytes()
    sandbox.ctl("restart", "web").expect(0)
    pid = sandbox.pid("web")
    sandbox.record("web").write_bytes(old)
    sandbox.pid_file("web").write_text(f"{json.loads(old)['run']['identity']['pid']}\n", encoding="ascii")
    return pid


@pytest.mark.parametrize("verb", ["stop", "kill"])
def test_ending_what_runs_beside_the_record_of_an_earlier_run(sandbox: Sandbox, verb: str) -> None:
    pid = put_back_an_old_record(sandbox)
    result = sandbox.ctl(verb, "web", "--json").expect(0).one
    assert [sent["pid"] for sent in result["signals"]] == [pid]
    assert sandbox.running("web") == []


def test_restarting_what_runs_beside_the_record_of_an_earlier_run(sandbox: Sandbox) -> None:
    old = put_back_an_old_record(sandbox)
    result = sandbox.ctl("restart", "web", "--json").expect(0).one
    assert result["reason"] == "started"
    assert sandbox.running("web") == [result["pid"]] != [old]


def test_a_start_tells_of_what_runs_beside_the_record_of_an_earlier_run(sandbox: Sandbox) -> None:
    pid = put_back_an_old_record(sandbox)
    result = sandbox.ctl("start", "web", "--json").expect(0).one
    assert f"pid {pid}, " in result["errors"][0]["details"][0]
    sandbox.ctl("stop", "web").expect(0)
    assert sandbox.running("web") == [], "the record of the new run tells of the old one"


@pytest.mark.parametrize("verb", ["stop", "kill"])
def test_the_survivors_of_a_main_process_without_a_record_are_ended_with_it(sandbox: Sandbox, verb: str) -> None:
    escaped = sandbox.tmp / "escaped"
    sandbox.service("web", "escapee", escaped, ready={"log": "ready"}, stop={"schedule": "TERM/0.1/KILL/5"})
    sandbox.ctl("start", "web").expect(0)
    wait_file(escaped)
    sandbox.record("web").unlink()
    sandbox.ctl(verb, "web").expect(0)
    assert sandbox.running("web") == []


@pytest.mark.parametrize("verb", ["stop", "kill"])
def test_nothing_is_left_of_a_daemon_that_crashed(sandbox: Sandbox, verb: str) -> None:
    """It could not remove the pid file that it wrote: whoever stops it does, since its record tells of that process."""
    own = sandbox.log_dir / "own.pid"
    sandbox.service("web", "forker", "--pidfile", own, start={"type": "forking"}, stop={"pid_file": str(own)})
    sandbox.ctl("start", "web").expect(0)
    pidfd = sandbox.adopt("web")
    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    wait_gone(pidfd)
    assert sandbox.ctl(verb, "web", "--json").expect(0).json["changed"] is True
    assert not own.exists()
    assert sandbox.ctl("status", "web", "--json").expect(3).one["state"] == "stopped"
