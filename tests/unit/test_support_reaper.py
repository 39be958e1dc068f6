"""The tests' own net: whatever a test does, nothing that it started is left."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from support import proc
from support.programs import Programs
from support.reaper import MARK, Reaper
from support.waiting import wait_file, wait_gone, wait_until


class BoomError(Exception):
    """What a failing test raises."""


def start_and_fail(programs: Programs, pids: list[int]) -> None:
    with Reaper() as reaper:
        pids.append(reaper.start(programs("ignorer")).pid)
        raise BoomError


def test_reaps_what_it_started_though_the_test_failed(programs: Programs) -> None:
    pids: list[int] = []
    with pytest.raises(BoomError):
        start_and_fail(programs, pids)
    (pid,) = pids
    assert proc.state(pid) == proc.GONE
    assert not proc.alive_for_psutil(pid)


def test_reaps_what_left_its_parent_and_session(programs: Programs, tmp_path: Path) -> None:
    with Reaper() as reaper:
        reaper.start(programs("escapee", tmp_path / "pid"))
        escapee = int(wait_file(tmp_path / "pid"))
        assert proc.environment(escapee)[MARK] == reaper.mark
        assert proc.alive(escapee)
    assert not proc.alive(escapee)


def test_reaps_what_it_adopted_without_a_mark(programs: Programs) -> None:
    with Reaper() as reaper:
        shell = reaper.start(["/bin/sh", "-c", 'env -i "$@" & wait', "sh", *programs("ignorer")])
        (pid,) = proc.children(shell.pid)
        assert MARK not in proc.environment(pid)
        pidfd = reaper.adopt(pid)
        assert proc.alive(pid)
        assert os.fstat(pidfd)
    assert not proc.alive(pid)


def test_reaps_the_stopped(programs: Programs) -> None:
    with Reaper() as reaper:
        stopped = reaper.start(programs("stopped"))
        wait_until(lambda: proc.state(stopped.pid) == "T", "it has stopped")
    assert proc.state(stopped.pid) == proc.GONE


def test_leaves_a_stranger_alone(programs: Programs) -> None:
    with Reaper() as mine, Reaper() as other:
        stranger = mine.start(programs("recorder"))
        other.start(programs("ignorer"))
        other.close()
        assert stranger.alive()


def test_exit_status_and_lines(reaper: Reaper, programs: Programs) -> None:
    polite = reaper.start(programs("polite", 7))
    polite.signal(signal.SIGTERM)
    wait_gone(polite.pidfd)
    assert polite.wait() == 7
