"""A pid file of the service's own that names a living process which nothing proves or disproves to be the service."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from support import proc
from support.bystander import assert_untouched, start_bystander
from support.programs import Programs
from support.reaper import Process, Reaper
from support.requires import requires_root
from support.sandbox import PLAIN_UID, Sandbox


@pytest.fixture
def alive(sandbox: Sandbox, reaper: Reaper, programs: Programs) -> Process:
    """Started by its own script before ctl knew of it."""
    process = start_bystander(reaper, programs("recorder", "-", sandbox.reaper.mark))
    own_pid_file(sandbox).write_text(f"{process.pid}\n", encoding="ascii")
    return process


def own_pid_file(sandbox: Sandbox) -> Path:
    return sandbox.log_dir / "own.pid"


def define(sandbox: Sandbox, **match: object) -> None:
    sandbox.service("web", "polite", stop={"pid_file": str(own_pid_file(sandbox))}, match=match)


def test_a_second_one_is_not_started_and_both_ways_out_are_shown(sandbox: Sandbox, alive: Process) -> None:
    define(sandbox)
    refused = sandbox.ctl("start", "web").expect(152)
    program = os.readlink(f"/proc/{alive.pid}/exe")
    for text in (f"names pid {alive.pid}", f'[match] executable = "{program}"', f"rm '{own_pid_file(sandbox)}'"):
        assert text in refused.stderr
    assert sandbox.running("web") == []
    assert sandbox.ctl("status", "web", "--json").expect(4).one["state"] == "unknown"
    for verb in ("stop", "kill", "restart"):
        assert sandbox.ctl(verb, "web", "--json").expect(152).one["reason"] == "identity_unknown"
    assert_untouched(alive)


def test_the_first_way_out_is_a_rule(sandbox: Sandbox, alive: Process) -> None:
    define(sandbox, cmdline=f"recorder.py - {sandbox.reaper.mark}")
    adopted = sandbox.ctl("start", "web", "--json").expect(0).one
    assert (adopted["reason"], adopted["pid"]) == ("already_running", alive.pid)
    assert_untouched(alive)


def test_the_second_way_out_is_to_remove_the_file(sandbox: Sandbox, alive: Process) -> None:
    define(sandbox)
    own_pid_file(sandbox).unlink()
    assert sandbox.ctl("start", "web", "--json").expect(0).one["reason"] == "started"
    assert_untouched(alive)


def test_one_that_started_after_the_file_was_written_is_disproved(sandbox: Sandbox, alive: Process) -> None:
    define(sandbox)
    os.utime(own_pid_file(sandbox), (1, 1))
    sandbox.ctl("start", "web").expect(0)
    assert_untouched(alive)


def test_the_process_of_another_target_is_disproved(sandbox: Sandbox) -> None:
    sandbox.service("other", "polite")
    sandbox.ctl("start", "other").expect(0)
    own_pid_file(sandbox).write_text(f"{sandbox.pid('other')}\n", encoding="ascii")
    define(sandbox)
    sandbox.ctl("start", "web").expect(0)
    assert proc.alive(sandbox.pid("other"))


def test_another_users_process_is_disproved(sandbox: Sandbox, reaper: Reaper, programs: Programs) -> None:
    requires_root()
    other = start_bystander(reaper, programs("recorder", "-"), user=PLAIN_UID)
    own_pid_file(sandbox).write_text(f"{other.pid}\n", encoding="ascii")
    define(sandbox)
    sandbox.ctl("start", "web").expect(0)
    assert_untouched(other)


def test_a_definition_that_can_find_nothing_is_warned_of(sandbox: Sandbox) -> None:
    sandbox.define_raw("web", f'[stop]\npid_file = "{own_pid_file(sandbox)}"\n')
    assert "nothing proves that the process in it is the service" in sandbox.ctl("check", "web").expect(0).stderr
    assert "nothing proves that the process in it is the service" in " ".join(
        sandbox.ctl("doctor", "web").stdout.split()
    )
    sandbox.define_raw("web", f'[stop]\npid_file = "{own_pid_file(sandbox)}"\n[match]\ncmdline = "only-web"\n')
    assert "nothing proves" not in sandbox.ctl("check", "web").expect(0).stderr
