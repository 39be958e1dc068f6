"""ctl as ExecStop=, ExecStopPost= and ExecReload= of units whose process systemd itself has started."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from support import toml
from support.programs import Programs
from support.sandbox import CTL, ROOT
from support.systemd_host import SystemdHost
from support.waiting import wait_file, wait_line, wait_until

pytestmark = [pytest.mark.systemd, pytest.mark.xdist_group("systemd_hooks")]

SERVICES = "/etc/ctl/services"
INACTIVE = ("inactive", "success")


@pytest.fixture(scope="module")
def host(programs: Programs) -> Iterator[SystemdHost]:
    with SystemdHost([ROOT, programs.build_dir]) as host:
        host.write("/etc/ctl/ctl.toml", "")
        yield host


def define(host: SystemdHost, name: str, **definition: Mapping[str, Any]) -> None:
    host.write(f"{SERVICES}/{name}.toml", toml.dump(definition))


def unit(host: SystemdHost, name: str, **lines: str) -> str:
    """A unit that has ctl stop it. Its name."""
    lines = {"NotifyAccess": "exec", "ExecStop": f"{CTL} stop {name}", **lines}
    text = "[Service]\n" + "".join(f"{key}={value}\n" for key, value in lines.items())
    host.unit(f"{name}.service", text)
    return f"{name}.service"


def command(programs: Programs, name: str, *args: object) -> str:
    return " ".join(programs(name, *args))


def start(host: SystemdHost, service: str) -> int:
    """Starts it and waits until its program listens to signals. Its main process."""
    host.systemctl("start", service)
    wait_until(lambda: "ready (pid:" in host.journal(service) or state(host, service)[0] == "failed", "it is ready")
    assert state(host, service)[0] == "active", host.journal(service)
    return host.main_pid(service)


def state(host: SystemdHost, name: str) -> tuple[str, str]:
    shown = host.properties(name)
    return shown["ActiveState"], shown["Result"]


@pytest.mark.parametrize("known_by", ["unit", "rule"])
@pytest.mark.parametrize("kind", ["simple", "exec", "forking", "notify"])
def test_ctl_ends_it_and_systemd_sends_nothing(host: SystemdHost, programs: Programs, kind: str, known_by: str) -> None:
    """Each is deaf to TERM; whoever had sent KILL but ctl, the unit would have failed."""
    name = f"{kind}-by-{known_by}"
    pid_file = f"/run/{name}.pid"
    forker = command(programs, "forker", "--pidfile", pid_file, "--ignore-term")
    notifier = "trap '' TERM; echo 'ready (pid:'; systemd-notify --ready; while :; do sleep 9; done"
    lines, rule = {
        "simple": ({"ExecStart": command(programs, "ignorer", name)}, f"ignorer.* {name}$"),
        "exec": ({"ExecStart": command(programs, "ignorer", name)}, f"ignorer.* {name}$"),
        "forking": ({"ExecStart": forker, "PIDFile": pid_file}, f"forker.* {pid_file} "),
        "notify": (
            {"ExecStart": f'/bin/sh -c "{notifier}" {name}', "NotifyAccess": "all"},
            f"--ready.* {name}$",
        ),
    }[kind]
    stopping: dict[str, Any] = {"stop": {"schedule": "TERM/0.2/KILL/5"}}
    if known_by == "rule":
        stopping["match"] = {"cmdline": rule}
    define(host, name, **stopping)
    service = unit(host, name, Type=kind, **lines)
    main = start(host, service)
    host.systemctl("stop", service)
    assert (state(host, service), host.processes(service)) == (INACTIVE, [])
    assert f"{name}: stopped, but only KILL ended it, pid {main}" in (journal := host.journal(service)), journal
    assert "Killing process" not in journal


def test_a_schedule_that_is_longer_than_systemd_waits_by_itself(host: SystemdHost, programs: Programs) -> None:
    define(host, "patient", stop={"schedule": "TERM/6/KILL/5"})
    service = unit(host, "patient", ExecStart=command(programs, "ignorer"), TimeoutStopSec="3")
    main = start(host, service)
    assert host.run("systemctl", "stop", "--no-block", service).returncode == 0
    wait_until(lambda: "TERM sent to" in host.properties(service).get("StatusText", ""), "ctl says what it waits for")
    assert host.properties(service)["StatusText"] == f"patient: TERM sent to pid {main}, at most 6 s, then KILL"
    host.systemctl("stop", service)  # joins the job that is under way
    assert state(host, service) == INACTIVE
    journal = host.journal(service)
    assert "patient: stopped, but only KILL ended it" in journal
    assert "timed out" not in journal


def test_where_systemd_does_not_listen_it_ends_a_stop_at_its_own_timeout(host: SystemdHost, programs: Programs) -> None:
    """What the chapter on systemd warns of: without NotifyAccess= nobody can ask for more time."""
    define(host, "unheard", stop={"schedule": "TERM/60/KILL/5"})
    service = unit(host, "unheard", ExecStart=command(programs, "ignorer"), TimeoutStopSec="1", NotifyAccess="none")
    start(host, service)
    host.systemctl("stop", service)
    assert state(host, service) == ("failed", "timeout")
    assert "Killing process" in host.journal(service)


def test_a_script_that_calls_ctl_for_a_drain_that_is_longer_than_systemd_waits(
    host: SystemdHost, programs: Programs
) -> None:
    """What ctl may do as ExecStop=, it may do below it; systemd hears it with NotifyAccess=all."""
    script = host.write("/opt/stop.sh", f"#!/bin/sh\n{CTL} stop drained\nexit $?\n")
    script.chmod(0o755)
    hook = {"command": ["/bin/sh", "-c", "sleep 2"], "timeout": 30}
    drain = {"command": ["/bin/sh", "-c", "sleep 3"], "timeout": 30}
    define(host, "drained", stop={"schedule": "TERM/0.2/KILL/5", "before": [hook]}, drain=drain)
    service = unit(
        host, "drained", ExecStart=command(programs, "ignorer"), ExecStop="/opt/stop.sh", TimeoutStopSec="3",
        NotifyAccess="all",
    )  # fmt: skip
    start(host, service)
    host.systemctl("stop", service)
    journal = host.journal(service)
    assert (state(host, service), "timed out" in journal) == (INACTIVE, False)
    assert "drained: stopped, but only KILL ended it" in journal


def test_one_whose_process_has_ended_by_itself_has_nothing_to_stop(host: SystemdHost, programs: Programs) -> None:
    """MAINPID is unset then."""
    gate = "/tmp/ended.gate"
    assert host.run("mkfifo", gate).returncode == 0
    define(host, "ended", match={"cmdline": "read go <no such process"})
    service = unit(host, "ended", ExecStart=f"/bin/sh -c 'read go <{gate}; exit 0'")
    host.systemctl("start", service)
    host.path(gate).write_text("go")
    wait_until(lambda: state(host, service)[0] == "inactive", "it has ended")
    assert state(host, service) == INACTIVE
    assert "ended: already stopped" in host.journal(service)


def test_it_does_not_end_what_runs_outside_of_the_unit(host: SystemdHost, programs: Programs) -> None:
    """The unit's process has ended; the service was started again, by hand."""
    gate = "/tmp/elsewhere.gate"
    assert host.run("mkfifo", gate).returncode == 0
    define(host, "elsewhere", start={"command": programs("polite")}, ready={"settle": 0.05})
    service = unit(host, "elsewhere", ExecStart=f"/bin/sh -c 'read go <{gate}; exit 0'")
    host.systemctl("start", service)
    assert host.run(CTL, "start", "elsewhere").returncode == 0
    host.path(gate).write_text("go")
    wait_until(lambda: state(host, service)[0] == "inactive", "it has ended")
    assert state(host, service) == INACTIVE
    running = json.loads(host.run(CTL, "status", "elsewhere", "--json").stdout)["results"][0]
    assert running["state"] == "ready"
    assert f"runs as pid {running['pid']}, which is not of {service}: it is left alone" in host.journal(service)


def test_a_unit_does_not_wait_for_a_restart_by_hand(host: SystemdHost, programs: Programs) -> None:
    """The new process is not of the unit, and may take longer to become ready than anyone waits for a lock."""
    gate = "/tmp/restarted.gate"
    assert host.run("mkfifo", gate).returncode == 0
    start_by = {"command": programs("notifier", "--trigger", gate), "type": "notify"}
    define(host, "restarted", start=start_by, ready={"timeout": 600})
    service = unit(host, "restarted", Type="exec", ExecStart=f"{CTL} run restarted", NotifyAccess="all")
    start(host, service)
    assert host.run("sh", "-c", f"{CTL} restart restarted >/run/restarted.out 2>&1 &").returncode == 0
    wait_until(lambda: state(host, service)[0] == "inactive", "the unit has ended")
    assert state(host, service) == INACTIVE
    host.path(gate).write_text("go")
    wait_line(host.path("/run/restarted.out"), "restarted: started")
    assert host.run(CTL, "kill", "restarted").returncode == 0


def test_a_unit_with_another_process_is_refused(host: SystemdHost, programs: Programs) -> None:
    define(host, "another", start={"command": programs("polite")}, ready={"settle": 0.05})
    service = unit(host, "another", ExecStart=command(programs, "polite"))
    host.systemctl("start", service)
    assert host.run(CTL, "start", "another").returncode == 0
    host.run("systemctl", "stop", service)
    assert state(host, service) == ("failed", "exit-code")
    assert "status=152" in host.properties(service)["ExecStop"]
    assert host.run(CTL, "status", "another").returncode == 0


@pytest.mark.parametrize("known_by", ["unit", "rule"])
def test_a_main_pid_that_is_another_process_is_refused(host: SystemdHost, programs: Programs, known_by: str) -> None:
    """As where systemd was told a wrong one by MAINPID= or by a pid file, and its pid was handed out again."""
    name = f"forged-by-{known_by}"
    bystander = unit(host, f"{name}-bystander", ExecStart=command(programs, "recorder", f"/run/{name}"), ExecStop="")
    host.systemctl("start", bystander)
    wait_line(host.path(f"/run/{name}"), "ready (pid:")
    pid = host.main_pid(bystander)
    definition: dict[str, Any] = {"stop": {"schedule": "TERM/1/KILL/5"}}
    if known_by == "rule":
        definition["match"] = {"cmdline": f"polite.py {name}"}
    define(host, name, **definition)
    stop = f"/usr/bin/env MAINPID={pid} {CTL} stop {name}"
    # Its own process is there and is not the one that systemd is made to name.
    service = unit(host, name, ExecStart=command(programs, "polite"), ExecStop=stop)
    host.systemctl("start", service)
    host.run("systemctl", "stop", service)
    assert "status=152" in host.properties(service)["ExecStop"]
    assert f"MAINPID={pid}" in host.journal(service)
    assert host.main_pid(bystander) == pid
    assert "got" not in host.path(f"/run/{name}").read_text(), "it was signalled"


def test_a_ctl_that_has_not_become_the_service_yet_is_left_to_systemd(host: SystemdHost, programs: Programs) -> None:
    """`ctl run` before it has the lock; here one that waits stands for it."""
    define(host, "becoming", match={"cmdline": "no such process"})
    service = unit(host, "becoming", ExecStart=f"{CTL} wait becoming", SuccessExitStatus="143")
    host.systemctl("start", service)
    wait_until(lambda: f"{CTL.parent.parent}" in _argv(host, service), "it is ctl")
    host.systemctl("stop", service)
    assert "becoming: already stopped" in host.journal(service)
    assert state(host, service) == INACTIVE


def _argv(host: SystemdHost, service: str) -> str:
    return host.run("cat", f"/proc/{host.main_pid(service)}/cmdline").stdout


def test_a_unit_that_stops_services_at_shutdown_means_them_wherever_they_run(
    host: SystemdHost, programs: Programs
) -> None:
    define(host, "at-shutdown", start={"command": programs("polite")}, ready={"settle": 0.05})
    service = unit(host, "at-shutdown", Type="oneshot", RemainAfterExit="yes", ExecStart="/bin/true")
    host.systemctl("start", service)
    assert host.run(CTL, "start", "at-shutdown").returncode == 0
    host.systemctl("stop", service)
    assert state(host, service) == INACTIVE
    assert host.run(CTL, "status", "at-shutdown").returncode == 3


def test_a_bare_stop_of_a_unit_means_all(host: SystemdHost, programs: Programs) -> None:
    """By hand nobody can be asked there, so it does nothing; systemd has said what is meant by having the unit."""
    host.write("/etc/ctl-all/ctl.toml", 'run_dir = "/run/ctl-all"\nlog_dir = "/run/ctl-all/log"\n')
    definition = {"start": {"command": programs("polite")}, "ready": {"settle": 0.05}}
    host.write("/etc/ctl-all/services/one.toml", toml.dump(definition))
    service = unit(
        host, "bare", Type="oneshot", RemainAfterExit="yes", ExecStart="/bin/true", ExecStop=f"{CTL} stop",
        Environment="CTL_CONF=/etc/ctl-all",
    )  # fmt: skip
    host.systemctl("start", service)
    conf = ("--conf", "/etc/ctl-all")
    assert host.run(CTL, "start", "one", *conf).returncode == 0
    assert host.run(CTL, "stop", *conf).returncode == 2
    assert host.run(CTL, "status", "one", *conf).returncode == 0
    host.systemctl("stop", service)
    assert state(host, service) == INACTIVE
    assert host.run(CTL, "status", "one", *conf).returncode == 3


def test_reload_by_ctl(host: SystemdHost, programs: Programs) -> None:
    define(host, "reloading", reload={"signal": "HUP"}, stop={"schedule": "KILL/5"})
    service = unit(
        host, "reloading", ExecStart=command(programs, "recorder", "/run/reloading"),
        ExecReload=f"{CTL} reload reloading",
    )  # fmt: skip
    host.systemctl("start", service)
    wait_line(host.path("/run/reloading"), "ready (pid:")
    host.systemctl("reload", service)
    wait_line(host.path("/run/reloading"), "got HUP")
    host.systemctl("stop", service)
    assert state(host, service) == INACTIVE


def test_exec_stop_post_clears_what_a_crash_has_left(host: SystemdHost, programs: Programs) -> None:
    define(host, "crashed", start={"command": programs("polite")})
    service = unit(
        host, "crashed", Type="exec", ExecStart=f"{CTL} run crashed", ExecStopPost=f"{CTL} stop crashed", ExecStop=""
    )
    host.systemctl("start", service)
    main = host.main_pid(service)
    wait_file(host.path("/run/ctl/crashed.pid"))
    host.run("kill", "-KILL", str(main))
    wait_until(lambda: state(host, service)[0] == "failed", "systemd has noticed")
    assert state(host, service) == ("failed", "signal"), "a crash is a failure, whatever is cleaned up after it"
    status = host.run(CTL, "status", "crashed")
    assert (status.returncode, "ended by the signal KILL" in status.stdout) == (1, True), "it is told what became of it"
    assert json.loads(host.path("/run/ctl/crashed.json").read_text(encoding="utf-8"))["run"] is None


def test_a_notify_socket_that_was_merely_inherited_hears_nothing(host: SystemdHost, programs: Programs) -> None:
    """ctl called from the shell of a service: by its main process, or by hand within its surroundings."""
    define(host, "innocent", start={"command": programs("polite")}, ready={"settle": 0.05})
    script = (
        f"systemd-notify --status=mine; {CTL} start innocent; {CTL} stop innocent; touch /run/innocent.done; sleep 600"
    )
    service = unit(host, "busy", ExecStart=f"/bin/sh -c '{script}'", NotifyAccess="all", ExecStop="")
    host.systemctl("start", service)
    wait_until(host.path("/run/innocent.done").exists, "it has called ctl")
    assert host.properties(service)["StatusText"] == "mine"
    host.systemctl("stop", service)


def test_systemds_own_helper_is_no_process_of_the_service(host: SystemdHost, programs: Programs) -> None:
    """(sd-pam) has the main process for its parent, and closes the session once that has ended."""
    host.write("/etc/pam.d/ctl-test", "session required pam_permit.so\naccount required pam_permit.so\n")
    define(host, "pam", stop={"schedule": "KILL/5", "kill_mode": "tree"})
    service = unit(
        host, "pam", ExecStart=command(programs, "recorder"), PAMName="ctl-test", User="root",
        ExecStop=f"{CTL} stop --verbose pam",
    )  # fmt: skip
    main = start(host, service)
    others = set(host.processes(service)) - {main}
    assert [host.run("cat", f"/proc/{pid}/comm").stdout for pid in others] == ["(sd-pam)\n"]
    host.systemctl("stop", service)
    journal = host.journal(service)
    assert (state(host, service), host.processes(service)) == (INACTIVE, [])
    assert f"KILL to pid {main}" in journal
    assert [line for line in journal.splitlines() if " to pid " in line and f"pid {main} " not in line] == []


def test_what_the_service_has_put_into_another_unit_is_not_of_its_own(host: SystemdHost, programs: Programs) -> None:
    """As sshd does with a login: it descends from the main process, and systemd would not end it either."""
    guest = "guest.scope"
    define(host, "hosting", stop={"schedule": "KILL/5", "kill_mode": "tree"})
    script = f"systemd-run --scope --unit={guest} sleep 600 & sleep 600 & exec {command(programs, 'recorder')}"
    service = unit(host, "hosting", ExecStart=f"/bin/sh -c '{script}'", ExecStop=f"{CTL} stop --verbose hosting")
    start(host, service)
    wait_until(lambda: len(host.processes(guest)) == 1 and len(host.processes(service)) == 2, "each is in its unit")
    (main_and_child, others) = host.processes(service), host.processes(guest)
    host.systemctl("stop", service)
    assert (state(host, service), host.processes(guest)) == (INACTIVE, others)
    journal = host.journal(service)
    assert all(f"KILL to pid {pid}" in journal for pid in main_and_child), journal
    host.systemctl("stop", guest)


def test_a_unit_that_delegates_its_control_group(host: SystemdHost, programs: Programs) -> None:
    """systemd puts the control processes into a group of their own there."""
    define(host, "delegating", stop={"schedule": "TERM/0.2/KILL/5"})
    service = unit(host, "delegating", ExecStart=command(programs, "ignorer"), Delegate="yes")
    main = start(host, service)
    host.systemctl("stop", service)
    assert state(host, service) == INACTIVE
    assert f"delegating: stopped, but only KILL ended it, pid {main}" in host.journal(service)


def test_a_unit_of_another_user_is_stopped_by_root(host: SystemdHost, programs: Programs) -> None:
    define(host, "anothers", stop={"schedule": "TERM/0.2/KILL/5"})
    service = unit(
        host, "anothers", ExecStart=command(programs, "ignorer"), User="nobody", ProtectSystem="strict",
        ExecStop=f"+{CTL} stop anothers",
    )  # fmt: skip
    main = start(host, service)
    host.systemctl("stop", service)
    assert state(host, service) == INACTIVE
    assert f"anothers: stopped, but only KILL ended it, pid {main}" in host.journal(service)


def test_the_pid_that_systemd_fills_in_is_as_good_as_its_variable(host: SystemdHost, programs: Programs) -> None:
    define(host, "filled-in", stop={"schedule": "TERM/0.2/KILL/5"})
    service = unit(
        host, "filled-in", ExecStart=command(programs, "ignorer"), ExecStop=f"{CTL} stop filled-in --pid $MAINPID"
    )
    start(host, service)
    host.systemctl("stop", service)
    assert state(host, service) == INACTIVE


def test_ctl_run_is_ordered_by_readiness_with_a_wait_after_it(host: SystemdHost, programs: Programs, port: int) -> None:
    """What the service writes goes to systemd's journal then."""
    gate = "/tmp/running.gate"
    assert host.run("mkfifo", gate).returncode == 0
    define(
        host, "running", start={"command": programs("listener", "--gate", gate, "--port", port)},
        ready={"tcp": f"127.0.0.1:{port}"},
    )  # fmt: skip
    service = unit(
        host, "running", Type="exec", ExecStart=f"{CTL} run running",
        ExecStartPost=f"{CTL} wait running --for ready --timeout 60",
    )  # fmt: skip
    assert host.run("systemctl", "start", "--no-block", service).returncode == 0
    wait_until(lambda: "ready (pid:" in host.journal(service), "it runs")
    assert state(host, service)[0] == "activating"
    host.path(gate).write_text("go")
    host.systemctl("start", service)
    assert f"listening on {port}" in host.journal(service)
    host.systemctl("stop", service)
    assert state(host, service) == INACTIVE


def test_the_wait_after_ctl_run_ends_with_the_service(host: SystemdHost, programs: Programs, port: int) -> None:
    define(host, "dying", start={"command": ["/bin/sh", "-c", "sleep 1; exit 3"]}, ready={"tcp": f"127.0.0.1:{port}"})
    service = unit(
        host, "dying", Type="exec", ExecStart=f"{CTL} run dying", ExecStartPost=f"{CTL} wait dying --timeout 600"
    )
    assert host.run("systemctl", "start", service).returncode == 1
    assert (state(host, service), host.properties(service)["ExecMainStatus"]) == (("failed", "exit-code"), "3")
    assert f"the main process of {service} has ended" in host.journal(service)
