"""Programs of other users against root's ctl: whatever they claim, it signals nobody else, and says what is so."""

from __future__ import annotations

import json
import shutil
import signal
import stat
from collections.abc import Sequence

import pytest

from ctl.system.reading import Reading
from support import proc
from support.pidreuse import Pids, in_own_namespace
from support.reaper import Process
from support.requires import requires_root
from support.sandbox import CTL, NOBODY_UID, PLAIN_UID, Json, Sandbox
from support.waiting import wait_file, wait_gone

DAEMON_UID = 1


@pytest.fixture(autouse=True)
def _root() -> None:
    requires_root()


def run_id(sandbox: Sandbox, target: str) -> str:
    """What everybody may read."""
    return str(sandbox.run_on_record(target)["run_id"])


def kill_main(sandbox: Sandbox, target: str) -> None:
    pidfd = sandbox.adopt(target)
    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    wait_gone(pidfd)


def forge(sandbox: Sandbox, target: str, run: str, user: int, argv: Sequence[str]) -> Process:
    """A process of that user which claims to be the target, of that run."""
    env = {"CTL_TARGET": target, "CTL_RUN_DIR": str(sandbox.run_dir), "CTL_RUN_ID": run}
    return sandbox.reaper.start(argv, env=env, user=user, start_new_session=True)


def set_user_id(sandbox: Sandbox) -> list[str]:
    """A program of root's that everybody may execute as root, as passwd(1) is."""
    path = sandbox.root / "set-user-id"
    shutil.copy(sandbox.programs.path("idle"), path)
    path.chmod(0o4755)
    return [str(path)]


def told_pids(result: Json) -> set[int]:
    return {sent["pid"] for sent in result["signals"]}


# -- whose process it is


@pytest.mark.parametrize("verb", ["stop", "kill"])
def test_a_service_cannot_claim_the_run_of_another(sandbox: Sandbox, verb: str) -> None:
    """Its user may read the other's record, and start what claims to be of both."""
    sandbox.service("mine", "polite", start={"user": "daemon"})
    sandbox.service("yours", "polite", stop={"protected": True})
    sandbox.ctl("start", "mine", "yours").expect(0)
    kill_main(sandbox, "mine")
    sandbox.record("mine").unlink()
    forge(sandbox, "mine", run_id(sandbox, "yours"), DAEMON_UID, sandbox.programs("polite"))
    told = sandbox.ctl(verb, "mine", "--json").one
    assert sandbox.pid("yours") not in told_pids(told)
    assert proc.alive(sandbox.pid("yours"))


def test_adoption_believes_no_run_that_a_process_claims(sandbox: Sandbox) -> None:
    word = f"claimed-{sandbox.reaper.mark}"
    sandbox.service("mine", "polite", start={"user": "daemon"}, match={"cmdline": word, "user": "daemon"})
    sandbox.service("yours", "polite")
    sandbox.ctl("start", "yours").expect(0)
    forge(sandbox, "mine", run_id(sandbox, "yours"), DAEMON_UID, [*sandbox.programs("polite"), "0", word])
    assert sandbox.ctl("start", "mine", "--json").expect(0).one["changed"] is True
    assert sandbox.run_on_record("mine")["run_id"] is None
    sandbox.ctl("pause", "mine").expect(0)
    assert proc.state(sandbox.pid("yours")) != "T"
    sandbox.ctl("stop", "mine").expect(0)
    assert proc.alive(sandbox.pid("yours"))


def test_who_carries_the_public_run_id_is_no_member(sandbox: Sandbox) -> None:
    """Neither another user's process, nor one of root's that another user has started, is the service's."""
    sandbox.service("web", "polite", start={"user": "nobody"})
    sandbox.ctl("start", "web").expect(0)
    public = run_id(sandbox, "web")
    own = forge(sandbox, "web", public, DAEMON_UID, sandbox.programs("polite"))
    roots = forge(sandbox, "web", public, DAEMON_UID, set_user_id(sandbox))
    told = sandbox.ctl("kill", "web", "--json").expect(0).one
    assert told["errors"] == []
    assert proc.alive(own.pid)
    assert proc.alive(roots.pid)


def test_the_token_of_a_service_makes_no_member_of_another_user_s_process(sandbox: Sandbox) -> None:
    """Its user knows the token, and may give it to what runs as root: that is told of, and not signalled."""
    sandbox.service("web", "polite", start={"user": "nobody"})
    sandbox.ctl("start", "web").expect(0)
    token = proc.environment(sandbox.pid("web"))["CTL_TOKEN"]
    roots = sandbox.reaper.start(
        set_user_id(sandbox), env={"CTL_TOKEN": token}, user=NOBODY_UID, start_new_session=True
    )
    told = sandbox.ctl("kill", "web", "--json").expect(0).one
    assert roots.pid not in told_pids(told)
    assert f"pid {roots.pid}, " in told["errors"][0]["details"][0]
    assert proc.alive(roots.pid)


def test_no_file_that_others_may_read_holds_a_token(sandbox: Sandbox) -> None:
    sandbox.service("web", "polite", start={"user": "nobody"})
    sandbox.ctl("start", "web").expect(0)
    token = proc.environment(sandbox.pid("web"))["CTL_TOKEN"]
    key = sandbox.run_dir / ".key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert len(key.read_bytes()) == 32
    files = [*sandbox.run_dir.iterdir(), *sandbox.log_dir.iterdir()]
    assert not [file for file in files if token.encode() in file.read_bytes()]
    assert key.read_bytes().hex() not in "".join(file.read_text() for file in files if file != key)


def test_the_workers_of_a_master_that_was_killed_are_ended(sandbox: Sandbox) -> None:
    """It was started as root, and its workers have become another user, as those of web servers do."""
    script = (
        "import os,signal,time\n"
        "if os.fork() == 0:\n os.setgroups([]); os.setresgid(1,1,1); os.setresuid(1,1,1)\n"
        "print(f'ready (pid: {os.getpid()})', flush=True)\nwhile True: signal.pause()"
    )
    command = [sandbox.programs("polite")[0], "-S", "-E", "-c", script]
    sandbox.service("web", "polite", start={"command": command})
    sandbox.ctl("start", "web").expect(0)
    (worker,) = proc.children(sandbox.pid("web"))
    worker_fd = sandbox.reaper.adopt(worker)
    kill_main(sandbox, "web")
    assert proc.alive(worker)
    sandbox.ctl("stop", "web").expect(0)
    wait_gone(worker_fd)


def test_the_processes_of_a_run_without_a_token_are_found(sandbox: Sandbox) -> None:
    """A ctl before this one has started it: they carry the run id alone."""
    escaped = sandbox.tmp / "escaped"
    old = "a" * 32
    sandbox.service("web", "escapee", escaped, start={"user": "nobody"})
    sandbox.ctl("start", "web").expect(0)
    pid = int(wait_file(escaped))
    env = {"CTL_TARGET": "web", "CTL_RUN_DIR": str(sandbox.run_dir), "CTL_RUN_ID": old}
    mine = sandbox.reaper.start(sandbox.programs("polite"), env=env, user=NOBODY_UID, start_new_session=True)
    yours = sandbox.reaper.start(sandbox.programs("polite"), env=env, user=DAEMON_UID, start_new_session=True)
    record = sandbox.run_on_record("web")
    del record["key"]
    sandbox.record("web").write_text(json.dumps(record | {"run_id": old, "schema": 1}))
    told = sandbox.ctl("kill", "web", "--json").expect(0).one
    assert mine.pid in told_pids(told)
    assert not told_pids(told) & {yours.pid, pid}, "who carries another run id, or is another user's"


def test_without_the_key_membership_is_unknown(sandbox: Sandbox) -> None:
    """Another user's ctl cannot tell which processes are left, and does not say that none is."""
    escaped = sandbox.tmp / "escaped"
    sandbox.service("web", "escapee", escaped, start={"user": "nobody"})
    sandbox.ctl("start", "web").expect(0)
    wait_file(escaped)
    kill_main(sandbox, "web")
    told = sandbox.ctl("stop", "web", "--dry-run", "--json", user=DAEMON_UID).expect(4).one
    assert "key" in told["errors"][0]["what"]


# -- as whom it runs, where match.user is not set


def look_alike(sandbox: Sandbox, user: int | None) -> Process:
    """A process that satisfies the rules of the service "web", which this defines with rules and without match.user."""
    word = f"org.example.{sandbox.reaper.mark}"
    sandbox.service(
        "web",
        "polite",
        "0",
        word,
        start={"user": "nobody"},
        match={"cmdline": word},
        stop={"schedule": "TERM/5/KILL/5"},
    )
    return sandbox.reaper.start([*sandbox.programs("polite"), "0", word], user=user)


def test_another_user_s_look_alike_is_neither_adopted_nor_in_the_way(sandbox: Sandbox) -> None:
    other = look_alike(sandbox, DAEMON_UID)
    status = sandbox.ctl("status", "web", "--json").expect(4).one
    assert status["state"] == "unknown"
    (error,) = status["errors"]
    assert f"pid {other.pid} satisfies every rule, but runs as daemon, not as nobody" in error["what"]
    assert '[match] user = "daemon"' in error["fix"]
    assert sandbox.ctl("stop", "web", "--json").expect(152).one["reason"] == "identity_unknown"
    said = sandbox.ctl("explain", "web", "--json").one
    assert said["rules"]["user"] == f"nobody (uid {NOBODY_UID}, by default)"
    assert {candidate["pid"]: candidate["ground"] for candidate in said["candidates"]}[other.pid] == "default_user"
    started = sandbox.ctl("start", "web", "--json").expect(0).one
    assert (started["reason"], started["errors"][0]["reason"]) == ("started", "identity_unknown")
    assert sandbox.ctl("status", "web", "--json").expect(0).one["pid"] == started["pid"] != other.pid
    assert sandbox.ctl("restart", "web", "--json").expect(0).one["reason"] == "started"
    assert told_pids(sandbox.ctl("kill", "web", "--json").expect(0).one).isdisjoint({other.pid})
    assert sandbox.ctl("restart", "web", "--json").expect(0).one["reason"] == "started"
    sandbox.ctl("stop", "web").expect(0)
    assert other.alive()


def test_root_s_own_look_alike_is_in_the_way(sandbox: Sandbox) -> None:
    """It may be the service, started by hand: a second one is not started until somebody says what it is."""
    other = look_alike(sandbox, None)
    refused = sandbox.ctl("start", "web", "--json").expect(152).one
    assert f"pid {other.pid} satisfies every rule, but runs as root, not as nobody" in refused["errors"][0]["what"]
    assert sandbox.running("web") == []
    assert sandbox.ctl("restart", "web", "--json").expect(152).one["reason"] == "identity_unknown"


def test_a_pid_file_of_the_service_names_no_process_of_another_user(sandbox: Sandbox) -> None:
    other = look_alike(sandbox, DAEMON_UID)
    own = sandbox.root / "own" / "web.pid"
    own.parent.mkdir()
    own.write_text(f"{other.pid}\n")
    for place in (own.parent, own):
        shutil.chown(place, NOBODY_UID)
    definition = sandbox.services / "web.toml"
    definition.write_text(definition.read_text().replace("[stop]\n", f'[stop]\npid_file = "{own}"\n'))
    told = sandbox.ctl("kill", "web", "--json").expect(152).one
    assert (told["signals"], told["reason"]) == ([], "identity_unknown")
    assert sandbox.ctl("kill", "web", "--pid", other.pid, "--json").expect(152).one["signals"] == []
    assert other.alive()


def test_a_match_user_that_is_set_is_a_rule(sandbox: Sandbox) -> None:
    other = look_alike(sandbox, DAEMON_UID)
    definition = sandbox.services / "web.toml"
    definition.write_text(definition.read_text().replace("[match]\n", '[match]\nuser = "daemon"\n'))
    assert sandbox.ctl("status", "web", "--json").expect(0).one["pid"] == other.pid


def test_a_daemon_that_has_become_another_user_is_known_by_its_token(sandbox: Sandbox) -> None:
    """Its rules name no user, and it was started as root: it is recorded as it is."""
    word = f"daemon-{sandbox.reaper.mark}"
    script = (
        "import os,signal,sys\nif os.fork(): os._exit(0)\nos.setsid()\n"
        "os.setgroups([]); os.setresgid(1,1,1); os.setresuid(1,1,1)\n"
        "while True: signal.pause()"
    )
    command = [sandbox.programs("polite")[0], "-S", "-E", "-c", script, word]
    sandbox.service(
        "web", "polite", start={"command": command, "type": "forking"}, ready={"settle": 0.05}, match={"cmdline": word}
    )
    pid = sandbox.ctl("start", "web", "--json").expect(0).one["pid"]
    assert (proc.argv(pid)[-1], (status := sandbox.ctl("status", "web", "--json").expect(0).one)["user"]) == (
        word,
        "daemon",
    )
    assert status["pid"] == pid
    sandbox.ctl("stop", "web").expect(0)
    assert sandbox.running("web") == []


# -- pids are no identities


def _reused_between_two_looks(pids: Pids, _sandbox: Sandbox) -> list[bool]:
    """Whether a quick look tells that a pid has passed to another process: at any time, and within a clock tick."""
    told = []
    while True:
        pid = pids.fork_as(300)
        reading, began = Reading(None, True), proc.start_time(pid)
        pids.end(pid)
        pids.fork_as(pid)
        told.append(pid in Reading(reading, False).came_since(reading.number).pids)
        is_same_tick = proc.start_time(pid) == began
        pids.end(pid)
        if is_same_tick:
            return told


def test_a_quick_look_sees_whoever_has_got_the_pid_of_another(sandbox: Sandbox) -> None:
    assert set(in_own_namespace(sandbox, _reused_between_two_looks)) == {True}


def _storm_of_others(_pids: Pids, sandbox: Sandbox) -> list[Json]:
    sandbox.service("web", "polite", start={"user": str(PLAIN_UID)}, stop={"schedule": "TERM/60/KILL/5"})
    sandbox.ctl("start", "web").expect(0)
    env = {"CTL_TARGET": "web", "CTL_RUN_DIR": str(sandbox.run_dir), "CTL_RUN_ID": run_id(sandbox, "web")}
    storm = sandbox.programs("nest", *sandbox.programs("storm", 4, 100, 20_000))
    sandbox.reaper.start(storm, env=env, user=DAEMON_UID)
    return [sandbox.ctl(verb, "web", "--json").one for verb in ("pause", "kill")]


def test_processes_of_others_that_come_and_go_keep_nothing_from_being_done(sandbox: Sandbox) -> None:
    """They are not the service's user's, whatever they claim, so it need not be known what they were."""
    assert [one["reason"] for one in in_own_namespace(sandbox, _storm_of_others)] == ["paused", "killed"]


# -- whose a process is that two services could claim


@pytest.mark.parametrize("how", ["start", "run"])
def test_what_another_record_names_is_not_ended_with_the_service_that_started_it(sandbox: Sandbox, how: str) -> None:
    nested = ["/usr/bin/env", f"CTL_CONF={sandbox.conf}", str(CTL), how, "inner"]
    inner_child = [
        "/bin/sh",
        "-c",
        f"{' '.join(sandbox.programs('idle'))} & exec {' '.join(sandbox.programs('polite'))}",
    ]
    sandbox.service("inner", "polite", start={"command": inner_child}, stop={"protected": True}, ready={"settle": 0.05})
    sandbox.service("outer", "nest", *nested, start={"environment": {"HOME": str(sandbox.home)}})
    sandbox.ctl("start", "outer").expect(0)
    inner = sandbox.pid("inner")
    (child,) = proc.children(inner)
    theirs = {inner, child}
    status = sandbox.ctl("status", "outer", "--json").expect(0).one
    assert status["children"] == 0
    said = sandbox.ctl("explain", "outer", "--json").one
    assert not theirs & {member["pid"] for member in said["members"]}
    for verb in ("stop", "kill", "pause", "restart"):
        plan = sandbox.ctl(verb, "outer", "--dry-run", "--json").one["plan"]
        assert not theirs & {process["pid"] for process in plan["processes"]}, verb
    sandbox.ctl("pause", "outer").expect(0)
    assert proc.state(inner) != "T"
    sandbox.ctl("resume", "outer").expect(0)
    told = sandbox.ctl("stop", "outer", "--json").expect(0).one
    assert not theirs & told_pids(told)
    assert proc.alive(inner)
    assert proc.alive(child)
