"""A run or log directory that is full, read-only, missing or no directory.

A start says so in one line and leaves no process behind. Stop and kill still work, and status still tells the truth:
what runs must be stoppable also when a disk is full.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from support import proc
from support.full_dir import full, read_only
from support.reaper import MARK
from support.requires import requires_mounts
from support.sandbox import Result, Sandbox
from support.waiting import wait_gone, wait_line

Spoil = Callable[[Path], AbstractContextManager[None]]


@contextmanager
def no_inodes(path: Path) -> Iterator[None]:
    with full(path, inodes=True):
        yield


SPOILED: dict[str, tuple[Spoil, str]] = {
    "full": (full, "No space left on device"),
    "out of inodes": (no_inodes, "No space left on device"),
    "read-only": (read_only, "Read-only file system"),
}
# A new lock file cannot be made either.
UNLOCKED = "cannot lock the service: its run directory is full or read-only"
FIRST_START = [
    (full, "cannot make the key of the run directory: No space left on device"), (no_inodes, UNLOCKED),
    (read_only, UNLOCKED),
]  # fmt: skip
NAMES = [name.replace(" ", "-") for name in SPOILED]
BAD = pytest.mark.parametrize("spoil", [spoil for spoil, _ in SPOILED.values()], ids=NAMES)
BAD_AT_FIRST = pytest.mark.parametrize(("spoil", "what"), FIRST_START, ids=NAMES)
BAD_AND_WHY = pytest.mark.parametrize(("spoil", "why"), SPOILED.values(), ids=NAMES)


def services(sandbox: Sandbox) -> list[int]:
    """Every process of the service `web`, whatever ctl knows of it, those behind the gate included."""
    ours = proc.with_environment(MARK, sandbox.reaper.mark)
    return [pid for pid in proc.services("web") if pid in ours]


def one_line(result: Result) -> str:
    """The only line that it said, on stderr."""
    assert result.stdout == "", result
    (line,) = result.stderr.splitlines()
    return line


def running(sandbox: Sandbox, program: str = "polite", *args: object) -> int:
    sandbox.service("web", program, *args)
    pid: int = sandbox.ctl("start", "web", "--json").expect(0).one["pid"]
    wait_line(sandbox.log("web"), "ready (pid:")
    return pid


# -- the run directory: full, without inodes, read-only


@BAD_AT_FIRST
def test_start_says_so_and_leaves_no_process(sandbox: Sandbox, spoil: Spoil, what: str) -> None:
    sandbox.service("web", "polite")
    with spoil(sandbox.run_dir):
        line = one_line(sandbox.ctl("start", "web").expect(1))
        assert line.startswith(f"ctl: web: {what} (")
        assert str(sandbox.run_dir) in line
        assert services(sandbox) == []
        assert sandbox.ctl("status", "web").expect(3).stdout.splitlines()[0] == "web: stopped"
    assert "ready" not in _text(sandbox.log("web")), "it ran before it was recorded"
    sandbox.ctl("start", "web").expect(0)


@BAD_AT_FIRST
def test_start_in_json(sandbox: Sandbox, spoil: Spoil, what: str) -> None:
    sandbox.service("web", "polite")
    with spoil(sandbox.run_dir):
        result = sandbox.ctl("start", "web", "--json").expect(1)
        assert (result.json["ok"], result.json["changed"]) == (False, False)
        assert (result.one["reason"], result.one["exit_code"]) == ("failed", 1)
        assert what in result.one["errors"][0]["what"]


@BAD_AND_WHY
def test_a_start_after_a_clean_stop(sandbox: Sandbox, spoil: Spoil, why: str) -> None:
    """The lock file is there already: that does not help."""
    running(sandbox)
    sandbox.ctl("stop", "web").expect(0)
    with spoil(sandbox.run_dir):
        assert why in one_line(sandbox.ctl("start", "web").expect(1))
        assert services(sandbox) == []


@BAD_AT_FIRST
def test_run_says_so_and_runs_nothing(sandbox: Sandbox, spoil: Spoil, what: str) -> None:
    sandbox.service("web", "polite")
    with spoil(sandbox.run_dir):
        assert what in one_line(sandbox.ctl("run", "web").expect(1))


@BAD
def test_a_start_of_one_that_runs_is_still_no_op(sandbox: Sandbox, spoil: Spoil) -> None:
    pid = running(sandbox)
    with spoil(sandbox.run_dir):
        result = sandbox.ctl("start", "web").expect(0)
        assert (result.stdout, result.stderr) == (f"web: already running, pid {pid}\n", "")
        assert sandbox.ctl("status", "web", "--json").expect(0).one["pid"] == pid


@BAD_AND_WHY
@pytest.mark.parametrize("verb", ["stop", "kill"])
def test_stop_and_kill_still_work(sandbox: Sandbox, spoil: Spoil, why: str, verb: str) -> None:
    pid = running(sandbox)
    main = sandbox.adopt("web")
    with spoil(sandbox.run_dir):
        result = sandbox.ctl(verb, "web", "--json").expect(0)
        wait_gone(main, 0)
        done = {"stop": "stopped", "kill": "killed"}[verb]
        assert (result.one["reason"], result.one["pid"], result.one["after"]) == (done, pid, "stopped")
        assert result.one["changed"] is True
        again = sandbox.ctl(verb, "web", "--json").expect(0)
        assert (again.one["reason"], again.one["changed"]) == ("already_stopped", False)
        if why.startswith("Read-only"):  # its record cannot go: that is said, and status shows it as one that ended
            (error,) = result.one["errors"]
            assert why in error["what"]
            assert str(sandbox.run_dir) in error["where"]
            assert sandbox.ctl("status", "web", "--json").expect(1).one["state"] == "ended"
        else:
            assert result.one["errors"] == []
            status = sandbox.ctl("status", "web", "--json").expect(3).one
            assert (status["state"], (status["wanted"] or {"state": "down"})["state"]) == ("stopped", "down")


@BAD
def test_a_stop_escalates_as_ever(sandbox: Sandbox, spoil: Spoil) -> None:
    running(sandbox, "ignorer")
    main = sandbox.adopt("web")
    with spoil(sandbox.run_dir):
        stopped = sandbox.ctl("stop", "web", "--grace", 0.1, "--json").expect(0).one
        wait_gone(main, 0)
        assert (stopped["reason"], stopped["escalated"]) == ("escalated", True)


@BAD
def test_what_has_left_the_main_process_is_stopped_too(sandbox: Sandbox, spoil: Spoil) -> None:
    child_file = sandbox.tmp / "child"
    running(sandbox, "escapee", child_file)
    child = sandbox.reaper.adopt(int(child_file.read_text(encoding="ascii")))
    with spoil(sandbox.run_dir):
        sandbox.ctl("kill", "web").expect(0)
        wait_gone(child, 0)


@BAD_AND_WHY
def test_a_restart_stops_and_says_why_it_cannot_start(sandbox: Sandbox, spoil: Spoil, why: str) -> None:
    pid = running(sandbox)
    with spoil(sandbox.run_dir):
        result = sandbox.ctl("restart", "web").expect(1)
        assert why in result.stderr
        assert "Traceback" not in result.stderr
        alive = services(sandbox)
        assert alive in ([], [pid])
        assert sandbox.ctl("status", "web").rc == (0 if alive else 1 if why.startswith("Read-only") else 3)


# -- the run directory: not there, no directory, not ours


def test_a_run_directory_that_is_missing_is_made(sandbox: Sandbox) -> None:
    sandbox.service("web", "polite")
    sandbox.run_dir.rmdir()
    assert sandbox.ctl("status", "web").expect(3).stdout.splitlines()[0] == "web: stopped"
    assert sandbox.ctl("kill", "web").expect(0).stdout == "web: already stopped\n"
    assert sandbox.ctl("stop", "web").expect(0).stdout == "web: already stopped\n"
    assert not sandbox.run_dir.exists(), "only a start has to make it"
    pid = sandbox.ctl("start", "web", "--json").expect(0).one["pid"]
    assert sandbox.pid("web") == pid


def test_one_that_vanished_while_the_service_runs(sandbox: Sandbox) -> None:
    """As when somebody cleans up /run: it is found by what ctl gave it, and no second one is started."""
    pid = running(sandbox)
    shutil.rmtree(sandbox.run_dir)
    assert sandbox.ctl("status", "web", "--json").expect(0).one["pid"] == pid
    adopted = sandbox.ctl("start", "web", "--json").expect(0).one
    assert (adopted["reason"], adopted["pid"]) == ("already_running", pid)
    shutil.rmtree(sandbox.run_dir)
    assert sandbox.ctl("stop", "web", "--json").expect(0).one["pid"] == pid
    assert services(sandbox) == []


def test_one_that_cannot_be_made(plain_sandbox: Sandbox) -> None:
    plain_sandbox.service("web", "polite")
    locked = plain_sandbox.root / "locked"
    locked.mkdir(mode=0o755)  # root's
    run_dir = locked / "run"
    line = one_line(plain_sandbox.ctl("start", "web", "--run-dir", run_dir).expect(4))
    why = f"cannot make the run directory {run_dir}: Permission denied (set by --run-dir)"
    assert line == f"ctl: web: {why}; to fix: try again as root"
    assert services(plain_sandbox) == []
    assert plain_sandbox.ctl("status", "web", "--run-dir", run_dir).expect(3).stdout.splitlines()[0] == "web: stopped"
    assert plain_sandbox.ctl("stop", "web", "--run-dir", run_dir).expect(0).stdout == "web: already stopped\n"


def test_one_that_cannot_be_made_on_a_read_only_disk(sandbox: Sandbox) -> None:
    sandbox.service("web", "polite")
    disk = sandbox.root / "disk"
    disk.mkdir()
    run_dir = disk / "deep" / "run"
    with read_only(disk):
        line = one_line(sandbox.ctl("start", "web", "--run-dir", run_dir).expect(1))
        assert line == f"ctl: web: cannot make the run directory {run_dir}: Read-only file system (set by --run-dir)"
        assert sandbox.ctl("kill", "web", "--run-dir", run_dir).expect(0).stdout == "web: already stopped\n"


@pytest.mark.parametrize("below", ["", "below"], ids=["itself", "above"])
def test_one_that_is_a_file(sandbox: Sandbox, below: str) -> None:
    sandbox.service("web", "polite")
    path = sandbox.root / "file"
    path.write_text("", encoding="ascii")
    run_dir = path / below
    for verb in ("start", "run", "restart", "stop", "kill"):
        line = one_line(sandbox.ctl(verb, "web", "--run-dir", run_dir).expect(6))
        assert line == f"ctl: {run_dir} is not a directory (--run-dir)"
    sandbox.ctl("status", "web", "--run-dir", run_dir).expect(6)
    assert services(sandbox) == []


def test_one_that_this_user_may_not_write_to(sandbox: Sandbox, plain_sandbox: Sandbox) -> None:
    """Another user's: a start says what is missing, and status that it cannot tell: any of his processes may be it."""
    his = sandbox.reaper.start(sandbox.programs("polite"))
    plain_sandbox.service("web", "polite")
    run_dir = sandbox.run_dir  # root's
    line = one_line(plain_sandbox.ctl("start", "web", "--run-dir", run_dir).expect(4))
    assert line == (
        f"ctl: web: not allowed to lock this service ({run_dir / 'web.lock'}); to fix: try again as its owner or root"
    )
    assert services(plain_sandbox) == []
    status = plain_sandbox.ctl("status", "web", "--run-dir", run_dir).expect(4)
    assert status.stderr.startswith("ctl: web: cannot tell whether it is running: not allowed to see whether pid ")
    assert his.alive()


# -- the log directory


@pytest.mark.parametrize(("spoil", "why"), [SPOILED["out of inodes"], SPOILED["read-only"]], ids=["inodes", "ro"])
def test_a_log_that_cannot_be_made(sandbox: Sandbox, spoil: Spoil, why: str) -> None:
    sandbox.service("web", "polite")
    with spoil(sandbox.log_dir):
        line = one_line(sandbox.ctl("start", "web").expect(1))
        assert line == f"ctl: web: cannot open the log: {why} (start.log = {sandbox.log('web')})"
        assert services(sandbox) == []
        assert sandbox.ctl("status", "web").expect(3).stdout.splitlines()[0] == "web: stopped"
    assert not sandbox.has_run("web")


def test_a_log_on_a_full_disk_keeps_no_service_from_running(sandbox: Sandbox) -> None:
    """An empty file can still be made there; what the service writes is lost, as for every program on a full disk."""
    sandbox.service("web", "idle", ready={"settle": 0.05})
    with full(sandbox.log_dir):
        pid = sandbox.ctl("start", "web", "--json").expect(0).one["pid"]
        assert sandbox.ctl("status", "web", "--json").expect(0).one["pid"] == pid
        assert sandbox.ctl("stop", "web", "--json").expect(0).one["reason"] == "stopped"


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        pytest.param(
            "echo ready; exec sleep 600", "was not ready within 0.5 s (ready.timeout): log {log}: .*", id="mute"
        ),
        pytest.param("echo ready || exit 3; exec sleep 600", "exited with status 3 while starting", id="it ends"),
    ],
)
def test_a_start_that_fails_for_a_full_disk_says_so(sandbox: Sandbox, script: str, problem: str) -> None:
    log = sandbox.log("web")
    start = {"command": ["/bin/sh", "-c", script]}
    sandbox.define("web", {"start": start, "ready": {"log": "^ready", "timeout": 0.5}})
    with full(sandbox.log_dir):
        line = one_line(sandbox.ctl("start", "web").expect(151))
    what = re.escape(problem.format(log=log)).replace(re.escape(".*"), ".*")
    assert re.fullmatch(rf"ctl: web: {what} \(nothing in {log}, whose file system is full\)", line)
    sandbox.ctl("start", "web").expect(0)


@BAD
def test_stop_and_kill_do_not_care_about_the_log(sandbox: Sandbox, spoil: Spoil) -> None:
    requires_mounts()
    for verb in ("stop", "kill"):
        running(sandbox)
        with spoil(sandbox.log_dir):
            assert sandbox.ctl(verb, "web").expect(0).stderr == ""


def test_a_log_directory_that_is_missing_is_made(sandbox: Sandbox) -> None:
    sandbox.service("web", "polite", start={"log": str(sandbox.root / "new" / "deep" / "web.log")})
    sandbox.ctl("start", "web").expect(0)
    assert "ready" in wait_line(sandbox.root / "new" / "deep" / "web.log", "ready")


def test_a_log_directory_that_cannot_be_made(plain_sandbox: Sandbox) -> None:
    locked = plain_sandbox.root / "locked"
    locked.mkdir(mode=0o755)
    log = locked / "log" / "web.log"
    plain_sandbox.service("web", "polite", start={"log": str(log)})
    line = one_line(plain_sandbox.ctl("start", "web").expect(4))
    assert line == f"ctl: web: cannot open the log: Permission denied (start.log = {log}); to fix: try again as root"
    assert services(plain_sandbox) == []


@pytest.mark.parametrize("kind", ["a directory", "a fifo", "a link", "a file above it"])
def test_a_log_that_is_no_file_of_its_own(sandbox: Sandbox, kind: str) -> None:
    log = sandbox.root / "odd"
    victim = sandbox.root / "victim"
    victim.write_text("precious\n", encoding="ascii")
    if kind == "a directory":
        log.mkdir()
    elif kind == "a fifo":
        os.mkfifo(log)
    elif kind == "a link":
        log.symlink_to(victim)
    else:
        log = victim / "web.log"
    sandbox.service("web", "polite", start={"log": str(log)})
    line = one_line(sandbox.ctl("start", "web").expect(1))
    assert str(log) in line
    assert "log" in line
    assert services(sandbox) == []
    assert victim.read_text(encoding="ascii") == "precious\n"


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""
