"""The helpers that make the kernel do what rarely happens."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from support import proc
from support.bystander import assert_untouched
from support.freezer import frozen
from support.full_dir import full, read_only
from support.hidepid import hidepid
from support.pidns import start_in_child_namespace
from support.pidreuse import Pids, in_own_namespace
from support.programs import Programs
from support.pty import Terminal
from support.reaper import Reaper
from support.requires import requires_pidfd_inodes, requires_root
from support.sandbox import PLAIN_UID, Sandbox
from support.waiting import wait_until


def recycle(pids: Pids, sandbox: Sandbox) -> dict[str, Any]:
    first = pids.start_as(4242, sandbox.programs("polite"))
    old = first.pidfd
    first.signal(signal.SIGTERM)
    first.wait()
    second = pids.start_as(4242, sandbox.programs("recorder"))
    try:
        signal.pidfd_send_signal(old, signal.SIGTERM)
        reached = True
    except ProcessLookupError:
        reached = False
    assert_untouched(second)
    return {"same": first.pid == second.pid, "reached": reached, "inside": os.getpid()}


def recycle_within_a_tick(pids: Pids, _: Sandbox) -> dict[str, Any]:
    twins = pids.twins(4242)
    start_time = proc.start_time(4242)
    pids.end(4242)
    return {"same_time": start_time == twins.start_time, "same_inode": twins.old_inode == twins.new_inode}


def fail(_: Pids, __: Sandbox) -> None:
    raise ValueError("told to")


def test_pid_reuse(sandbox: Sandbox) -> None:
    assert in_own_namespace(sandbox, recycle) == {"same": True, "reached": False, "inside": 1}


def test_pid_reuse_within_one_tick(sandbox: Sandbox) -> None:
    requires_pidfd_inodes()
    assert in_own_namespace(sandbox, recycle_within_a_tick) == {"same_time": True, "same_inode": False}


def test_a_scenario_that_fails_fails_the_test(sandbox: Sandbox) -> None:
    with pytest.raises(AssertionError, match="ValueError: told to"):
        in_own_namespace(sandbox, fail)


def test_child_namespace(reaper: Reaper, programs: Programs) -> None:
    pid = start_in_child_namespace(reaper, programs("recorder"))
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    assert f"NSpid:\t{pid}\t1\n" in status


def test_frozen_survives_kill(reaper: Reaper, programs: Programs) -> None:
    polite = reaper.start(programs("polite"))
    with frozen(polite.pid):
        polite.signal(signal.SIGKILL)
        assert polite.alive()
        assert proc.state(polite.pid) == "D"
    assert polite.wait() == -signal.SIGKILL


def test_thawed_lives_on(reaper: Reaper, programs: Programs) -> None:
    polite = reaper.start(programs("polite"))
    with frozen(polite.pid):
        assert polite.alive()
    wait_until(lambda: proc.state(polite.pid) == "S", "it sleeps again")


def test_hidepid(reaper: Reaper, programs: Programs) -> None:
    other = reaper.start(programs("polite"))
    probe = f"id -u; id -G; if kill -0 {other.pid}; then echo reached; fi; test -e /proc/{other.pid} || echo hidden"
    seen = subprocess.run(
        [*hidepid(PLAIN_UID), "sh", "-c", probe], check=False, capture_output=True, text=True, env=reaper.environment()
    )
    assert seen.stdout.split() == [str(PLAIN_UID), str(PLAIN_UID), "hidden"]
    assert "not permitted" in seen.stderr
    assert Path(f"/proc/{other.pid}").exists()


@pytest.mark.parametrize("inodes", [False, True])
def test_full(public_dir: Path, inodes: bool) -> None:
    (public_dir / "web.pid").write_text("42\n", encoding="ascii")
    public_dir.chmod(0o750)
    with full(public_dir, inodes=inodes):
        assert (public_dir / "web.pid").read_text(encoding="ascii") == "42\n"
        assert stat.S_IMODE(public_dir.stat().st_mode) == 0o750
        with pytest.raises(OSError, match="No space left") as caught:
            (public_dir / "new").write_text("1", encoding="ascii")
        assert caught.value.errno == errno.ENOSPC
        (public_dir / "web.pid").unlink()
    assert (public_dir / "web.pid").exists()
    (public_dir / "new").touch()


def test_read_only(public_dir: Path) -> None:
    with read_only(public_dir), pytest.raises(OSError, match="Read-only"):
        (public_dir / "new").touch()
    (public_dir / "new").touch()


def test_terminal(reaper: Reaper, programs: Programs) -> None:
    script = 'stty size; printf "sure? "; read -r answer; echo "you said $answer"; exec "$@"'
    with Terminal(reaper, ["sh", "-c", script, "sh", *programs("recorder")], columns=100) as terminal:
        terminal.expect("24 100")
        terminal.expect("sure? ")
        terminal.send("yes\n")
        assert "you said yes" in terminal.expect("ready")
        terminal.interrupt()
        terminal.expect("got INT")
        terminal.process.signal(signal.SIGKILL)
        assert terminal.wait() == -signal.SIGKILL


def test_lost_terminal(reaper: Reaper) -> None:
    with Terminal(reaper, ["sh", "-c", "echo here; cat"]) as terminal:
        terminal.expect("here")
        terminal.hang_up()
        assert terminal.wait() == -signal.SIGHUP


def test_process_forest(reaper: Reaper, programs: Programs) -> None:
    requires_root()
    namespace = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    forest = reaper.start([*namespace, *programs("process_forest", 20, 100, 200)])
    (pid,) = proc.children(forest.pid)
    trees = proc.children(pid)
    wait_until(lambda: all("com.example.Main" in proc.argv(tree) for tree in trees), "all have their argv")
    assert len(trees) == 20
    assert sum(Path(f"/proc/{tree}").stat().st_uid == 12345 for tree in trees) == 2
