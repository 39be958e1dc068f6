"""The benchmark runs, says what it measured on what, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

from support import proc
from support.reaper import MARK, Reaper, sweep
from support.sandbox import ROOT
from support.waiting import wait_until

BENCH = ROOT / "bin" / "bench"


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([BENCH, *arguments], capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)


def test_one_document_holds_the_rows_and_the_machine() -> None:
    done = bench("startup", "--pairs", "1", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["command"] == "bin/bench startup --pairs 1 --json"
    expected = {"date", "commit", "processor", "processors", "memory", "kernel", "python", "load before"}
    assert document["host"].keys() == expected
    assert all(document["host"].values())
    assert {row["group"] for row in document["rows"]} == {"start-up"}
    assert {row["what"] for row in document["rows"]} >= {"kill demo, stopped", "status, stopped", "status, running"}
    for row in document["rows"]:
        assert min(row["own_ms"], row["other_ms"], row["own_mib"]) > 0
        assert row["lost"] is (row["value"]["median"] > 1 if row["peer"] else None)
    peers = {row["against"] for row in document["rows"] if row["peer"]}
    assert peers == ({"start-stop-daemon --status --pidfile"} if shutil.which("start-stop-daemon") else set())


def test_an_unknown_group_is_one_clear_line() -> None:
    done = bench("startup", "no-such-group")
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("bench: no such group: no-such-group (valid: startup, stopping, ")


def test_the_help_says_what_each_group_measures_and_how_long_it_takes() -> None:
    done = bench("--help")
    assert done.returncode == 0
    assert "  discovery  finding one service among --processes others" in done.stdout
    assert "min)" in done.stdout


def test_interrupted_it_ends_all_that_it_started(reaper: Reaper) -> None:
    session = os.urandom(6).hex()  # its own: what carries a mark of this one's session, it must not touch
    process = reaper.start([BENCH, "waiting", "--pairs", "1"], ready=None, env={MARK: session}, stderr=subprocess.PIPE)
    assert process.err
    process.err.wait("calls of ctl wait side by side")
    try:
        wait_until(lambda: "deaf" in started_by(session), "a service runs")
        process.signal(signal.SIGTERM)
        assert process.wait() == 130
        assert proc.with_environment(MARK, f"{session}*") == []
    finally:
        sweep(f"{session}*")


def started_by(session: str) -> set[str]:
    """The names of the programs that carry the mark of its reaper."""
    names = set()
    for pid in proc.with_environment(MARK, f"{session}-*"):
        with suppress(OSError):  # it has just ended
            names.add(Path(proc.argv(pid)[0]).name)
    return names
