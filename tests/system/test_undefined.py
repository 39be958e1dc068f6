"""A service whose definition is broken or gone can still be ended, and is not forgotten: its state file is enough."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from support import proc
from support.bystander import assert_untouched, start_bystander
from support.programs import Programs
from support.reaper import Reaper
from support.sandbox import Sandbox
from support.waiting import wait_gone

Spoil = Callable[[Sandbox, str], None]


def _break(sandbox: Sandbox, name: str) -> None:
    sandbox.define_raw(name, "stat = 1\n")


def _remove(sandbox: Sandbox, name: str) -> None:
    (sandbox.services / f"{name}.toml").unlink()


SPOIL = pytest.mark.parametrize("spoil", [_break, _remove], ids=["broken", "gone"])


@SPOIL
@pytest.mark.parametrize("verb", ["stop", "kill"])
def test_it_is_ended_as_its_state_file_says(sandbox: Sandbox, spoil: Spoil, verb: str) -> None:
    hook = sandbox.tmp / "hook"
    sandbox.service("web", "tree", 1, 2, stop={"schedule": "TERM/5/KILL/5", "before": [["touch", str(hook)]]})
    sandbox.ctl("start", "web").expect(0)
    pidfd, pids = sandbox.adopt("web"), sandbox.running("web")
    spoil(sandbox, "web")

    result = sandbox.ctl(verb, "web", "--json").expect(0)
    wait_gone(pidfd, 0)
    assert result.one["reason"] == {"stop": "stopped", "kill": "killed"}[verb]
    assert not [pid for pid in pids if proc.alive(pid)]
    (told,) = result.one["errors"]
    assert "hooks and drain are skipped" in told["what"]
    assert "its definition" in result.stderr
    assert not hook.exists()
    assert sandbox.ctl(verb, "web", "--json").expect(0).one["changed"] is False


@SPOIL
def test_its_schedule_and_kill_mode_are_those_of_its_start(sandbox: Sandbox, spoil: Spoil, reaper: Reaper) -> None:
    sandbox.service("web", "tree", 1, 1, stop={"schedule": "INT/5/KILL/5", "kill_mode": "process"})
    sandbox.ctl("start", "web").expect(0)
    (child,) = proc.children(sandbox.pid("web"))
    reaper.adopt(child)
    spoil(sandbox, "web")
    result = sandbox.ctl("stop", "web", "--json").expect(0).one
    assert result["signals"][0]["signal"] == "INT"
    assert [left["pid"] for left in result["left_over"]] == [child]
    assert proc.alive(child)
    sandbox.ctl("kill", "web").expect(0)
    assert not proc.alive(child)


def test_a_definition_that_parses_wins(sandbox: Sandbox) -> None:
    sandbox.service("web", "polite", stop={"schedule": "TERM/5/KILL/5"})
    sandbox.ctl("start", "web").expect(0)
    sandbox.service("web", "polite", stop={"schedule": "INT/1/KILL/5"})
    assert sandbox.ctl("stop", "web", "--json").expect(0).one["signals"][0]["signal"] == "INT"


def test_a_wrong_name_touches_nothing(sandbox: Sandbox) -> None:
    sandbox.service("web", "polite")
    sandbox.ctl("start", "web").expect(0)
    for verb in ("stop", "kill"):
        sandbox.ctl(verb, "wbe", "web").expect(5)
    assert proc.alive(sandbox.pid("web"))


def test_a_state_file_that_names_an_innocent_harms_nobody(sandbox: Sandbox, reaper: Reaper, programs: Programs) -> None:
    innocent = start_bystander(reaper, programs("recorder", "-"))
    sandbox.service("web", "polite")
    sandbox.ctl("start", "web").expect(0)
    record = sandbox.run_on_record("web")
    sandbox.ctl("kill", "web").expect(0)
    record["identity"]["pid"] = innocent.pid
    sandbox.write_run("web", record)
    _remove(sandbox, "web")
    for verb in ("stop", "kill"):
        assert sandbox.ctl(verb, "web", "--json").expect(0).one["signals"] == []
    assert_untouched(innocent)


@SPOIL
def test_status_shows_it_and_all_that_runs_is_stopped(sandbox: Sandbox, spoil: Spoil) -> None:
    sandbox.service("web", "polite")
    sandbox.service("other", "polite")
    sandbox.ctl("start", "web").expect(0)
    pid = sandbox.pid("web")
    spoil(sandbox, "web")
    found = sandbox.ctl("status", "--json").by_target["web"]
    assert (found["state"] in {"running", "ready"}, found["pid"]) == (True, pid)
    assert found["errors"]
    assert found["ready"] is None, "no definition says what makes it ready"
    assert sandbox.ctl("status", "web", "--json").expect(0).one["pid"] == pid
    sandbox.ctl("stop", "--all", "--yes").expect(0)
    assert not proc.alive(pid)


@SPOIL
def test_one_that_has_ended_is_not_forgotten(sandbox: Sandbox, spoil: Spoil) -> None:
    sandbox.service("web", "polite")
    sandbox.ctl("start", "web").expect(0)
    pidfd = sandbox.adopt("web")
    os.kill(sandbox.pid("web"), 9)
    wait_gone(pidfd)
    spoil(sandbox, "web")
    assert sandbox.ctl("status", "--json").expect(1).by_target["web"]["state"] == "ended"
    sandbox.ctl("status", "web").expect(1)


@SPOIL
def test_instances_are_known_without_their_template(sandbox: Sandbox, spoil: Spoil) -> None:
    sandbox.service("worker@", "polite")
    sandbox.ctl("start", "worker@1", "worker@2").expect(0)
    pids = [sandbox.pid("worker@1"), sandbox.pid("worker@2")]
    spoil(sandbox, "worker@")
    assert {"worker@1", "worker@2"} <= sandbox.ctl("status", "--json").by_target.keys()
    sandbox.ctl("kill", "worker@").expect(0)
    assert not [pid for pid in pids if proc.alive(pid)]
