"""A forking start whose daemon shows nothing of where it comes from: then the pid file that it wrote may prove it."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import pytest

from support import proc
from support.requires import requires, requires_root
from support.sandbox import NOBODY_UID, Sandbox
from support.waiting import wait_gone


def forking(sandbox: Sandbox, then: str = "cp {real} {named}", prefix: str = "", **start: object) -> tuple[Path, Path]:
    """A service whose daemon has a clean environment, as `runuser -l` gives it, no living parent and its own session.

    The daemon writes its pid to the first file; `then` makes the second one, which the definition names, of that.
    """
    home = sandbox.tmp / "home"
    home.mkdir()
    real, named = home / "real", home / "web.pid"
    daemon = shlex.join(["/usr/bin/env", "-i", *sandbox.programs("forker", "--pidfile", real)])
    script = f"{prefix}{daemon} && " + then.format(real=real, named=named, home=home)
    command = ["/bin/sh", "-c", script]
    definition = {
        "start": {"command": command, "type": "forking", "log": str(sandbox.log("web")), **start},
        "ready": {"settle": 0.05, "timeout": 3},
        "stop": {"pid_file": str(named), "schedule": "TERM/5/KILL/5"},
    }
    sandbox.define("web", definition)
    return real, named


def assert_proved(sandbox: Sandbox, real: Path) -> None:
    result = sandbox.ctl("start", "web", "--json")
    daemon = int(real.read_text())
    pidfd = sandbox.reaper.adopt(daemon)
    assert result.expect(0).one["pid"] == daemon
    assert sandbox.ctl("start", "web", "--json").expect(0).one["reason"] == "already_running"
    sandbox.ctl("stop", "web").expect(0)
    wait_gone(pidfd)


def test_a_pid_file_written_since_proves_the_daemon(sandbox: Sandbox) -> None:
    real, _ = forking(sandbox)
    assert_proved(sandbox, real)


def test_it_may_be_written_by_the_services_user(sandbox: Sandbox) -> None:
    requires_root()
    real, _ = forking(sandbox, user=str(NOBODY_UID))
    os.chown(real.parent, NOBODY_UID, NOBODY_UID)
    assert_proved(sandbox, real)


def test_a_plain_user_proves_its_daemon_as_well(plain_sandbox: Sandbox) -> None:
    real, _ = forking(plain_sandbox)
    assert plain_sandbox.owner is not None
    os.chown(real.parent, plain_sandbox.owner, plain_sandbox.owner)
    assert_proved(plain_sandbox, real)


UNPROVED = {
    "written before the start": "cp {real} {named}; touch -d '1 hour ago' {named}",
    "in a directory of everyone's": "chmod 1777 {home}; cp {real} {named}",
    "in a directory of a group's": "chgrp 65534 {home}; chmod g+w {home}; cp {real} {named}",
    "a symbolic link": "mkdir {home}/in; cp {real} {home}/in/p; ln -s in/p {named}",
    "written by another user": "cp {real} {named}; chown 65534 {named}",
    "of a group's": "cp {real} {named}; chgrp 65534 {named}; chmod g+w {named}",
    "about a process that was there before": "echo {bystander} > {named}",
    "about nobody": "sh -c 'echo $$' > {named}",
}


@pytest.mark.parametrize("then", UNPROVED.values(), ids=UNPROVED.keys())
def test_any_other_proves_nothing(sandbox: Sandbox, then: str) -> None:
    requires_root()
    bystander = sandbox.reaper.start(sandbox.programs("polite"))
    real, _ = forking(sandbox, then.replace("{bystander}", str(bystander.pid)))
    result = sandbox.ctl("start", "web")
    daemon = int(real.read_text())
    sandbox.reaper.adopt(daemon)
    assert "stop.pid_file" in result.expect(151).stderr
    assert not sandbox.has_run("web")
    assert bystander.alive()
    assert proc.alive(daemon), "what is not proved is not signalled"


def test_a_daemon_of_another_user_is_not_proved(sandbox: Sandbox) -> None:
    requires_root()
    requires("setpriv")
    prefix = f"chown {NOBODY_UID} $HOMEDIR; exec 2>&1; setpriv --reuid {NOBODY_UID} --clear-groups "
    real, _ = forking(
        sandbox, prefix=prefix.replace("$HOMEDIR", str(sandbox.tmp / "home")), then="chown 0 {home}; cp {real} {named}"
    )
    result = sandbox.ctl("start", "web")
    sandbox.reaper.adopt(int(real.read_text()))
    assert "left no process" in result.expect(151).stderr
