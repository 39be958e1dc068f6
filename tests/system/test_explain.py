"""explain says what locate, stop and kill would do, by the same code, and does nothing itself."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from support import proc
from support.bystander import assert_untouched, start_bystander
from support.hidepid import hidepid
from support.pidns import start_in_child_namespace
from support.pidreuse import Pids, in_own_namespace
from support.requires import requires_root
from support.sandbox import PLAIN_UID, Json, Sandbox
from support.strace import calls
from support.waiting import wait_file, wait_gone, wait_line

PID = 4242


@pytest.fixture
def word(sandbox: Sandbox) -> str:
    """What nothing else on this machine holds."""
    return f"orders-{sandbox.reaper.mark}"


def explained(sandbox: Sandbox, *args: object, rc: int = 0, **options: Any) -> Json:
    return sandbox.ctl("explain", "web", "--json", *args, **options).expect(rc).one


def grounds(explanation: Json) -> dict[int, str]:
    return {candidate["pid"]: candidate["ground"] for candidate in explanation["candidates"]}


def candidate(explanation: Json, pid: int) -> Json:
    (found,) = [candidate for candidate in explanation["candidates"] if candidate["pid"] == pid]
    assert isinstance(found, dict)
    return found


def claims(explanation: Json) -> dict[str, tuple[str, bool]]:
    return {claim["source"]: (claim["verdict"], claim["asked"]) for claim in explanation["claims"]}


def forget(sandbox: Sandbox) -> int:
    pid = sandbox.pid("web")
    sandbox.record("web").unlink()
    sandbox.pid_file("web").unlink()
    return pid


def files(sandbox: Sandbox) -> dict[str, tuple[int, int, bytes]]:
    """Every file, with what tells that it was written to or replaced."""
    return {
        str(path): (path.stat().st_ino, path.stat().st_mtime_ns, path.read_bytes())
        for path in sandbox.root.rglob("*")
        if path.is_file() and path.parent != sandbox.tmp
    }


@pytest.mark.parametrize("kill_mode", ["mixed", "process", "tree"])
def test_who_it_says_would_be_signalled_is_who_is(sandbox: Sandbox, kill_mode: str) -> None:
    sandbox.service("web", "tree", "--ignore-term", 2, 1, stop={"kill_mode": kill_mode, "schedule": "TERM/0.3/KILL/5"})
    sandbox.ctl("start", "web").expect(0)
    said = explained(sandbox)
    for verb in ("stop", "kill"):
        planned = sandbox.ctl(verb, "web", "--dry-run", "--json").expect(0).one
        intent = said["plans"][verb]
        assert {key: intent[key] for key in planned["plan"]} == planned["plan"]
        assert (intent["reason"], intent["exit_code"]) == (planned["reason"], 0)
    everyone = {process["pid"] for process in said["plans"]["kill"]["processes"]}
    assert everyone == set(sandbox.running("web")) == {*said["pids"], *(member["pid"] for member in said["members"])}

    stopped = sandbox.ctl("stop", "web", "--json").expect(0).one
    signalled = {sent["pid"] for sent in stopped["signals"]}
    assert signalled == (set(said["pids"]) if kill_mode == "process" else everyone)


def test_it_has_no_effect(sandbox: Sandbox, word: str) -> None:
    """Also where every kind of thing is there that stop would clean up, ask, run or signal."""
    touch = ["/usr/bin/touch", str(sandbox.root / "was-run")]
    sandbox.service(
        "web", "recorder", "-", word, match={"cmdline": word}, ready={"command": touch, "timeout": 5},
        drain={"command": touch}, stop={"before": [touch], "after": [touch], "pid_file": str(sandbox.log_dir / "own")},
    )  # fmt: skip
    sandbox.ctl("start", "web").expect(0)
    wait_line(sandbox.log("web"), "ready (pid:")
    pid = sandbox.pid("web")
    (sandbox.root / "was-run").unlink()
    (sandbox.log_dir / "own").write_text("4194304\n", encoding="ascii")
    sandbox.service("db", "polite")
    (sandbox.run_dir / "db.pid").write_text(f"{pid}\n", encoding="ascii")
    before = files(sandbox)

    traced = calls(sandbox, "explain", "web", "db", "--verbose")
    assert files(sandbox) == before
    assert "got" not in sandbox.log("web").read_text(encoding="utf-8")
    for call in traced:
        assert call.name not in {"kill", "tkill", "tgkill", "flock", "fork", "vfork", "unlink", "rename"}, call
        assert call.name != "connect" or "AF_UNIX" in call.line, call  # nscd may be asked for a name
        if call.name == "pidfd_send_signal":
            assert call.line.split(", ")[1] == "0", "0 only asks whether one would be allowed to"
        if call.name in {"open", "openat"} and str(sandbox.root) in call.line:
            assert "O_CREAT" not in call.line, call
    assert any(call.name == "pidfd_open" for call in traced), "the trace shows it at work"


def test_every_claim_is_judged_also_those_that_nobody_needs_to_ask(sandbox: Sandbox, word: str) -> None:
    own = sandbox.log_dir / "own.pid"
    sandbox.service("web", "recorder", "-", word, match={"cmdline": word}, stop={"pid_file": str(own)})
    sandbox.ctl("start", "web").expect(0)
    innocent = start_bystander(sandbox.reaper, sandbox.programs("recorder", "-"))
    own.write_text(f"{innocent.pid}\n", encoding="ascii")
    said = explained(sandbox, env={"MAINPID": "x"})
    assert claims(said) == {
        "record": ("holds", True),
        "pid file": ("holds", False),
        "stop.pid_file": ("stale", False),
        "$MAINPID": ("refused", False),
    }
    assert said["record"]["identity"]["pid"] == sandbox.pid("web") == said["pids"][0]
    assert grounds(said) == {sandbox.pid("web"): "main", innocent.pid: "rules"}
    assert candidate(said, innocent.pid)["rules"]["cmdline"]["verdict"] == "no"
    assert_untouched(innocent)


def recycled(pids: Pids, sandbox: Sandbox) -> Json:
    sandbox.service("web", "polite", match={"cmdline": "polite"})
    sandbox.ctl("start", "web").expect(0)
    pid = sandbox.pid("web")
    pids.end(pid)
    innocent = pids.start_as(pid, sandbox.programs("recorder", "-"))
    result = sandbox.ctl("explain", "web", "--json").expect(0)
    text = sandbox.ctl("explain", "web").expect(0).stdout
    assert_untouched(innocent)
    return {"said": result.one, "pid": pid, "text": text}


def test_a_recycled_pid(sandbox: Sandbox) -> None:
    outcome = in_own_namespace(sandbox, recycled)
    said, pid = outcome["said"], outcome["pid"]
    assert (said["state"], said["pids"], said["members"]) == ("ended", [], [])
    assert claims(said) == {"record": ("stale", True), "pid file": ("stale", False)}
    assert said["claims"][0]["why"] == f"pid {pid} is another process now"
    assert grounds(said)[pid] == "rules"
    assert outcome["text"].startswith(f"web: not running; its record is stale (pid {pid} is another process now)")


def test_why_those_who_match_are_not_it(sandbox: Sandbox, word: str) -> None:
    """A container's, another service's, who calls ctl, a child: they satisfy every rule, and none may be signalled."""
    requires_root()
    sandbox.service("web", "polite", match={"cmdline": word})
    sandbox.service("db", "recorder", "-", word, match={"cmdline": word})
    sandbox.ctl("start", "db").expect(0)
    contained = start_in_child_namespace(sandbox.reaper, sandbox.programs("recorder", "-", word))
    unshare = proc.parent(contained)
    said = explained(sandbox, prefix=["sh", "-c", '"$@"; exit $?', word])
    assert grounds(said)[sandbox.pid("db")] == "others_main"
    assert candidate(said, sandbox.pid("db"))["why"] == "is the recorded main process of db"
    assert grounds(said)[contained] == "other_pid_namespace"
    assert "caller" in grounds(said).values()
    assert said["pids"] == [unshare], "it holds the word, and nobody else's it is"
    assert sandbox.ctl("stop", "web", "--dry-run", "--json").expect(0).one["pid"] == unshare


def test_survivors_that_carry_the_mark_are_members(sandbox: Sandbox) -> None:
    sandbox.service("web", "escapee", sandbox.tmp / "escaped")
    sandbox.ctl("start", "web").expect(0)
    survivor = int(wait_file(sandbox.tmp / "escaped"))
    sandbox.reaper.adopt(survivor)
    main = sandbox.adopt("web")
    signal.pidfd_send_signal(main, signal.SIGKILL)
    wait_gone(main)
    said = explained(sandbox)
    assert said["answer"].endswith("; 1 of its processes is left")
    assert grounds(said)[survivor] == "survivor"
    assert [(member["pid"], member["known_by"]) for member in said["members"]] == [
        (survivor, ["carries the run's token"])
    ]
    assert [process["pid"] for process in said["plans"]["stop"]["processes"]] == [survivor]


def test_what_may_not_be_read_is_unknown_rule_by_rule(sandbox: Sandbox, word: str) -> None:
    requires_root()
    sandbox.service("web", "recorder", "-", word, match={"cmdline": word, "executable": "*/python3*"})
    sandbox.ctl("start", "web").expect(0)
    pid = forget(sandbox)
    said = explained(sandbox, user=PLAIN_UID, rc=4)
    assert (said["ok"], said["state"], said["errors"][0]["reason"]) == (False, "unknown", "permission_denied")
    found = candidate(said, pid)
    assert (found["verdict"], found["why"]) == ("unknown", "executable cannot be judged")
    assert found["rules"]["cmdline"]["verdict"] == "yes"
    assert found["rules"]["executable"]["why"] == f"not allowed to read /proc/{pid}/exe; try as root"
    assert [said["plans"][verb]["exit_code"] for verb in ("stop", "kill")] == [4, 4]
    refused = [sandbox.ctl(verb, "web", user=PLAIN_UID).rc for verb in ("stop", "kill")]
    assert refused == [4, 4]


def test_a_recorded_service_of_another_user_is_explained_and_would_not_be_signalled(sandbox: Sandbox) -> None:
    requires_root()
    sandbox.service("web", "recorder", "-")
    sandbox.ctl("start", "web").expect(0)
    said = explained(sandbox, user=PLAIN_UID)
    assert (said["state"], said["pids"]) == ("running", [sandbox.pid("web")])
    for verb in ("stop", "kill"):
        assert (said["plans"][verb]["reason"], said["plans"][verb]["exit_code"]) == ("permission_denied", 4)
        sandbox.ctl(verb, "web", user=PLAIN_UID).expect(4)


def test_hidden_processes_are_not_taken_for_none(sandbox: Sandbox, word: str) -> None:
    requires_root()
    sandbox.service("web", "recorder", "-", word, match={"cmdline": word})
    said = explained(sandbox, prefix=hidepid(PLAIN_UID, 2), rc=4)
    assert (said["state"], said["hidden"]) == ("unknown", True)


def test_a_record_of_another_pid_namespace_is_unknown_exit_152(sandbox: Sandbox) -> None:
    sandbox.service("web", "polite")
    sandbox.ctl("start", "web").expect(0)
    record = sandbox.run_on_record("web")
    sandbox.ctl("kill", "web").expect(0)
    contained = start_in_child_namespace(sandbox.reaper, sandbox.programs("recorder"))
    record["identity"]["pid_ns"] = os.stat(f"/proc/{contained}/ns/pid").st_ino
    sandbox.write_run("web", record)
    said = explained(sandbox, rc=152)
    assert said["claims"][0]["doubt"] == said["errors"][0]["reason"] == "identity_unknown"
    assert said["plans"]["stop"]["exit_code"] == sandbox.ctl("stop", "web").rc == 152


def test_a_process_that_a_supervisor_keeps(sandbox: Sandbox, word: str) -> None:
    """The parent that /proc shows: runsv(8) is told to leave it down."""
    sandbox.service("web", "recorder", "-", word, match={"cmdline": word, "executable": "*/python3*"})
    script = 'printf runsv >/proc/$$/comm; "$@"; exit $?'
    argv = ["sh", "-c", script, "gateway", *sandbox.programs("recorder", "-", word)]
    runsv = sandbox.reaper.start(argv)
    (child,) = proc.children(runsv.pid)
    sandbox.reaper.adopt(child)
    said = explained(sandbox)
    assert said["pids"] == [child]
    assert said["supervisor"]["kind"] == "runit"
    assert Path(f"/proc/{runsv.pid}/comm").read_text(encoding="ascii") == "runsv\n"
