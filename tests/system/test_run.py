"""`ctl run`: the service in the foreground, as a shell, a container or systemd starts it.

What is started becomes the service: same pid, the caller's streams and environment, its own exit status. Another ctl
sees it and acts on it as on any other.
"""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from support import proc
from support.pidns import start_in_child_namespace
from support.programs import Programs
from support.pty import Terminal
from support.reaper import Process, Reaper
from support.requires import requires, requires_namespaces, requires_root
from support.sandbox import CTL, PLAIN_UID, Result, Sandbox
from support.systemd_host import SystemdHost
from support.waiting import wait_file, wait_gone, wait_until


def run(sandbox: Sandbox, name: str = "web", *, ready: str | None = "ready (pid:", **options: Any) -> Process:
    """`ctl run`, once the program has said that it is ready."""
    process = sandbox.ctl_popen("run", name, **options)
    if ready is not None:
        assert process.wait_line(ready)
    return process


# --------------------------------------------------------------------------------------- what another ctl sees and does


def test_it_becomes_the_service_itself(sandbox: Sandbox) -> None:
    sandbox.service("web", "polite")
    process = sandbox.ctl_popen("run", "web")
    assert process.wait_line("ready (pid:") == f"ready (pid: {process.pid})"
    assert proc.argv(process.pid) == sandbox.programs("polite")
    assert sandbox.pid("web") == process.pid
    status = sandbox.ctl("status", "web", "--json").expect(0).one
    assert (status["pid"], [claim["verdict"] for claim in status["claim"]]) == (process.pid, ["holds"])
    assert not sandbox.log("web").exists(), "its output is the caller's"


def test_stop_from_a_second_ctl_ends_it_with_its_own_exit_status(sandbox: Sandbox) -> None:
    sandbox.service("web", "polite", 7)
    process = run(sandbox)
    result = sandbox.ctl("stop", "web", "--json").expect(0).one
    assert (result["pid"], result["reason"], result["escalated"]) == (process.pid, "stopped", False)
    assert process.wait() == 7
    sandbox.ctl("status", "web").expect(3)


def test_kill_from_a_second_ctl(sandbox: Sandbox) -> None:
    sandbox.service("web", "ignorer")
    process = run(sandbox)
    assert sandbox.ctl("kill", "web", "--json").expect(0).one["reason"] == "killed"
    assert process.wait() == -signal.SIGKILL
    sandbox.ctl("status", "web").expect(3)


def test_start_of_what_runs_in_the_foreground_is_a_no_op(sandbox: Sandbox) -> None:
    sandbox.service("web", "polite")
    process = run(sandbox)
    result = sandbox.ctl("start", "web", "--json").expect(0).one
    assert (result["pid"], result["reason"], result["changed"]) == (process.pid, "already_running", False)


def test_its_children_end_with_it_but_not_its_neighbours(sandbox: Sandbox) -> None:
    """In a shell's session there is more than the service: only what it has started itself is its own."""
    sandbox.service("web", "escapee", sandbox.tmp / "escapee.pid")
    script = f'sleep 600 & echo "neighbour $!"; {CTL} run web; echo "status $?"'
    shell = sandbox.reaper.start(["setsid", "sh", "-c", script], env=sandbox.environment(), ready=None)
    neighbour = int(shell.wait_line("neighbour").split()[1])
    sandbox.reaper.adopt(neighbour)
    shell.wait_line("ready (pid:")
    escapee = sandbox.reaper.adopt(int(wait_file(sandbox.tmp / "escapee.pid")))
    assert proc.session(neighbour) == proc.session(sandbox.pid("web"))
    sandbox.ctl("stop", "web", "--schedule", "TERM/1/KILL/5").expect(0)
    shell.wait_line("status 0")
    wait_gone(escapee)
    assert proc.alive(neighbour)


def test_status_asks_its_probe(sandbox: Sandbox) -> None:
    port_file = sandbox.tmp / "port"
    sandbox.service("web", "listener", "--port-file", port_file)
    process = run(sandbox, ready="listening on")
    sandbox.service("web", "listener", ready={"http": f"http://127.0.0.1:{int(port_file.read_text())}/"})
    assert sandbox.ctl("status", "web", "--json").expect(0).one["state"] == "ready"
    process.signal(signal.SIGUSR1)
    process.wait_line("unhealthy")
    status = sandbox.ctl("status", "web", "--json").one
    assert (status["state"], status["ready"]) == ("running", False)


# ------------------------------------------------------------------------------------------------- what the caller gets


@pytest.mark.parametrize("code", [0, 1, 7, 127, 255])
def test_the_exit_status_is_the_services(sandbox: Sandbox, code: int) -> None:
    sandbox.define("web", {"start": {"command": ["/bin/sh", "-c", f"exit {code}"]}})
    sandbox.ctl("run", "web").expect(code)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGKILL])
def test_a_signal_to_it_is_a_signal_to_the_service(sandbox: Sandbox, number: signal.Signals) -> None:
    sandbox.define("web", {"start": {"command": ["/bin/sh", "-c", "echo up; exec sleep 600"]}})
    process = run(sandbox, ready="up")
    process.signal(number)
    assert process.wait() == -number


def test_term_lets_the_service_end_in_its_own_way(sandbox: Sandbox) -> None:
    sandbox.service("web", "polite", 7)
    process = run(sandbox)
    process.signal(signal.SIGTERM)
    assert process.wait() == 7


def test_ctrl_c_reaches_the_service_on_a_terminal(sandbox: Sandbox) -> None:
    sandbox.define(
        "web", {"start": {"command": ["/bin/sh", "-c", "trap 'echo bye; exit 4' INT; echo up; sleep 600 & wait"]}}
    )
    with Terminal(sandbox.reaper, [CTL, "run", "web"], sandbox.environment()) as terminal:
        terminal.expect("up")
        terminal.interrupt()
        terminal.expect("bye")
        assert terminal.wait() == 4


def test_streams_are_the_callers(sandbox: Sandbox) -> None:
    script = 'read -r line; echo "out $line"; echo "err $line" >&2'
    sandbox.define("web", {"start": {"command": ["/bin/sh", "-c", script]}})
    result = sandbox.ctl("run", "web", stdin="hello\n").expect(0)
    assert (result.stdout, result.stderr) == ("out hello\n", "err hello\n")


def dumped(sandbox: Sandbox, start: dict[str, Any], **options: Any) -> tuple[int, dict[str, Any]]:
    """What the program has inherited, and the pid of `ctl run`."""
    path = sandbox.tmp / "dump"
    sandbox.service("web", "env_dump", path, start=start)
    process = run(sandbox, ready=None, **options)
    seen: dict[str, Any] = json.loads(wait_file(path))
    return process.pid, seen


def test_the_environment_is_the_callers_with_the_definitions_and_ctls_own(sandbox: Sandbox) -> None:
    pid, seen = dumped(
        sandbox, {"environment": {"COLOUR": "blue"}}, env={"COLOUR": "red", "SHAPE": "round", "CTL_TARGET": "liar"}
    )
    environ = seen["environ"]
    assert (environ["COLOUR"], environ["SHAPE"], environ["CTL_TARGET"]) == ("blue", "round", "web")
    assert environ["CTL_RUN_ID"] == sandbox.run_on_record("web")["run_id"]
    assert seen["pid"] == pid


def test_umask_directory_nice_and_limits_are_the_definitions(sandbox: Sandbox) -> None:
    start = {"umask": "027", "directory": str(sandbox.tmp), "nice": 5, "limits": {"nofile": 123}}
    _, seen = dumped(sandbox, start)
    assert (seen["umask"], seen["cwd"], seen["nice"]) in [(0o27, str(sandbox.tmp), 5), ("027", str(sandbox.tmp), 5)]
    assert list(seen["limits"]["nofile"]) == [123, 123]


def test_it_gives_up_roots_rights_for_good(sandbox: Sandbox) -> None:
    requires_root()
    _, seen = dumped(sandbox, {"user": str(PLAIN_UID)}, extra_groups=[0, 4, 27])
    assert set(seen["uids"]) == set(seen["gids"]) == {PLAIN_UID}
    assert set(seen["groups"]) <= {PLAIN_UID}, "supplementary groups of the caller are left"


def test_signals_are_as_a_program_expects_them(sandbox: Sandbox) -> None:
    """Python ignores SIGPIPE, and a caller may ignore more: the service must get TERM all the same."""
    sandbox.define("web", {"start": {"command": ["/bin/grep", "-E", "^Sig(Ign|Blk)", "/proc/self/status"]}})
    ignoring = ["sh", "-c", 'trap "" HUP INT TERM USR1; exec "$@"', "sh"]
    shown = sandbox.ctl("run", "web", prefix=ignoring).expect(0).stdout
    assert {name: int(mask, 16) for name, mask in (line.split(":\t") for line in shown.splitlines())} == {
        "SigBlk": 0,
        "SigIgn": 0,
    }


def test_no_descriptor_of_ctl_is_left_open(sandbox: Sandbox) -> None:
    _, seen = dumped(sandbox, {})
    assert sorted(map(int, seen["fds"])) == [0, 1, 2]


# ----------------------------------------------------------------------------------------------------------- it refuses


def test_a_second_one_is_refused(sandbox: Sandbox) -> None:
    sandbox.service("web", "polite")
    first = run(sandbox)
    result = sandbox.ctl("run", "web").expect(1)
    assert (
        result.stderr
        == f"ctl: web: already running as pid {first.pid}: run would start a second one; to fix: ctl stop web\n"
    )
    assert first.alive()
    assert sandbox.pid("web") == first.pid


def test_one_beside_a_started_one_is_refused(sandbox: Sandbox) -> None:
    sandbox.service("web", "polite")
    pid = sandbox.ctl("start", "web", "--json").expect(0).one["pid"]
    result = sandbox.ctl("run", "web", "--json").expect(1)
    assert f"already running as pid {pid}" in result.stderr
    assert result.json["ok"] is False
    assert sandbox.pid("web") == pid


def test_of_many_at_once_one_runs(sandbox: Sandbox) -> None:
    sandbox.service("web", "polite", 7)
    runs = [sandbox.ctl_popen("run", "web") for _ in range(10)]
    sandbox.pid("web")
    for process in runs:
        if process.pid != sandbox.pid("web"):
            assert process.wait() == 1
    (only,) = [process for process in runs if process.alive()]
    only.wait_line("ready (pid:")
    assert proc.services("web") == [only.pid]
    only.signal(signal.SIGTERM)
    assert only.wait() == 7


def test_a_forking_service_is_refused(sandbox: Sandbox) -> None:
    sandbox.service("web", "forker", "--no-pidfile", start={"type": "forking"})
    result = sandbox.ctl("run", "web").expect(6)
    assert result.stderr.startswith('ctl: web: a service of type = "forking" leaves the foreground (')
    assert result.stderr.endswith("; to fix: ctl start web\n")
    assert proc.services("web") == []


def test_a_command_that_cannot_be_executed_leaves_no_record(sandbox: Sandbox) -> None:
    sandbox.define("web", {"start": {"command": ["/opt/none/web"]}})
    result = sandbox.ctl("run", "web").expect(5)
    where = f"{sandbox.services}/web.toml, start.command"
    assert result.stderr == f"ctl: web: /opt/none/web cannot be executed: No such file or directory ({where})\n"
    sandbox.ctl("status", "web").expect(3)


def test_a_command_that_only_root_may_execute_leaves_no_record(sandbox: Sandbox) -> None:
    requires_root()
    program = sandbox.tmp / "private"
    program.write_text("#!/bin/sh\nsleep 600\n")
    program.chmod(0o700)
    sandbox.define("web", {"start": {"command": [str(program)], "user": str(PLAIN_UID)}})
    result = sandbox.ctl("run", "web").expect(5)
    assert str(program) in result.stderr
    assert "Permission denied" in result.stderr
    sandbox.ctl("status", "web").expect(3)


# -------------------------------------------------------------------------------------------------------- after its end


def test_its_record_is_stale_after_its_end_and_the_next_run_works(sandbox: Sandbox) -> None:
    sandbox.service("web", "polite", 7)
    first = run(sandbox)
    first.signal(signal.SIGTERM)
    assert first.wait() == 7
    status = sandbox.ctl("status", "web").expect(1)
    assert status.stdout.startswith("web: ended\n")
    assert f"pid {first.pid} has ended" in status.stdout

    second = run(sandbox)
    assert sandbox.ctl("status", "web", "--json").expect(0).one["pid"] == second.pid
    second.signal(signal.SIGKILL)
    assert second.wait() == -signal.SIGKILL

    stopped = sandbox.ctl("stop", "web", "--json").expect(0).one
    assert (stopped["before"], stopped["reason"]) == ("ended", "already_stopped")
    sandbox.ctl("status", "web").expect(3)


# --------------------------------------------------------------------------------------------- in a container, as pid 1


def inside(pid: int, sandbox: Sandbox, *args: str) -> Result:
    """ctl in the container whose first process we see as `pid`, as by docker exec."""
    return sandbox.ctl(*args, prefix=["nsenter", "-t", str(pid), "-p", "-m"])


def container(sandbox: Sandbox) -> int:
    """A container whose first process is `ctl run web`; its pid as we see it."""
    requires("nsenter")
    return start_in_child_namespace(sandbox.reaper, [CTL, "run", "web"], env=sandbox.environment())


def test_as_the_first_process_of_a_container(sandbox: Sandbox) -> None:
    requires_root()
    sandbox.service("web", "polite", 7, ready={"settle": 0.05})
    pid = container(sandbox)
    status = inside(pid, sandbox, "status", "web", "--json").expect(0).one
    assert (status["pid"], status["state"]) == (1, "ready")
    assert inside(pid, sandbox, "start", "web").expect(0).stdout == "web: already running, pid 1\n"

    # From outside it is another pid namespace's business, which cannot be told and is not taken for "stopped".
    outside = sandbox.ctl("status", "web").expect(4)
    assert "another pid namespace" in outside.stdout + outside.stderr
    sandbox.ctl("kill", "web").expect(152)
    assert proc.alive(pid)


def test_a_container_ends_with_its_services_exit_status(sandbox: Sandbox) -> None:
    requires_root()
    requires_namespaces()
    sandbox.service("web", "polite", 7)
    outer = sandbox.reaper.start(
        ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", CTL, "run", "web"], env=sandbox.environment()
    )
    (pid,) = proc.children(outer.pid)
    signal.pidfd_send_signal(sandbox.reaper.adopt(pid), signal.SIGTERM)  # docker stop
    assert outer.wait() == 7


def test_the_next_container_on_the_same_volume_starts(sandbox: Sandbox) -> None:
    """Pid 1 again, of another namespace: the record of the last one is stale, also where that was killed."""
    requires_root()
    sandbox.service("web", "polite")
    first = container(sandbox)
    ended = sandbox.reaper.adopt(first)
    signal.pidfd_send_signal(ended, signal.SIGKILL)
    wait_gone(ended)
    second = container(sandbox)
    status = inside(second, sandbox, "status", "web", "--json").expect(0).one
    assert status["pid"] == 1


@pytest.mark.parametrize("match", [{}, {"cmdline": "no such"}], ids=["marker", "rule"])
def test_the_first_process_is_found_again_when_its_record_is_lost(sandbox: Sandbox, match: dict[str, str]) -> None:
    requires_root()
    sandbox.service("web", "polite", match=match)
    sandbox.service("other", "polite")
    first = container(sandbox)
    ended = sandbox.reaper.adopt(first)
    sandbox.record("web").unlink()
    assert inside(first, sandbox, "status", "web", "--json").expect(0).one["pid"] == 1
    inside(first, sandbox, "status", "other").expect(3)
    again = inside(first, sandbox, "start", "web", "--json").expect(0).one
    assert (again["reason"], again["pid"]) == ("already_running", 1)
    sandbox.record("web").unlink()
    inside(first, sandbox, "stop", "web").expect(-9)  # the kernel ends all that is in there, as soon as pid 1 has
    wait_gone(ended)


def test_ctl_as_pid_1_beside_a_broken_command_just_ends(sandbox: Sandbox) -> None:
    requires_namespaces()
    sandbox.define("web", {"start": {"command": ["/opt/none/web"]}})
    sandbox.ctl("run", "web", prefix=["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]).expect(5)


# -------------------------------------------------------------------------------------------------------- under systemd


@pytest.fixture
def unit_sandbox(
    host: SystemdHost, base: Path, reaper: Reaper, programs: Programs, request: pytest.FixtureRequest
) -> Sandbox:
    root = base / request.node.name.partition("[")[0]
    root.mkdir()
    return Sandbox(root, reaper, programs)


def install(host: SystemdHost, sandbox: Sandbox, **service: str) -> str:
    """A unit that runs the service by `ctl run` and stops it by `ctl stop`. Its name."""
    lines = {
        "Type": "exec",
        "ExecStart": f"{CTL} run web",
        "ExecStop": f"{CTL} stop web",
        "Environment": f"CTL_CONF={sandbox.conf} CTL_RUN_DIR={sandbox.run_dir}",
        **service,
    }
    name = f"{sandbox.root.name.replace('_', '-')}.service"
    host.unit(name, "[Service]\n" + "".join(f"{key}={value}\n" for key, value in lines.items()))
    return name


def ctl_in(host: SystemdHost, sandbox: Sandbox, *args: str) -> subprocess.CompletedProcess[str]:
    return host.run(CTL, *args, env={"CTL_CONF": str(sandbox.conf), "CTL_RUN_DIR": str(sandbox.run_dir)})


def systemctl(host: SystemdHost, *args: str) -> None:
    done = host.run("systemctl", *args)
    assert done.returncode == 0, f"{done.stderr}\n{host.journal(args[-1])}"


@pytest.mark.systemd
def test_systemd_starts_sees_and_stops_it(host: SystemdHost, unit_sandbox: Sandbox) -> None:
    unit_sandbox.service("web", "polite")
    unit = install(host, unit_sandbox)
    systemctl(host, "start", unit)
    main = int(host.properties(unit)["MainPID"])
    wait_file(unit_sandbox.pid_file("web"))
    status = json.loads(ctl_in(host, unit_sandbox, "status", "web", "--json").stdout)["results"][0]
    assert (status["pid"], status["command"].split()[-1].rpartition("/")[2]) == (main, "polite.py")

    systemctl(host, "stop", unit)
    shown = host.properties(unit)
    assert (shown["ActiveState"], shown["Result"], shown["ExecMainStatus"]) == ("inactive", "success", "0")
    assert "status=0" in shown["ExecStop"]
    assert f"web: stopped, pid {main}" in host.journal(unit), "systemd ended it, not ctl"
    assert not unit_sandbox.has_run("web")
    assert not unit_sandbox.pid_file("web").exists()


@pytest.mark.systemd
def test_systemd_gets_the_services_exit_status(host: SystemdHost, unit_sandbox: Sandbox) -> None:
    unit_sandbox.service("web", "polite", 7)
    unit = install(host, unit_sandbox)
    systemctl(host, "start", unit)
    wait_until(lambda: "ready (pid:" in host.journal(unit), "it runs")
    assert ctl_in(host, unit_sandbox, "stop", "web").returncode == 0
    host.run("systemctl", "stop", unit)  # waits for the end of the unit
    shown = host.properties(unit)
    assert (shown["Result"], shown["ExecMainStatus"]) == ("exit-code", "7")


@pytest.mark.systemd
def test_systemd_stops_by_mainpid_where_the_record_is_lost(host: SystemdHost, unit_sandbox: Sandbox) -> None:
    unit_sandbox.service("web", "polite")
    unit = install(host, unit_sandbox)
    systemctl(host, "start", unit)
    wait_file(unit_sandbox.pid_file("web"))
    main = host.properties(unit)["MainPID"]
    unit_sandbox.record("web").unlink()
    unit_sandbox.pid_file("web").unlink()
    systemctl(host, "stop", unit)
    assert f"web: stopped, pid {main}" in host.journal(unit)
    assert host.properties(unit)["Result"] == "success"


@pytest.mark.systemd
def test_systemd_stop_of_one_that_has_already_died_is_done(host: SystemdHost, unit_sandbox: Sandbox) -> None:
    unit_sandbox.service("web", "polite")
    unit = install(host, unit_sandbox)
    systemctl(host, "start", unit)
    wait_file(unit_sandbox.pid_file("web"))
    assert ctl_in(host, unit_sandbox, "kill", "web").returncode == 0
    host.run("systemctl", "stop", unit)
    shown = host.properties(unit)
    assert (shown["ExecMainCode"], shown["ExecMainStatus"]) == ("2", str(int(signal.SIGKILL)))
    assert "fault in ctl" not in host.journal(unit)


@pytest.mark.systemd
def test_systemd_stop_escalates_by_ctls_schedule_not_by_its_own(host: SystemdHost, unit_sandbox: Sandbox) -> None:
    unit_sandbox.service("web", "ignorer", stop={"schedule": "TERM/0.3/KILL/5"})
    unit = install(host, unit_sandbox, TimeoutStopSec="60")
    systemctl(host, "start", unit)
    wait_file(unit_sandbox.pid_file("web"))
    systemctl(host, "stop", unit)
    assert "web: stopped, but only KILL ended it" in host.journal(unit)
    assert host.properties(unit)["Result"] == "success", "what ctl has stopped counts as a failure"


@pytest.mark.systemd
def test_systemd_hears_readiness_through_ctl_run(host: SystemdHost, unit_sandbox: Sandbox) -> None:
    """`systemctl start` of a Type=notify unit returns only after the program's own READY=1."""
    trigger = unit_sandbox.fifo("trigger")
    unit_sandbox.service("web", "notifier", "--trigger", trigger, start={"type": "notify"})
    unit = install(host, unit_sandbox, Type="notify")
    assert host.run("systemctl", "start", "--no-block", unit).returncode == 0
    wait_file(unit_sandbox.pid_file("web"))
    assert host.properties(unit)["ActiveState"] == "activating"
    trigger.write_text("go")
    systemctl(host, "start", unit)  # joins the job that is under way
    assert host.properties(unit)["ActiveState"] == "active"
    systemctl(host, "stop", unit)
