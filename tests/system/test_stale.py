"""A claim that names an innocent process: whoever wrote it down, the innocent gets no signal, the outcome says stale.

The innocent is a `recorder`, which writes down every signal it gets; pids are really recycled, by the kernel.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from support import proc
from support.bystander import assert_untouched, start_bystander
from support.pidns import start_in_child_namespace
from support.pidreuse import Pids, in_own_namespace
from support.programs import Programs
from support.reaper import Process, Reaper
from support.requires import requires_pidfd_inodes, requires_root
from support.sandbox import PLAIN_UID, Json, Result, Sandbox
from support.strace import calls
from support.waiting import wait_line, wait_until

PID = 4242
GRACE = 0.5
SOURCES = ("record", "pid file", "stop.pid_file", "$MAINPID")


@pytest.fixture
def innocent(reaper: Reaper, programs: Programs) -> Process:
    return start_bystander(reaper, programs("recorder", "-"))


def identity_of(process: Process) -> Json:
    """What a record of this process holds, read by the tests' own code."""
    return {
        "boot_id": Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip(),
        "pid_ns": os.stat(f"/proc/{process.pid}/ns/pid").st_ino,
        "pid": process.pid,
        "start_ticks": proc.start_time(process.pid),
        "pidfd_inode": proc.pidfd_inode(process.pidfd),
    }


def real_record(sandbox: Sandbox) -> Json:
    """A record of `web` as ctl writes it, of a run that is over."""
    sandbox.ctl("start", "web").expect(0)
    record: Json = sandbox.run_on_record("web")
    sandbox.ctl("kill", "web").expect(0)
    return record


def write_record(sandbox: Sandbox, record: Json, **identity: object) -> None:
    changed = {**record, "identity": {**record["identity"], **identity}}
    sandbox.write_run("web", changed)
    sandbox.pid_file("web").write_text(f"{changed['identity']['pid']}\n", encoding="ascii")


def claim_that(sandbox: Sandbox, source: str, pid: int) -> dict[str, str]:
    """Makes `source` name the pid; returns what ctl's environment needs for it."""
    if source == "record":
        write_record(sandbox, real_record(sandbox), pid=pid)
    elif source == "pid file":
        sandbox.pid_file("web").write_text(f"{pid}\n", encoding="ascii")
    elif source == "stop.pid_file":
        own_pid_file(sandbox).write_text(f"{pid}\n", encoding="ascii")
    return {"MAINPID": str(pid)} if source == "$MAINPID" else {}


def state_by(source: str) -> str:
    """The state of a stopped service that `source` calls running: an environment is nothing that remains."""
    return {"$MAINPID": "stopped", "record": "ended"}.get(source, "stale")


def own_pid_file(sandbox: Sandbox) -> Path:
    return sandbox.log_dir / "own.pid"


def define_web(sandbox: Sandbox, source: str) -> None:
    if source == "stop.pid_file":  # without a rule nothing would disprove it, see test_unproved.py
        mark = sandbox.reaper.mark
        match = {"cmdline": f"polite.py 0 {mark}"}
        sandbox.service("web", "polite", 0, mark, stop={"pid_file": str(own_pid_file(sandbox))}, match=match)
    else:
        sandbox.service("web", "polite")


def verdicts(result: Json) -> dict[str, tuple[str, int]]:
    return {claim["source"]: (claim["verdict"], claim["pid"]) for claim in result["claims"]}


def files(sandbox: Sandbox) -> list[str]:
    """Pid files, and the state files that tell of a run; locks stay."""
    return sorted(
        path.name
        for path in sandbox.run_dir.iterdir()
        if path.suffix == ".pid" or (path.suffix == ".json" and sandbox.has_run(path.stem))
    )


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("verb", ["stop", "kill"])
def test_ending_a_service_whose_pid_is_an_innocents(
    sandbox: Sandbox, innocent: Process, verb: str, source: str
) -> None:
    define_web(sandbox, source)
    env = claim_that(sandbox, source, innocent.pid)

    first = sandbox.ctl(verb, "web", "--json", env=env).expect(0)
    assert first.one["before"] == state_by(source)
    assert (first.one["after"], first.one["reason"]) == ("stopped", "already_stopped")
    assert verdicts(first.one) == {source: ("stale", innocent.pid)}
    assert (first.one["signals"], first.one["pid"], first.stderr) == ([], None, "")
    assert first.one["changed"] is (source in {"record", "pid file"}), "only what is ctl's own is cleaned up"
    assert files(sandbox) == []
    assert own_pid_file(sandbox).exists() == (source == "stop.pid_file"), "it is the service's own"

    assert sandbox.ctl(verb, "web", "--json", env=env).expect(0).one["changed"] is False
    assert_untouched(innocent)


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize(("verb", "reason"), [("start", "started"), ("restart", "started")])
def test_starting_a_service_whose_pid_is_an_innocents(
    sandbox: Sandbox, innocent: Process, verb: str, reason: str, source: str
) -> None:
    define_web(sandbox, source)
    env = claim_that(sandbox, source, innocent.pid)

    result = sandbox.ctl(verb, "web", "--json", env=env).expect(0).one
    assert (result["before"], result["after"], result["reason"]) == (state_by(source), "ready", reason)
    assert verdicts(result) == {source: ("stale", innocent.pid)}
    assert sandbox.pid("web") == result["pid"] != innocent.pid
    assert sandbox.running("web") == [result["pid"]]
    assert_untouched(innocent)


@pytest.mark.parametrize("source", SOURCES)
def test_status_of_a_service_whose_pid_is_an_innocents(sandbox: Sandbox, innocent: Process, source: str) -> None:
    define_web(sandbox, source)
    env = claim_that(sandbox, source, innocent.pid)
    before = files(sandbox)

    status = sandbox.ctl("status", "web", "--json", env=env).expect(3 if source == "$MAINPID" else 1).one
    assert (status["state"], status["pid"]) == (state_by(source), None)
    assert [(claim["source"], claim["verdict"]) for claim in status["claim"]] == [(source, "stale")]
    assert files(sandbox) == before, "status changes nothing"
    assert_untouched(innocent)


@pytest.mark.parametrize("verb", ["stop", "kill"])
def test_an_innocent_named_on_the_command_line_is_refused(sandbox: Sandbox, innocent: Process, verb: str) -> None:
    sandbox.service("web", "polite")
    sandbox.ctl("start", "web").expect(0)
    pid = sandbox.pid("web")

    result = sandbox.ctl(verb, "web", "--pid", innocent.pid, "--json").expect(152).one
    assert (result["reason"], result["changed"]) == ("identity_mismatch", False)
    assert proc.alive(pid), "the service itself is not what was named"
    sandbox.ctl("kill", "web").expect(0)
    result = sandbox.ctl(verb, "web", "--pid", innocent.pid, "--json").expect(152).one
    assert (result["reason"], result["changed"]) == ("identity_mismatch", False)
    assert_untouched(innocent)


def test_a_stale_record_and_a_pid_file_of_another_pid_are_cleaned_together(
    sandbox: Sandbox, innocent: Process, reaper: Reaper, programs: Programs
) -> None:
    other = start_bystander(reaper, programs("recorder", "-"))
    sandbox.service("web", "polite")
    write_record(sandbox, real_record(sandbox), pid=innocent.pid)
    sandbox.pid_file("web").write_text(f"{other.pid}\n", encoding="ascii")

    first = sandbox.ctl("stop", "web", "--json").expect(0).one
    assert verdicts(first) == {"record": ("stale", innocent.pid), "pid file": ("stale", other.pid)}
    assert files(sandbox) == []
    assert sandbox.ctl("stop", "web", "--json").expect(0).one["changed"] is False
    assert_untouched(innocent)
    assert_untouched(other)


# ------------------------------------------------------------------------------------------------------ recycled pids


def recycled(pids: Pids, sandbox: Sandbox) -> Json:
    """For each verb: the service ends by itself, an innocent gets its pid, and then the verb is typed."""
    outcomes = {}
    sandbox.service("web", "polite")
    for verb in ("status", "stop", "kill", "restart", "start"):
        sandbox.ctl("start", "web").expect(0)
        pid = sandbox.pid("web")
        pids.end(pid)
        innocent = pids.start_as(pid, sandbox.programs("recorder"), start_new_session=True)
        result = sandbox.ctl(verb, "web", "--json")
        assert_untouched(innocent)
        one = result.one
        claims = one["claim"] if verb == "status" else one["claims"]
        outcomes[verb] = {
            "rc": result.rc,
            "verdict": [(claim["source"], claim["verdict"], claim["pid"] == pid) for claim in claims],
            "state": one["state"] if verb == "status" else one["before"],
            "signals": one.get("signals", []),
            "left": files(sandbox),
        }
        sandbox.ctl("kill", "web").expect(0)
        assert_untouched(innocent)
        pids.end(pid)
    return outcomes


def test_a_recycled_pid(sandbox: Sandbox) -> None:
    outcomes = in_own_namespace(sandbox, recycled)
    for verb, outcome in outcomes.items():
        assert outcome["verdict"] == [["record", "stale", True]], verb
        assert outcome["state"] == "ended", verb
        assert outcome["signals"] == [], verb
        assert outcome["rc"] == (1 if verb == "status" else 0), verb
        assert outcome["left"] == ([] if verb in {"stop", "kill"} else ["web.json", "web.pid"]), verb


def recycled_within_a_tick(pids: Pids, sandbox: Sandbox) -> Json:
    """A record of one of two twins, who had the same pid and the same start time: the inode of its pidfd tells."""
    sandbox.service("web", "polite", stop={"schedule": "TERM/1/KILL/1"})
    record = real_record(sandbox)
    own = {"pid_ns": os.stat("/proc/self/ns/pid").st_ino}
    twins = pids.twins(PID)
    outcomes: Json = {}

    def remember(inode: int) -> None:
        write_record(sandbox, record, **own, pid=PID, start_ticks=twins.start_time, pidfd_inode=inode)

    remember(twins.new_inode)
    outcomes["of the living one"] = sandbox.ctl("status", "web", "--json").one["state"]
    for verb in ("status", "stop", "kill"):
        remember(twins.old_inode)
        one = sandbox.ctl(verb, "web", "--json").one
        outcomes[verb] = one["state"] if verb == "status" else [one["before"], one["reason"], one["signals"]]
        assert proc.alive(PID), f"{verb} killed the innocent twin"  # it would die of any signal
    pids.end(PID)
    return outcomes


def test_a_pid_recycled_within_one_clock_tick(sandbox: Sandbox) -> None:
    requires_pidfd_inodes()
    assert in_own_namespace(sandbox, recycled_within_a_tick) == {
        "of the living one": "ready",
        "status": "ended",
        "stop": ["ended", "already_stopped", []],
        "kill": ["ended", "already_stopped", []],
    }


# ------------------------------------------------------------------------------------- recycled in the midst of a stop


def stop_while_it_is_recycled(pids: Pids, sandbox: Sandbox, log: Path, **options: Any) -> tuple[Result, Process, int]:
    """Stops `web`; once `log` shows its TERM, that process dies and an innocent gets its pid before KILL is due.

    ctl is held meanwhile, so that it cannot have seen the end before the pid means another process.
    """
    sandbox.ctl("start", "web").expect(0)
    pid = int(wait_line(log, "ready (pid:").rpartition(" ")[2].rstrip(")"))
    began = time.monotonic()
    stopping = sandbox.ctl_popen("stop", "web", "--json")
    wait_line(log, "got TERM")
    stopping.signal(signal.SIGSTOP)
    wait_until(lambda: proc.state(stopping.pid) == "T", "ctl is held")
    pids.end(pid)
    innocent = pids.start_as(pid, sandbox.programs("recorder"), **options)
    wait_until(lambda: time.monotonic() > began + GRACE, "the grace is over, and KILL is due")
    stopping.signal(signal.SIGCONT)
    return sandbox.collect(stopping), innocent, pid


def schedule(kill_mode: str) -> Json:
    return {"schedule": f"TERM/{GRACE}/KILL/5", "kill_mode": kill_mode}


def main_recycled_midway(pids: Pids, sandbox: Sandbox) -> Json:
    outcomes = {}
    for kill_mode in ("mixed", "process", "tree"):
        for leads_session in (False, True):
            log = sandbox.log("web")
            log.unlink(missing_ok=True)
            sandbox.service("web", "recorder", stop=schedule(kill_mode))
            result, innocent, pid = stop_while_it_is_recycled(pids, sandbox, log, start_new_session=leads_session)
            outcomes[f"{kill_mode}, {'a session leader' if leads_session else 'in our session'}"] = {
                "alive": innocent.alive(), "rc": result.rc, "reason": result.one["reason"],
                "signals": [(sent["signal"], sent["pid"] == pid) for sent in result.one["signals"]],
                "left": files(sandbox),
            }  # fmt: skip
            if innocent.alive():
                assert_untouched(innocent)
                pids.end(pid)
    return outcomes


def test_the_main_process_recycled_between_two_steps(sandbox: Sandbox) -> None:
    for case, outcome in in_own_namespace(sandbox, main_recycled_midway).items():
        assert outcome["alive"], f"{case}: the innocent was killed"
        assert outcome == {
            "alive": True, "rc": 0, "reason": "stopped", "signals": [["TERM", True]], "left": []
        }, case  # fmt: skip


def survivor_recycled_midway(pids: Pids, sandbox: Sandbox) -> Json:
    """The main process ends on TERM; its child gets TERM as a survivor, and is recycled before its KILL."""
    log = sandbox.tmp / "child"
    outcomes = {}
    for kill_mode in ("mixed", "tree"):
        log.unlink(missing_ok=True)
        command = ["/bin/sh", "-c", f'{" ".join(sandbox.programs("recorder", log))} & exec "$@"', "sh"]
        start = {"command": [*command, *sandbox.programs("polite")]}
        sandbox.service("web", "polite", start=start, stop=schedule(kill_mode))
        result, innocent, pid = stop_while_it_is_recycled(pids, sandbox, log)
        outcomes[kill_mode] = {
            "alive": innocent.alive(), "rc": result.rc, "reason": result.one["reason"],
            "signals": [(sent["signal"], sent["pid"] == pid) for sent in result.one["signals"]],
        }  # fmt: skip
        if innocent.alive():
            assert_untouched(innocent)
            pids.end(pid)
    return outcomes


def test_a_survivor_recycled_between_two_steps(sandbox: Sandbox) -> None:
    expected = {
        "alive": True, "rc": 0, "reason": "stopped", "signals": [["TERM", False], ["TERM", True]]
    }  # fmt: skip
    assert in_own_namespace(sandbox, survivor_recycled_midway) == {"mixed": expected, "tree": expected}


@pytest.mark.parametrize("kill_mode", ["mixed", "tree"])
@pytest.mark.parametrize("verb", ["stop", "kill"])
def test_no_signal_is_ever_sent_to_a_bare_pid(sandbox: Sandbox, verb: str, kill_mode: str) -> None:
    """Between any look at a pid and a kill(2) of it, it could be recycled; a pidfd stays with its process."""
    sandbox.service("web", "wrapper", sandbox.tmp / "child", stop=schedule(kill_mode))
    sandbox.ctl("start", "web").expect(0)
    made = {call.name for call in calls(sandbox, verb, "web")}
    assert "pidfd_send_signal" in made
    assert not made & {"kill", "tkill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo"}
    assert sandbox.running("web") == []


# --------------------------------------------------------------------------- records of other boots and pid namespaces


@pytest.mark.parametrize("verb", ["stop", "kill", "start", "restart", "status"])
def test_a_record_of_an_earlier_boot_is_stale(sandbox: Sandbox, innocent: Process, verb: str) -> None:
    sandbox.service("web", "polite")
    record = real_record(sandbox)
    write_record(sandbox, record, **identity_of(innocent))
    assert sandbox.ctl("status", "web", "--json").expect(0).one["pid"] == innocent.pid, "in all else it is the same"

    write_record(sandbox, record, **identity_of(innocent) | {"boot_id": "00000000-0000-4000-8000-000000000000"})
    result = sandbox.ctl(verb, "web", "--json").expect(1 if verb == "status" else 0).one
    (claim,) = result["claim" if verb == "status" else "claims"]
    assert (claim["source"], claim["verdict"], claim["why"]) == ("record", "stale", "was written before the last boot")
    assert result["state" if verb == "status" else "before"] == "stale"
    assert files(sandbox) == ([] if verb in {"stop", "kill"} else ["web.json", "web.pid"])
    assert_untouched(innocent)


@pytest.mark.parametrize("verb", ["stop", "kill", "start", "status"])
def test_a_record_of_a_pid_namespace_that_is_gone_is_stale(sandbox: Sandbox, innocent: Process, verb: str) -> None:
    sandbox.service("web", "polite")
    write_record(sandbox, real_record(sandbox), **identity_of(innocent) | {"pid_ns": 1})

    result = sandbox.ctl(verb, "web", "--json").expect(1 if verb == "status" else 0).one
    (claim,) = result["claim" if verb == "status" else "claims"]
    assert (claim["verdict"], claim["why"]) == ("stale", "is about a pid namespace that is not here any more")
    assert files(sandbox) == ([] if verb in {"stop", "kill"} else ["web.json", "web.pid"])
    assert_untouched(innocent)


@pytest.mark.parametrize("verb", ["stop", "kill", "start", "restart", "status"])
def test_a_record_of_another_living_pid_namespace_leaves_it_unknown(
    sandbox: Sandbox, innocent: Process, verb: str
) -> None:
    """It may be running in a container, where our pids mean nothing: nothing is signalled, started or removed."""
    sandbox.service("web", "polite")
    record = real_record(sandbox)
    contained = start_in_child_namespace(sandbox.reaper, sandbox.programs("recorder"))
    pid_ns = os.stat(f"/proc/{contained}/ns/pid").st_ino
    write_record(sandbox, record, **identity_of(innocent) | {"pid_ns": pid_ns})

    result = sandbox.ctl(verb, "web", "--json").expect(4 if verb == "status" else 152)
    assert f"pid:[{pid_ns}]" in result.stderr
    assert "root" not in result.stderr, "root is in the wrong namespace too"
    assert files(sandbox) == ["web.json", "web.pid"]
    assert sandbox.running("web") == []
    assert proc.alive(contained)
    assert_untouched(innocent)


# ------------------------------------------------------------------------------------------- older and newer pid files


@pytest.fixture
def pair(sandbox: Sandbox) -> tuple[Process, Process]:
    """Two processes that satisfy the rules of `web`; at most one may, so only a pid file can say which one it is."""
    word = f"one-of-a-pair-{sandbox.reaper.mark}"
    sandbox.service("web", "polite", match={"cmdline": word}, stop={"schedule": "TERM/0.1/KILL/5"})
    first, second = (start_bystander(sandbox.reaper, sandbox.programs("recorder", "-", word)) for _ in range(2))
    return first, second


def write_pid_file(path: Path, process: Process, seconds_after_its_start: float) -> None:
    path.write_text(f"{process.pid}\n", encoding="ascii")
    began = (
        time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + proc.start_time(process.pid) / os.sysconf("SC_CLK_TCK")
    )
    os.utime(path, (began + seconds_after_its_start,) * 2)


@pytest.mark.parametrize("verb", ["stop", "kill"])
def test_a_pid_file_older_than_the_process_is_not_about_it(
    sandbox: Sandbox, pair: tuple[Process, Process], verb: str
) -> None:
    write_pid_file(sandbox.pid_file("web"), pair[0], -1)
    result = sandbox.ctl(verb, "web", "--json").expect(152)
    assert result.one["reason"] == "ambiguous"
    for process in pair:
        assert f"pid {process.pid}, " in result.stderr
        assert_untouched(process)
    assert sandbox.pid_file("web").exists()


@pytest.mark.parametrize("verb", ["stop", "kill"])
def test_a_pid_file_newer_than_the_process_tells_which_one_it_is(
    sandbox: Sandbox, pair: tuple[Process, Process], verb: str
) -> None:
    write_pid_file(sandbox.pid_file("web"), pair[0], 1)
    result = sandbox.ctl(verb, "web", "--json").expect(0).one
    assert verdicts(result) == {"pid file": ("holds", pair[0].pid)}
    assert {sent["pid"] for sent in result["signals"]} == {pair[0].pid}
    assert not pair[0].alive()
    assert_untouched(pair[1])


def test_what_a_pid_file_says_of_an_older_process_is_shown(sandbox: Sandbox, reaper: Reaper) -> None:
    word = f"the-only-one-{reaper.mark}"
    sandbox.service("web", "polite", match={"cmdline": word})
    process = start_bystander(reaper, sandbox.programs("recorder", "-", word))
    write_pid_file(sandbox.pid_file("web"), process, -1)

    status = sandbox.ctl("status", "web", "--json").expect(0).one
    (claim,) = status["claim"]
    assert status["pid"] == process.pid, "the process table still finds it"
    assert (claim["verdict"], claim["why"]) == ("stale", f"pid {process.pid} started after the file was written")


def test_where_there_are_no_rules_none_is_blamed(sandbox: Sandbox, reaper: Reaper, programs: Programs) -> None:
    """The process is another user's, and "match.user says no" would send people looking for a rule."""
    requires_root()
    other = start_bystander(reaper, programs("recorder", "-"), user=PLAIN_UID)
    sandbox.service("web", "polite")
    refused = sandbox.ctl("stop", "web", "--pid", other.pid).expect(152)
    assert f"pid {other.pid} is another process (not this service's)" in refused.stderr
    assert_untouched(other)
