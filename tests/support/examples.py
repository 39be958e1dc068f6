"""The definitions of conf/examples, for tests that run the real software by them.

Only paths, ports, users, sizes and the main class are replaced, and each replacement must occur: who changes an example
looks into the test of it.
"""

from __future__ import annotations

import os
import pwd
import resource
import tomllib
from collections.abc import Mapping

import psutil

from support import proc
from support.sandbox import ROOT, Sandbox
from support.waiting import wait_until

EXAMPLES = ROOT / "conf" / "examples"


def replaced(text: str, replacements: Mapping[str, str]) -> str:
    for old, new in replacements.items():
        assert old in text, f"the example holds no {old!r} any more"
        text = text.replace(old, new)
    return text


def define(sandbox: Sandbox, name: str, replacements: Mapping[str, str]) -> list[str]:
    """The example as a service of the sandbox. Its command."""
    path = sandbox.define(name, replaced((EXAMPLES / f"{name}.toml").read_text(encoding="utf-8"), replacements))
    command: list[str] = tomllib.loads(path.read_text(encoding="utf-8"))["start"]["command"]
    return command


def open_files() -> dict[str, str]:
    """As many as this machine allows: in a container not even root may have more."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return {"nofile = 65536": f"nofile = {min(hard, 65536) if hard >= 0 else 65536}"}


def user_of(name: str) -> str:
    """Who runs an example that says `user = name`: that user where the tests are root, else who runs them."""
    return name if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name


def uid_of(user: str) -> int | None:
    """As whom the reaper starts what `user` does by hand."""
    return pwd.getpwnam(user).pw_uid if os.geteuid() == 0 else None


def assert_full_circle(sandbox: Sandbox, name: str) -> int:
    """Start, status, a second start, stop, stop, start, kill, kill. Nothing that it has forked is left.

    The pid that was killed: a zombie until pid 1 reaps it.
    """
    started = sandbox.ctl("start", name, "--json").expect(0)
    assert (started.stderr, started.one["reason"], started.one["after"]) == ("", "started", "ready")
    pid = started.one["pid"]
    status = sandbox.ctl("status", name, "--json").expect(0).one
    assert (status["pid"], status["state"], status["ready"]) == (pid, "ready", True)
    family = family_of(pid)
    again = sandbox.ctl("start", name, "--json").expect(0).one
    assert (again["pid"], again["reason"], again["changed"]) == (pid, "already_running", False)

    stopped = sandbox.ctl("stop", name, "--json").expect(0).one
    assert (stopped["pid"], stopped["reason"], stopped["escalated"]) == (pid, "stopped", False)
    assert_gone(family)
    assert sandbox.ctl("stop", name).expect(0).stdout == f"{name}: already stopped\n"
    sandbox.ctl("status", name).expect(3)

    pid = sandbox.ctl("start", name, "--json").expect(0).one["pid"]
    family = family_of(pid)
    assert sandbox.ctl("kill", name, "--json").expect(0).one["reason"] == "killed"
    assert_gone(family)
    assert sandbox.ctl("kill", name).expect(0).stdout.startswith(f"{name}: already stopped")
    assert proc.services(name) == []
    return int(pid)


def assert_adopted(sandbox: Sandbox, name: str, pid: int) -> None:
    """What somebody has started by hand is seen, adopted by start, and stopped."""
    family = family_of(pid)
    assert sandbox.ctl("status", name, "--json").expect(0).one["pid"] == pid
    adopted = sandbox.ctl("start", name, "--json").expect(0).one
    assert (adopted["pid"], adopted["reason"], adopted["changed"]) == (pid, "already_running", True)
    assert sandbox.pid(name) == pid
    stopped = sandbox.ctl("stop", name, "--json").expect(0).one
    assert (stopped["pid"], stopped["reason"], stopped["escalated"]) == (pid, "stopped", False)
    assert_gone(family)


def family_of(pid: int) -> set[int]:
    """A running process and all that descends from it, whatever session they are in."""
    assert proc.alive_for_psutil(pid)
    return {pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))}


def wait_reaped(pid: int) -> None:
    """Until it is no zombie any more, for a program that takes one for a running process, as kill(2) does."""
    wait_until(lambda: proc.state(pid) == proc.GONE, f"pid {pid} is reaped", timeout=60)


def assert_gone(pids: set[int]) -> None:
    assert not {pid for pid in pids if proc.alive_for_psutil(pid)}
