"""ctl forget: all that ctl keeps of a stopped service goes, with its locks; nobody who waits for one is left behind."""

from __future__ import annotations

import fcntl
import os

from support import proc
from support.reaper import Reaper
from support.sandbox import Sandbox
from support.waiting import wait_until


def files(sandbox: Sandbox, target: str) -> list[str]:
    return sorted(path.name for path in sandbox.run_dir.iterdir() if target in path.name)


def test_nothing_of_it_is_left_and_the_second_time_nothing_is_changed(sandbox: Sandbox) -> None:
    sandbox.service("web", "polite")
    sandbox.ctl("start", "web").expect(0)
    sandbox.ctl("stop", "web").expect(0)
    assert ".web.lock" in files(sandbox, "web")
    planned = sandbox.ctl("forget", "web", "--dry-run").expect(0).stdout
    assert f"remove {sandbox.record('web')}" in planned
    assert files(sandbox, "web")
    first = sandbox.ctl("forget", "web", "--json").expect(0).one
    assert (first["reason"], first["changed"], first["before"]) == ("forgotten", True, "stopped")
    assert files(sandbox, "web") == []
    again = sandbox.ctl("forget", "web", "--json").expect(0).one
    assert (again["reason"], again["changed"]) == ("already_forgotten", False)
    assert files(sandbox, "web") == []
    assert sandbox.ctl("status", "web").expect(3).stdout == "web: stopped\n"


def test_what_runs_is_not_forgotten(sandbox: Sandbox) -> None:
    sandbox.service("web", "polite")
    sandbox.ctl("start", "web").expect(0)
    result = sandbox.ctl("forget", "web").expect(1)
    assert f"it runs as pid {sandbox.pid('web')}" in result.stderr
    assert "ctl stop web" in result.stderr
    sandbox.ctl("status", "web").expect(0)


def test_what_is_left_over_is_not_forgotten(sandbox: Sandbox, reaper: Reaper) -> None:
    sandbox.service("web", "tree", 1, 1, stop={"kill_mode": "process"})
    sandbox.ctl("start", "web").expect(0)
    (child,) = proc.children(sandbox.pid("web"))
    reaper.adopt(child)
    sandbox.ctl("stop", "web").expect(0)
    assert f"pid {child}" in sandbox.ctl("forget", "web").expect(1).stderr
    assert sandbox.record("web").exists()
    sandbox.ctl("kill", "web").expect(0)
    sandbox.ctl("forget", "web").expect(0)


def test_instances_without_a_definition_are_forgotten(sandbox: Sandbox) -> None:
    sandbox.service("worker@", "polite")
    sandbox.ctl("start", "worker@1", "worker@2").expect(0)
    sandbox.ctl("stop", "worker@").expect(0)
    (sandbox.services / "worker@.toml").unlink()
    sandbox.ctl("forget", "worker@").expect(0)
    assert files(sandbox, "worker@") == []
    sandbox.ctl("forget", "worker@1").expect(5)


def test_a_wrong_name_forgets_nothing(sandbox: Sandbox) -> None:
    sandbox.service("web", "polite")
    sandbox.ctl("start", "web").expect(0)
    sandbox.ctl("stop", "web").expect(0)
    sandbox.ctl("forget", "web", "wbe").expect(5)
    assert sandbox.record("web").exists()


def test_whoever_waits_for_a_lock_that_is_removed_takes_the_fresh_one(sandbox: Sandbox) -> None:
    """Else the two of them, and whoever comes then, would hold a lock each."""
    sandbox.service("web", "polite")
    lock = sandbox.run_dir / "web.lock"
    held = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        starting = sandbox.ctl_popen("start", "web", "--json")
        inode = f":{os.fstat(held).st_ino} "
        wait_until(lambda: any("->" in line and inode in line for line in _locks()), "it waits for the lock")
        lock.unlink()
        fresh = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fresh, fcntl.LOCK_EX)
            inode_of_fresh = f":{os.fstat(fresh).st_ino} "
            fcntl.flock(held, fcntl.LOCK_UN)
            wait_until(
                lambda: any("->" in line and inode_of_fresh in line for line in _locks()), "it waits for the fresh one"
            )
            assert sandbox.running("web") == []
        finally:
            os.close(fresh)
        assert sandbox.collect(starting).expect(0).one["reason"] == "started"
    finally:
        os.close(held)


def _locks() -> list[str]:
    with open("/proc/locks", encoding="ascii") as file:
        return file.readlines()
