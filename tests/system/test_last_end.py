"""What became of a service: it ended, or crashed, though nobody asked for that; how, when, and what it said last."""

from __future__ import annotations

import json
import os
import signal

from support import proc
from support.reaper import Reaper
from support.sandbox import Json, Sandbox
from support.waiting import wait_gone, wait_line

LEAVES_ONE = {"kill_mode": "process"}


def killed(sandbox: Sandbox, *args: object, **tables: object) -> int:
    """Starts "web", which is ended by nobody that ctl knows. Its pid."""
    sandbox.service("web", *(args or ("polite",)), **tables)  # type: ignore[arg-type]
    sandbox.ctl("start", "web").expect(0)
    pidfd, pid = sandbox.adopt("web"), sandbox.pid("web")
    os.kill(pid, signal.SIGKILL)
    wait_gone(pidfd)
    return pid


def status(sandbox: Sandbox, code: int) -> Json:
    one: Json = sandbox.ctl("status", "web", "--json").expect(code).one
    return one


def events(sandbox: Sandbox, *kinds: str) -> list[Json]:
    lines = sandbox.ctl("events", "--json", "-n", "100").expect(0).json["results"]
    return [line for line in lines if line["event"] in kinds]


def test_one_that_nobody_watched_has_ended_and_it_is_said_that_how_is_unknown(sandbox: Sandbox) -> None:
    pid = killed(sandbox)
    found = status(sandbox, 1)
    assert (found["state"], found["wanted"]["state"]) == ("ended", "up")
    end = found["last_end"]
    assert (end["pid"], end.get("how", "unknown"), "at" in end) == (pid, "unknown", False)
    assert end["after"] <= end["before"]
    assert found["last_words"] == [f"ready (pid: {pid})"]
    shown = sandbox.ctl("status", "web").expect(1).stdout
    for text in ("web: ended\n", "unknown how: nothing watched it", f"ready (pid: {pid})", "ctl start web"):
        assert text in shown


def test_the_end_is_an_event_once_and_stays_known_after_the_next_stop(sandbox: Sandbox) -> None:
    pid = killed(sandbox)
    sandbox.ctl("stop", "web").expect(0)
    sandbox.ctl("stop", "web").expect(0)
    assert [event["pid"] for event in events(sandbox, "ended", "crashed")] == [pid]
    found = status(sandbox, 3)
    assert (found["state"], found["last_end"]["pid"], found["wanted"]["state"]) == ("stopped", pid, "down")


def test_the_end_is_an_event_and_known_after_the_next_start(sandbox: Sandbox) -> None:
    pid = killed(sandbox)
    sandbox.ctl("start", "web").expect(0)
    assert [event["pid"] for event in events(sandbox, "ended")] == [pid]
    assert status(sandbox, 0)["last_end"]["pid"] == pid


def test_one_that_dies_while_it_starts_has_crashed_with_its_status_and_its_last_words(sandbox: Sandbox) -> None:
    sandbox.service("web", "crash", 7, ready={"settle": 30})
    sandbox.ctl("start", "web").expect(151)
    found = status(sandbox, 1)
    assert (found["state"], found["last_words"][-1]) == ("crashed", "fatal: cannot go on")
    end = found["last_end"]
    assert (end["how"], end["status"], end["by"]) == ("exited", 7, "itself")
    sandbox.ctl("stop", "web").expect(0)
    assert status(sandbox, 3)["last_end"]["status"] == 7, "a stop of what has ended says nothing new"


def test_one_that_ctl_takes_down_since_it_is_not_ready_has_not_crashed(sandbox: Sandbox) -> None:
    sandbox.service("web", "never_ready", ready={"log": "^never$", "timeout": 0.5})
    sandbox.ctl("start", "web").expect(151)
    found = status(sandbox, 3)
    assert (found["state"], found["last_end"]["by"], found["last_end"]["caller"]["verb"]) == ("stopped", "ctl", "start")
    assert sandbox.ctl("status").expect(1).stdout == "web  stopped   wanted up\n", "nothing else tells why it is 1"


def test_one_that_ends_by_the_signal_that_interrupts_its_start_has_not_crashed(sandbox: Sandbox) -> None:
    """So does systemd stop a unit that is starting: TERM to all that is in it, ctl and the service."""
    sandbox.service("web", "polite", ready={"log": "^never$", "timeout": 600})
    start = sandbox.ctl_popen("start", "web")
    wait_line(sandbox.log("web"), "ready (pid:")
    service, ctl = sandbox.adopt("web"), sandbox.reaper.adopt(start.pid)
    signal.pidfd_send_signal(ctl, signal.SIGSTOP)
    signal.pidfd_send_signal(service, signal.SIGTERM)
    wait_gone(service)
    signal.pidfd_send_signal(ctl, signal.SIGTERM)
    signal.pidfd_send_signal(ctl, signal.SIGCONT)
    sandbox.collect(start).expect(143)
    found = status(sandbox, 3)
    assert (found["state"], found["last_end"]["by"]) == ("stopped", "ctl")


def test_a_program_that_was_never_executed_has_no_end(sandbox: Sandbox) -> None:
    sandbox.define("web", {"start": {"command": [str(sandbox.tmp)]}})
    sandbox.ctl("start", "web").expect(5)
    assert status(sandbox, 3)["last_end"] is None


def test_what_a_log_of_an_earlier_run_says_are_not_its_last_words(sandbox: Sandbox) -> None:
    pid = killed(sandbox)
    os.utime(sandbox.log("web"), (1, 1))
    found = status(sandbox, 1)
    assert (found["last_end"]["pid"], found["last_words"]) == (pid, [])


def test_what_is_left_over_is_listed_with_its_pids(sandbox: Sandbox, reaper: Reaper) -> None:
    sandbox.service("web", "wrapper", sandbox.tmp / "child", stop=LEAVES_ONE)
    sandbox.ctl("start", "web").expect(0)
    (child,) = proc.children(sandbox.pid("web"))
    reaper.adopt(child)
    said = sandbox.ctl("stop", "web").expect(0).stdout
    assert said.endswith("; 1 left over, which ctl kill ends\n"), "stop leaves nothing unsaid"
    found = status(sandbox, 3)
    assert (found["state"], [left["pid"] for left in found["left_over"]]) == ("stopped", [child])
    assert "1 left over" in sandbox.ctl("status", "web").expect(3).stdout
    assert "1 left over" in sandbox.ctl("status").expect(0).stdout
    sandbox.ctl("start", "web").expect(0)
    assert [left["pid"] for left in status(sandbox, 0)["left_over"]] == [child], "beside the new run"
    sandbox.ctl("kill", "web").expect(0)
    assert status(sandbox, 3)["left_over"] == []


def test_what_is_left_over_of_a_run_whose_record_is_lost_is_listed(sandbox: Sandbox, reaper: Reaper) -> None:
    sandbox.service("web", "wrapper", sandbox.tmp / "child", match={"cmdline": f"wrapper.sh {sandbox.tmp}/child"})
    sandbox.ctl("start", "web").expect(0)
    pidfd = sandbox.adopt("web")
    pid = sandbox.pid("web")
    (child,) = proc.children(pid)
    reaper.adopt(child)
    sandbox.record("web").unlink()
    sandbox.pid_file("web").unlink()
    os.kill(pid, signal.SIGKILL)
    wait_gone(pidfd)
    found = status(sandbox, 3)
    assert (found["state"], [left["pid"] for left in found["left_over"]]) == ("stopped", [child])


def test_nothing_is_wanted_any_more_after_a_reboot(sandbox: Sandbox) -> None:
    killed(sandbox)
    state = json.loads(sandbox.record("web").read_text(encoding="utf-8"))
    state["wanted"]["boot_id"] = state["run"]["identity"]["boot_id"] = "00000000-0000-4000-8000-000000000000"
    sandbox.record("web").write_text(json.dumps(state), encoding="utf-8")
    found = status(sandbox, 1)
    assert (found["state"], found["wanted"]) == ("stale", None)
    sandbox.ctl("stop", "web").expect(0)
    assert events(sandbox, "ended", "crashed") == []
    assert status(sandbox, 3)["state"] == "stopped"


def test_all_is_well_while_all_that_is_wanted_is_up(sandbox: Sandbox) -> None:
    sandbox.service("other", "polite")
    pid = killed(sandbox)
    sandbox.ctl("status").expect(1)
    sandbox.ctl("start", "web").expect(0)
    sandbox.ctl("status").expect(0)
    sandbox.ctl("stop", "web").expect(0)
    assert pid
    sandbox.ctl("status").expect(0)
    sandbox.define_raw("broken", "start = 1")
    sandbox.ctl("status").expect(4)


def test_ready_is_what_a_health_check_asks(sandbox: Sandbox) -> None:
    sandbox.service("web", "never_ready", ready={"tcp": "127.0.0.1:1", "timeout": 60})
    starting = sandbox.ctl_popen("start", "web")
    wait_line(sandbox.log("web"), "waiting for")
    sandbox.ctl("status", "web").expect(0)
    sandbox.ctl("status", "--ready", "web").expect(1)
    sandbox.ctl("kill", "web").expect(0)
    sandbox.collect(starting)
    sandbox.ctl("status", "--ready", "web").expect(3)
    sandbox.service("web", "polite")
    sandbox.ctl("start", "web").expect(0)
    sandbox.ctl("status", "--ready", "web").expect(0)
    sandbox.ctl("pause", "web").expect(0)
    sandbox.ctl("status", "--ready", "web").expect(1)
    assert "name them" in sandbox.ctl("status", "--ready").expect(2).stderr
