"""`ctl logs -f` and `ctl events -f`: through every kind of rotation, to the end that a person gives them."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import pytest

from support.pty import Terminal
from support.reaper import Process
from support.sandbox import CTL, NOBODY_UID, Sandbox


def following(sandbox: Sandbox, *args: object, line: str) -> Process:
    """ctl that follows, once it has shown this line."""
    process = sandbox.ctl_popen(*args, "-f")
    process.wait_line(line)
    return process


def append(path: Path, text: str) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(text)


@pytest.fixture
def log(sandbox: Sandbox) -> Path:
    sandbox.service("web", "polite")
    append(sandbox.log("web"), "first\n")
    return sandbox.log("web")


def test_logs_through_restarts_of_the_service(sandbox: Sandbox, log: Path) -> None:
    process = following(sandbox, "logs", "web", line="first")
    pids = []
    for _ in range(3):
        pids.append(sandbox.ctl("restart", "web", "--json").expect(0).one["pid"])
        process.wait_line(f"ready (pid: {pids[-1]})")
    process.signal(signal.SIGINT)
    done = sandbox.collect(process)
    assert (done.rc, done.stderr) == (130, "")
    assert done.stdout.splitlines() == ["first", *(f"ready (pid: {pid})" for pid in pids)]


def test_logs_through_logrotate(sandbox: Sandbox, log: Path) -> None:
    """create, with the old name and with a date; copytruncate; the directory taken away and made anew."""
    process = following(sandbox, "logs", "web", line="first")
    log.rename(log.with_name("web.log.1"))
    append(log, "created\n")
    process.wait_line("created")
    log.rename(log.with_name("web.log-20261120"))
    append(log, "dated, and a long line\n")
    process.wait_line("dated")
    log.with_name("web.log.1").rename(log.with_name("web.log.2"))
    shutil.copy(log, log.with_name("web.log.1"))
    os.truncate(log, 0)
    append(log, "truncated\n")
    process.wait_line("truncated")
    log.parent.rename(sandbox.root / "aside")
    log.parent.mkdir()
    append(log, "new directory\n")
    process.wait_line("new directory")
    process.signal(signal.SIGTERM)
    done = sandbox.collect(process)
    assert (done.rc, done.stderr) == (143, "")
    expected = ["first", "created", "dated, and a long line", "truncated", "new directory"]
    assert done.stdout.splitlines() == expected


def test_logs_of_several_one_of_which_has_none_yet(sandbox: Sandbox, log: Path) -> None:
    elsewhere = sandbox.tmp / "not" / "yet" / "engine.log"
    sandbox.service("engine", "polite", start={"log": str(elsewhere)})
    process = following(sandbox, "logs", "web", "engine", "--json", line="first")
    assert process.err
    assert process.err.wait("no log yet") == f"ctl: engine: has no log yet ({elsewhere})"
    elsewhere.parent.mkdir(parents=True)
    append(elsewhere, "half a ")
    append(log, "whole\n")
    assert json.loads(process.wait_line("whole")) == {"target": "web", "line": "whole"}
    append(elsewhere, "line\n")
    assert json.loads(process.wait_line("line")) == {"target": "engine", "line": "half a line"}


def test_on_a_terminal_a_log_does_not_drive_it(sandbox: Sandbox, log: Path) -> None:
    append(log, "\x1b[2J\x07evil\n")
    with Terminal(sandbox.reaper, [CTL, "logs", "web", "-f"], sandbox.environment()) as terminal:
        terminal.expect(r"\x1b[2J\x07evil")
        terminal.interrupt()
        assert terminal.wait() == 130
        assert "\x07" not in terminal.screen


def test_a_log_or_journal_that_may_not_be_read(sandbox: Sandbox, log: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    log.chmod(0o600)
    sandbox.ctl("kill", "web").expect(0)
    for follow in ([], ["-f"]):
        line = sandbox.ctl("logs", "web", *follow, user=NOBODY_UID).expect(4).stderr
        assert line == f"ctl: web: its log cannot be read: Permission denied ({log}); to fix: try again as root\n"
        line = sandbox.ctl("events", *follow, user=NOBODY_UID).expect(4).stderr
        journal = sandbox.log_dir / "events.jsonl"
        assert line == f"ctl: the journal cannot be read: Permission denied ({journal}); to fix: try again as root\n"


def test_a_reader_that_goes_away_ends_it_without_a_further_line(sandbox: Sandbox, log: Path) -> None:
    read, write = os.pipe()
    process = sandbox.ctl_popen("logs", "web", "-f", stdout=write)
    os.close(write)
    assert os.read(read, 100) == b"first\n"
    os.close(read)
    assert process.wait() == 0
