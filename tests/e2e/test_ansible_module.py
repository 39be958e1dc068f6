"""The collection's modules, as a playbook uses them, on services of the sandbox."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from support import proc
from support.ansible import Playbooks, Played, documented_keys, install, task
from support.sandbox import CTL, Sandbox
from support.waiting import wait_file, wait_gone

LOGGED = {"log": r"^ready \(pid"}

pytestmark = pytest.mark.xdist_group("ansible_module")


@pytest.fixture(scope="module")
def collections(session_dir: Path) -> Path:
    where = session_dir / "ansible"
    where.mkdir()
    return install(where)


@pytest.fixture
def playbooks(sandbox: Sandbox, collections: Path) -> Playbooks:
    return Playbooks(sandbox, collections)


def changed(results: dict[str, Any]) -> set[str]:
    return {name for name, result in results.items() if result["changed"]}


def keys(played: Played) -> set[str]:
    """Those of the results of all services."""
    return {key for told in played.results.values() for one in told.get("services", {}).values() for key in one}


def events(sandbox: Sandbox) -> list[dict[str, Any]]:
    journal = sandbox.log_dir / "events.jsonl"
    return [json.loads(line) for line in journal.read_text(encoding="utf-8").splitlines()] if journal.exists() else []


def crash(sandbox: Sandbox, target: str) -> None:
    """Its main process ends, and record and pid file stay."""
    sandbox.ctl("start", target).expect(0)
    main = sandbox.adopt(target)
    signal.pidfd_send_signal(main, signal.SIGKILL)
    wait_gone(main)


def script(sandbox: Sandbox, name: str, text: str) -> str:
    path = sandbox.tmp / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_each_state_is_reached_once(sandbox: Sandbox, playbooks: Playbooks) -> None:
    sandbox.service("web", "env_dump", sandbox.tmp / "inherited", ready=LOGGED, reload={"command": ["/bin/true"]})
    played = playbooks.play(
        [
            task("start", name="web", state="started"),
            task("start again", name="web", state="started"),
            task("reload", name="web", state="reloaded"),
            task("pause", name="web", state="paused"),
            task("pause again", name="web", state="paused"),
            task("start what is paused", name="web", state="started"),
            task("resume", name="web", state="resumed"),
            task("resume again", name="web", state="resumed"),
            task("restart", name="web", state="restarted"),
            task("stop", name="web", state="stopped"),
            task("stop again", name="web", state="stopped"),
            task("restart what is stopped", name="web", state="restarted"),
            task("kill", name="web", state="killed"),
            task("kill again", name="web", state="killed"),
        ],
        "--diff",
    )
    assert played.rc == 0, played.output
    assert changed(played.results) == {
        "start", "reload", "pause", "resume", "restart", "stop", "restart what is stopped", "kill",
    }  # fmt: skip
    started = played["start"]["services"]["web"]
    assert (started["before"], started["after"], started["reason"]) == ("stopped", "ready", "started")
    assert played["start"]["diff"] == {"before": {"web": "stopped"}, "after": {"web": "ready"}}
    assert played["start again"]["diff"] == {"before": {"web": "running"}, "after": {"web": "running"}}
    assert played["start again"]["services"]["web"]["pid"] == started["pid"]
    assert played["start what is paused"]["warnings"] == ["web: it is paused; to fix: ctl resume web"]
    assert not sandbox.running("web")
    # What Ansible and its module had open, the service has not: its pipes would keep the task from ending.
    assert json.loads(wait_file(sandbox.tmp / "inherited"))["fds"].keys() == {"0", "1", "2"}
    assert {event["ansible"] for event in events(sandbox)} == {"service"}
    assert not (sandbox.home / ".ansible").exists()


def test_check_mode_foresees_and_touches_nothing(sandbox: Sandbox, playbooks: Playbooks) -> None:
    for name in ("web", "db", "old"):
        sandbox.service(name, "polite")
    sandbox.ctl("start", "db").expect(0)
    crash(sandbox, "old")
    pid, before = sandbox.pid("db"), events(sandbox)
    tasks = [
        task("start a stopped one", name="web", state="started"),
        task("start a running one", name="db", state="started"),
        task("start both", name=["web", "db"], state="started"),
        task("stop a stopped one", name="web", state="stopped"),
        task("stop a running one", name="db", state="stopped"),
        task("stop one whose record remains", name="old", state="stopped"),
        task("kill both", name=["web", "db"], state="killed"),
        task("restart", name="db", state="restarted"),
        task("resume", name="db", state="resumed"),
        task("pause", name="db", state="paused"),
        task("pause one that is stopped", name="web", state="paused", expect_failure=True),
        task("call no ctl", name="web", state="started", executable="/nowhere/ctl"),
    ]
    played = playbooks.play(tasks, "--check", "--diff")
    assert played.rc == 0, played.output
    assert changed(played.results) == {
        "start a stopped one", "start both", "stop a running one", "stop one whose record remains", "kill both",
        "restart", "pause", "call no ctl",
    }  # fmt: skip
    assert played["start both"]["diff"] == {
        "before": {"web": "stopped", "db": "running"},
        "after": {"web": "ready", "db": "running"},
    }
    assert played["stop one whose record remains"]["diff"] == {"before": {"old": "ended"}, "after": {"old": "stopped"}}
    assert played["stop a running one"]["services"]["db"]["plan"]["processes"][0]["pid"] == pid
    assert played["pause one that is stopped"]["reason"] == "not_running"
    assert "/nowhere/ctl" in played["call no ctl"]["warnings"][0]
    assert (sandbox.running("db"), sandbox.running("web"), events(sandbox)) == ([pid], [], before)
    assert proc.state(pid) != "T"
    assert keys(played) <= documented_keys("service")
    assert sandbox.has_run("old")


def test_what_fails_says_why_and_what_cannot_be_right_touches_nothing(sandbox: Sandbox, playbooks: Playbooks) -> None:
    sandbox.service("web", "polite")
    sandbox.service("db", "crash", ready=LOGGED)
    sandbox.ctl("start", "web").expect(0)
    pid, before = sandbox.pid("web"), len(events(sandbox))
    garbage = script(sandbox, "garbage", "echo I am another ctl")
    broken = script(sandbox, "broken", "echo 'ctl: its Python is gone' >&2; exit 199")
    newer = script(sandbox, "newer", """echo '{"schema": 2, "verb": "stop", "ok": true}'""")
    no_program = str(sandbox.tmp)
    impossible = {
        "unknown": task("unknown", name=["web", "wbe"], state="killed"),
        "expect": task("expect", name="web", state="killed", expect_pid={"web": pid + 1}),
        "usage": task("usage", name="web", state="killed", grace=3),
        "nobody": task("nobody", name=[], state="stopped"),
        "empty": task("empty", name="", state="stopped"),
        "both": task("both", name="web", all=True, state="stopped"),
        "garbage": task("garbage", name="web", state="stopped", executable=garbage),
        "broken": task("broken", name="web", state="stopped", executable=broken),
        "newer": task("newer", name="web", state="stopped", executable=newer),
        "no program": task("no program", name="web", state="stopped", executable=no_program),
    }
    tasks = [one | {"ignore_errors": True} for one in impossible.values()]
    played = playbooks.play([*tasks, task("not ready", name=["web", "db"], state="started", expect_failure=True)])
    assert played.rc == 0, played.output
    failed = {name: result["msg"] for name, result in played.results.items() if result["failed"]}
    assert failed.keys() == {*impossible, "not ready"}
    assert failed["unknown"].startswith("wbe: no such service (there is no ")
    assert failed["unknown"].endswith("; to fix: write web instead")
    assert (played["unknown"]["reason"], played["unknown"]["rc"]) == ("unknown_target", 5)
    assert played["expect"]["reason"] == "identity_mismatch"
    assert failed["expect"] == f"web: its main process is pid {pid}, not pid {pid + 1} (--expect-pid)"
    assert "--grace" in failed["usage"]
    assert failed["nobody"] == "name is missing or empty: name the services, or say all=true"
    assert "--all and names of targets contradict" in failed["both"]
    assert failed["garbage"] == f"{garbage} stop did not print a JSON document, exit status 0"
    assert failed["broken"] == f"{broken} stop printed nothing, exit status 199:\nctl: its Python is gone"
    assert "schema 2" in failed["newer"]
    assert failed["no program"] == f"executable: there is no program {no_program} on this host"
    assert not changed({name: played[name] for name in impossible})

    assert played["not ready"]["reason"] == "not_ready"
    assert "fatal: cannot go on" in failed["not ready"]
    assert {name: result["reason"] for name, result in played["not ready"]["services"].items()} == {
        "web": "already_running", "db": "not_ready",
    }  # fmt: skip
    assert sandbox.running("web") == [pid]
    assert {event["target"] for event in events(sandbox)[before:] if event["event"] == "signal"} <= {"db"}


def test_lists_templates_all_and_the_options(sandbox: Sandbox, playbooks: Playbooks) -> None:
    sandbox.service("deaf", "ignorer", ready=LOGGED)
    sandbox.service("worker@", "polite", start={"log": "{log_dir}/{target}.log"})
    sandbox.service("broken", "crash", ready=LOGGED)
    conf, run_dir = sandbox.conf, sandbox.run_dir
    tasks = [
        task("start", names=["worker@1", "worker@2", "deaf"], state="started", conf=str(conf), run_dir=str(run_dir)),
        task("grace", name="deaf", state="stopped", grace=0.1),
        task("pause", name="worker@1", state="paused", pause_for="1h"),
        task("pause again", name="worker@1", state="paused", pause_for="2h"),
        task("rolling", name=["worker@2", "broken", "worker@1"], state="restarted", rolling=1, expect_failure=True),
        task("stop all", all=True, state="stopped", schedule="TERM/3/KILL/3"),
        task("none left", name="worker@", state="stopped"),
    ]
    # With pipelining all that can be seen of a module is the shell that starts an interpreter.
    played = playbooks.play(tasks, env={"ANSIBLE_PIPELINING": "1"})
    assert played.rc == 0, played.output
    assert played["start"]["services"].keys() == {"worker@1", "worker@2", "deaf"}
    assert played["grace"]["services"]["deaf"]["reason"] == "escalated"
    assert changed(played.results) == {"start", "grace", "pause", "pause again", "rolling", "stop all"}
    assert played["pause"]["services"]["worker@1"]["paused_until"]
    assert keys(played) <= documented_keys("service")
    assert [result["reason"] for result in played["rolling"]["services"].values()] == [
        "started",
        "not_ready",
        "skipped",
    ]
    assert played["stop all"]["services"].keys() == {"worker@1", "worker@2"}
    assert {name: one["reason"] for name, one in played["none left"]["services"].items()} == {
        "worker@1": "already_stopped", "worker@2": "already_stopped",
    }  # fmt: skip
    assert {event["ansible"] for event in events(sandbox)} == {"unknown"}


def test_in_the_background(sandbox: Sandbox, playbooks: Playbooks) -> None:
    """async: the task is over when ctl is, although what it has started runs on."""
    sandbox.service("web", "polite")
    played = playbooks.play(
        [
            task("start", name="web", state="started") | {"async": 60, "poll": 1},
            task("look", module="service_info", name="web"),
        ]
    )
    assert played.rc == 0, played.output
    pid = played["start"]["services"]["web"]["pid"]
    assert played["look"]["services"]["web"]["pid"] == pid
    assert sandbox.running("web") == [pid]
    assert {event["ansible"] for event in events(sandbox)} == {"service"}


def test_looking(sandbox: Sandbox, playbooks: Playbooks) -> None:
    sandbox.service("web", "polite")
    sandbox.service("db", "polite")
    sandbox.ctl("start", "web").expect(0)
    before = events(sandbox)
    played = playbooks.play(
        [
            task("all", module="service_info"),
            task("one", module="service_info", name="web", explain=True),
            task("stopped", module="service_info", name="db"),
            task("by PATH", module="service_info", name="db", executable="{{ omit }}")
            | {"environment": {"PATH": f"{CTL.parent}:/usr/bin:/bin"}},
            task("none", module="service_info", name=[]),
            task("unknown", module="service_info", name=["web", "wbe"], expect_failure=True),
        ],
        "--check",
    )
    assert played.rc == 0, played.output
    assert {name: status["state"] for name, status in played["all"]["services"].items()} == {
        "db": "stopped", "web": "ready",
    }  # fmt: skip
    assert played["one"]["services"]["web"]["pid"] == sandbox.pid("web")
    assert played["one"]["explanations"]["web"]["plans"]["stop"]["steps"]
    assert (played["stopped"]["services"]["db"]["state"], played["stopped"]["rc"]) == ("stopped", 3)
    assert played["by PATH"]["cmd"][0] == str(CTL)
    assert played["none"]["services"] == {}
    assert (played["unknown"]["failed"], played["unknown"]["reason"]) == (True, "unknown_target")
    assert not changed(played.results)
    assert keys(played) == documented_keys("service_info")
    assert events(sandbox) == before
