"""A recorded process stays the service's, whatever becomes of its program and argv; without a record, the rules say.

Each case is a running service that its definition's own rules no longer describe, or that `ps` shows as "(deleted)".
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from support import proc
from support.requires import requires_pidfd_inodes, requires_root
from support.sandbox import Sandbox
from support.waiting import wait_file, wait_gone, wait_line, wait_until


def installed(sandbox: Sandbox, version: int = 1) -> Path:
    """A program of the service's own, as a package would install it: by renaming a new file over the old one."""
    binary = sandbox.root / "opt" / "server"
    binary.parent.mkdir(exist_ok=True)
    shutil.copy(sandbox.programs.path("idle"), f"{binary}.new")
    with open(f"{binary}.new", "ab") as file:
        file.write(b"%d" % version)
    os.rename(f"{binary}.new", binary)
    return binary


def define_server(sandbox: Sandbox, **match: str) -> None:
    sandbox.service("web", "idle", start={"command": [str(installed(sandbox))]}, match=match)


def upgraded(sandbox: Sandbox) -> None:
    define_server(sandbox, cmdline=f"{sandbox.root}/opt/server")
    sandbox.ctl("start", "web").expect(0)
    installed(sandbox, version=2)
    assert os.readlink(f"/proc/{sandbox.pid('web')}/exe").endswith("/opt/server (deleted)")


def uninstalled(sandbox: Sandbox) -> None:
    define_server(sandbox, executable=f"*{sandbox.root}/opt/server")
    sandbox.ctl("start", "web").expect(0)
    shutil.rmtree(sandbox.root / "opt")
    assert os.readlink(f"/proc/{sandbox.pid('web')}/exe").endswith("/opt/server (deleted)")


def retitled(sandbox: Sandbox) -> None:
    """Neither its argv nor its comm holds what the rule asks for; the comm even looks like a field of its stat file."""
    sandbox.service("web", "retitle", match={"cmdline": f"{sandbox.programs.path('retitle')}$"})
    sandbox.ctl("start", "web").expect(0)
    wait_line(sandbox.log("web"), "ready (pid:")
    assert "retitle" not in " ".join(proc.argv(sandbox.pid("web")))
    assert Path(f"/proc/{sandbox.pid('web')}/comm").read_text(encoding="utf-8") == "worker: ) S 1 (\n"


def reexecuted(sandbox: Sandbox) -> None:
    """The recorded process has since executed another program, as one that upgrades itself in place does."""
    fifo = sandbox.fifo("go")
    script = 'read -r _ <"$1"; shift; exec "$@"'
    word = f"first-program-{sandbox.reaper.mark}"
    command = ["/bin/sh", "-c", script, word, str(fifo), *sandbox.programs("polite")]
    sandbox.service("web", "polite", start={"command": command}, ready={"settle": 0.05}, match={"cmdline": word})
    sandbox.ctl("start", "web").expect(0)
    fifo.write_text("go\n", encoding="ascii")
    wait_line(sandbox.log("web"), "ready (pid:")
    assert word not in proc.argv(sandbox.pid("web"))


CASES = (upgraded, uninstalled, retitled, reexecuted)


@pytest.mark.parametrize("becomes", CASES)
def test_status_and_start_find_it_by_its_record(sandbox: Sandbox, becomes: Callable[[Sandbox], None]) -> None:
    becomes(sandbox)
    pid = sandbox.pid("web")
    status = sandbox.ctl("status", "web", "--json").expect(0).one
    assert (status["state"], status["pid"]) == ("ready", pid)
    assert [(claim["source"], claim["verdict"]) for claim in status["claim"]] == [("record", "holds")]

    again = sandbox.ctl("start", "web", "--json").expect(0).one
    assert (again["reason"], again["pid"], again["changed"]) == ("already_running", pid, False)
    assert sandbox.running("web") == [pid]


@pytest.mark.parametrize("becomes", CASES)
@pytest.mark.parametrize(("verb", "reason", "signal_name"), [("stop", "stopped", "TERM"), ("kill", "killed", "KILL")])
def test_stop_and_kill_end_it(
    sandbox: Sandbox, becomes: Callable[[Sandbox], None], verb: str, reason: str, signal_name: str
) -> None:
    becomes(sandbox)
    pid, pidfd = sandbox.pid("web"), sandbox.adopt("web")
    result = sandbox.ctl(verb, "web", "--json").expect(0).one
    assert (result["reason"], result["pid"]) == (reason, pid)
    assert [(sent["pid"], sent["signal"]) for sent in result["signals"]] == [(pid, signal_name)]
    wait_gone(pidfd, timeout=0)
    assert not sandbox.has_run("web")


def test_restart_runs_the_new_program(sandbox: Sandbox) -> None:
    upgraded(sandbox)
    old = sandbox.pid("web")
    result = sandbox.ctl("restart", "web", "--json").expect(0).one
    assert (result["before"], result["after"]) == ("running", "ready")
    assert sandbox.running("web") == [sandbox.pid("web")] == [result["pid"]] != [old]
    assert not os.readlink(f"/proc/{result['pid']}/exe").endswith("(deleted)")


def test_restart_of_what_is_uninstalled_does_not_stop_it(sandbox: Sandbox) -> None:
    uninstalled(sandbox)
    pid = sandbox.pid("web")
    result = sandbox.ctl("restart", "web", "--json").expect(5)
    assert result.one["reason"] == "exec_failed"
    assert proc.alive(pid)


def forget(sandbox: Sandbox) -> int:
    pid = sandbox.pid("web")
    sandbox.record("web").unlink()
    sandbox.pid_file("web").unlink()
    return pid


@pytest.mark.parametrize("verb", ["stop", "kill", "start"])
def test_the_executable_rule_still_matches_a_deleted_program(sandbox: Sandbox, verb: str) -> None:
    define_server(sandbox, executable=f"*{sandbox.root}/opt/server")
    sandbox.ctl("start", "web").expect(0)
    installed(sandbox, version=2)
    pid = forget(sandbox)
    result = sandbox.ctl(verb, "web", "--json").expect(0).one
    assert (result["before"], result["pid"]) == ("running", pid)
    assert proc.alive(pid) == (verb == "start")
    assert sandbox.has_run("web") == (verb == "start"), "what start finds, it adopts"


def test_the_executable_rule_asks_for_the_real_program(sandbox: Sandbox) -> None:
    """Not for what a process calls itself: the argv may say anything."""
    impostor = sandbox.reaper.start(
        ["bash", "-c", 'exec -a "$0" "$@"', str(installed(sandbox)), "sleep", "600"], ready=None
    )
    wait_until(lambda: proc.argv(impostor.pid)[0].endswith("/opt/server"), "it calls itself server")
    define_server(sandbox, executable=f"*{sandbox.root}/opt/server")
    assert sandbox.ctl("stop", "web", "--json").expect(0).one["reason"] == "already_stopped"
    assert impostor.alive()
    impostor.signal(signal.SIGKILL)


def test_without_rules_a_retitled_process_is_found_by_ctls_own_mark(sandbox: Sandbox) -> None:
    sandbox.service("web", "retitle")
    sandbox.ctl("start", "web").expect(0)
    wait_line(sandbox.log("web"), "ready (pid:")
    pid = forget(sandbox)
    result = sandbox.ctl("stop", "web", "--json").expect(0).one
    assert (result["reason"], result["pid"]) == ("stopped", pid)


def test_what_fits_its_rule_no_more_is_left_over_once_the_record_is_lost(sandbox: Sandbox) -> None:
    """The rules find no main process then. But it carries the token of a run of this service, and is ended as such."""
    retitled(sandbox)
    pid = forget(sandbox)
    result = sandbox.ctl("stop", "web", "--json").expect(0).one
    assert (result["reason"], result["pid"], result["changed"]) == ("stopped", None, True)
    assert not proc.alive(pid)


# -- time namespaces, time_namespaces(7): there /proc tells other start times

LATER = ["unshare", "-T", "--boottime", "100000"]


@pytest.fixture(params=[(LATER, []), ([], LATER)], ids=["seen from a time namespace", "started in one"])
def clocks(request: pytest.FixtureRequest) -> tuple[list[str], list[str]]:
    """How the service is started, and how it is looked at: two ctls with different clocks."""
    requires_root()
    requires_pidfd_inodes()
    if not Path("/proc/self/ns/time").exists():
        pytest.skip("needs time namespaces: Linux 5.6")
    elsewhere, first = request.param
    return first, elsewhere


def test_the_recorded_process_is_known_by_any_clock(sandbox: Sandbox, clocks: tuple[list[str], list[str]]) -> None:
    first, then = clocks
    sandbox.service("web", "polite")
    sandbox.ctl("start", "web", prefix=first).expect(0)
    pid = sandbox.pid("web")
    pidfd = sandbox.adopt("web")
    again = sandbox.ctl("start", "web", "--json", prefix=then).expect(0).one
    assert (again["reason"], again["pid"], sandbox.running("web")) == ("already_running", pid, [pid])
    assert sandbox.ctl("status", "web", "--json", prefix=then).one["pid"] == pid
    sandbox.ctl("stop", "web", prefix=then).expect(0)
    wait_gone(pidfd)
    assert not sandbox.has_run("web")


def test_what_it_has_started_is_known_by_any_clock(sandbox: Sandbox, clocks: tuple[list[str], list[str]]) -> None:
    first, then = clocks
    own = sandbox.tmp / "own.pid"
    sandbox.service("web", "escapee", own)
    sandbox.ctl("start", "web", prefix=first).expect(0)
    escapee = sandbox.reaper.adopt(int(wait_file(own)))
    sandbox.ctl("stop", "web", prefix=then).expect(0)
    wait_gone(escapee)


def test_another_services_process_is_known_by_any_clock(sandbox: Sandbox, clocks: tuple[list[str], list[str]]) -> None:
    """Rules that fit both services: the record of the other says whose it is."""
    first, then = clocks
    word = f"both-{sandbox.reaper.mark}"
    sandbox.service("web", "polite", 0, word, match={"cmdline": word})
    sandbox.service("api", "polite", 0, word, match={"cmdline": word})
    sandbox.ctl("start", "web", prefix=first).expect(0)
    assert sandbox.ctl("stop", "api", "--json", prefix=then).expect(0).one["reason"] == "already_stopped"
    assert sandbox.running("web") == [sandbox.pid("web")]
