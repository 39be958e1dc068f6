"""What comes between a reload and its end: a kill of the service, an interrupt, another ctl at work on it."""

from __future__ import annotations

import signal

from support import proc
from support.reaper import MARK, Process
from support.sandbox import Sandbox
from support.waiting import wait_file, wait_gone, wait_line


def under_way(sandbox: Sandbox) -> tuple[Process, int]:
    """`ctl reload web` whose command hangs, and the pid of that."""
    told = sandbox.tmp / "told"
    script = f"echo $$ >{told}.new && mv {told}.new {told}; exec sleep 600"
    sandbox.service("web", "recorder", reload={"command": ["/bin/sh", "-c", script]})
    sandbox.ctl("start", "web").expect(0)
    sandbox.adopt("web")
    process = sandbox.ctl_popen("reload", "web", "--json")
    return process, int(wait_file(told))


def left(sandbox: Sandbox) -> list[int]:
    return proc.with_environment(MARK, sandbox.reaper.mark)


def test_a_kill_ends_the_command_and_the_reload_says_so(sandbox: Sandbox) -> None:
    process, command = under_way(sandbox)
    pid = sandbox.pid("web")
    pidfd = sandbox.reaper.adopt(command)
    assert sandbox.ctl("kill", "web", "--json").expect(0).one["reason"] == "killed"
    wait_gone(pidfd)
    result = sandbox.collect(process).expect(1)
    assert (result.one["reason"], result.one["after"], result.one["pid"]) == ("failed", "ended", pid)
    assert result.stderr.startswith("ctl: web: has ended while /bin/sh was to reload it (log ")
    assert left(sandbox) == []


def test_an_interrupt_ends_the_command_and_not_the_service(sandbox: Sandbox) -> None:
    process, _ = under_way(sandbox)
    process.signal(signal.SIGINT)
    result = sandbox.collect(process).expect(130)
    assert (result.one["reason"], result.one["after"]) == ("interrupted", "running")
    assert left(sandbox) == [sandbox.pid("web")]


def test_it_waits_for_another_ctl_and_holds_others_off(sandbox: Sandbox) -> None:
    process, _ = under_way(sandbox)
    result = sandbox.ctl("stop", "web", "--lock-timeout", 0).expect(153)
    assert f"ctl reload (pid {process.pid}) holds it" in result.stderr
    stopping = sandbox.ctl_popen("stop", "web", "--grace", 0)
    assert stopping.err
    wait_line(stopping.err, f"waiting for ctl reload (pid {process.pid})")
    process.signal(signal.SIGTERM)
    sandbox.collect(process).expect(143)
    sandbox.collect(stopping).expect(0)
    assert left(sandbox) == []
