"""conf/logrotate/ctl, with the real logrotate, beside services that go on writing, and beside ctl's own rotation."""

from __future__ import annotations

import itertools
import re
import subprocess
from pathlib import Path

import pytest

from support.requires import requires
from support.sandbox import ROOT, Sandbox
from support.waiting import wait_line, wait_until

# What it reads from the fifo, it writes at once.
ECHO = 'exec 3<>"$0"; echo ready; while read -r line <&3; do echo "$line"; done'
COUNT = "n=0; while :; do n=$((n + 1)); echo $n; done"


class Rotation:
    """The configuration that is delivered, for the logs of a sandbox, on a host that has other habits."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._file, self._state = sandbox.root / "logrotate.conf", sandbox.root / "logrotate.state"
        own = (ROOT / "conf" / "logrotate" / "ctl").read_text(encoding="utf-8")
        assert "\n/var/log/ctl/*.log {" in own
        habits = "weekly\ndateext\ncompress\nolddir /nowhere\n"
        self._file.write_text(habits + own.replace("/var/log/ctl/", f"{sandbox.log_dir}/"))
        self._file.chmod(0o644)

    def run(self, *options: str) -> None:
        argv = ["logrotate", "-v", "-s", str(self._state), *options, str(self._file)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr
        assert not re.search("^(error|warning):", done.stderr, re.MULTILINE), done.stderr


@pytest.fixture
def rotation(sandbox: Sandbox) -> Rotation:
    requires("logrotate")
    return Rotation(sandbox)


@pytest.fixture
def echo(sandbox: Sandbox) -> Path:
    """The fifo of a service `web` that writes what is sent there."""
    fifo = sandbox.fifo("web")
    sandbox.define("web", {"start": {"command": ["/bin/sh", "-c", ECHO, str(fifo)]}, "ready": {"log": "^ready$"}})
    sandbox.ctl("start", "web").expect(0)
    return fifo


def test_a_running_service_goes_on_writing_into_its_log(sandbox: Sandbox, rotation: Rotation, echo: Path) -> None:
    log = sandbox.log("web")
    follower = sandbox.ctl_popen("logs", "-f", "web")
    before = log.stat()
    # Each shorter than the one before: a log that is emptied and filled to the same size looks as if nothing happened.
    lines = ["line 1...", "line 2..", "line 3.", "line 4"]
    for line in lines[:3]:
        echo.write_text(f"{line}\n")
        follower.wait_line(line)
        rotation.run("--force")
        assert log.read_bytes() == b"", "nothing is left, and no hole"
    echo.write_text("line 4\n")
    follower.wait_line("line 4")
    assert log.read_text() == "line 4\n"
    assert (log.stat().st_ino, log.stat().st_uid, log.stat().st_mode) == (before.st_ino, before.st_uid, before.st_mode)
    assert [_older(sandbox, number).read_text() for number in (1, 2, 3)] == [
        "line 3.\n",
        "line 2..\n",
        "ready\nline 1...\n",
    ]
    assert _older(sandbox, 1).stat().st_mode == before.st_mode
    expected = ["ready", *lines]
    assert sandbox.ctl("logs", "web").expect(0).stdout.splitlines() == expected
    assert follower.out
    assert follower.out.seen == expected, "nothing twice"


def test_both_rotate_the_same_files(sandbox: Sandbox, rotation: Rotation, echo: Path) -> None:
    """Six times, alternately, five are kept; the journal is left alone."""
    journal = sandbox.log_dir / "events.jsonl"
    for number in range(1, 7):
        echo.write_text(f"line {number}\n")
        wait_line(sandbox.log("web"), f"line {number}")
        noted = journal.read_bytes()
        if number % 2:
            rotation.run("--force")
            assert journal.read_bytes() == noted
        else:
            sandbox.ctl("restart", "web").expect(0)
    kept = [_older(sandbox, number).read_text().split("\n")[-2] for number in range(1, 6)]
    assert kept == [f"line {number}" for number in range(6, 1, -1)]
    names = {path.name for path in sandbox.log_dir.iterdir() if not path.name.startswith(".")}
    assert names == {"events.jsonl", "web.log", *(f"web.log.{number}" for number in range(1, 6))}


def test_a_log_that_is_small_or_empty_stays(sandbox: Sandbox, rotation: Rotation, echo: Path) -> None:
    rotation.run()
    assert sandbox.log("web").read_text() == "ready\n"
    assert not _older(sandbox, 1).exists()
    echo.write_text("once\n")


def test_of_a_service_that_never_pauses_only_what_comes_between_is_lost(sandbox: Sandbox, rotation: Rotation) -> None:
    sandbox.define("busy", {"start": {"command": ["/bin/sh", "-c", COUNT]}, "ready": {"log": "^100$"}})
    sandbox.ctl("start", "busy").expect(0)
    rotation.run("--force")
    wait_until(lambda: sandbox.log("busy").stat().st_size > 1000, "it goes on writing")
    sandbox.ctl("kill", "busy").expect(0)
    older, newer = (path.read_bytes() for path in (sandbox.log_dir / "busy.log.1", sandbox.log("busy")))
    assert b"\0" not in newer, "no hole where the truncated part was"
    before, after = [int(line) for line in older.split()[:-1]], [int(line) for line in newer.split()[1:]]
    for numbers in (before, after):
        assert all(second == first + 1 for first, second in itertools.pairwise(numbers))
    assert before[0] == 1
    assert before[-1] < after[0]


def _older(sandbox: Sandbox, number: int) -> Path:
    return sandbox.log_dir / f"web.log.{number}"
