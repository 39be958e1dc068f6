"""Services of ctl as units of systemd: ctl@.service as it is shipped, on a host of its own."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from support import toml
from support.programs import Programs
from support.sandbox import ROOT
from support.systemd_host import SystemdHost
from support.waiting import wait_file, wait_line, wait_until

pytestmark = [pytest.mark.systemd, pytest.mark.xdist_group("systemd_units")]

CTL = "/opt/ctl/bin/ctl"
RUN, LOG, SERVICES = "/run/ctl", "/var/log/ctl", "/etc/ctl/services"
INACTIVE = ("inactive", "success")


@pytest.fixture(scope="module")
def host(programs: Programs) -> Iterator[SystemdHost]:
    """With ctl where the unit expects it."""
    with SystemdHost([ROOT, programs.build_dir]) as host:
        assert host.run("ln", "-s", ROOT, "/opt/ctl").returncode == 0
        host.write("/etc/ctl/ctl.toml", "")
        host.unit("ctl@.service", (ROOT / "conf/systemd/ctl@.service").read_text(encoding="utf-8"))
        yield host


class Services:
    """What the tests define in there."""

    def __init__(self, host: SystemdHost, programs: Programs) -> None:
        self.host, self.programs = host, programs

    def define(self, name: str, program: str, *args: object, **tables: Mapping[str, Any]) -> str:
        """A test program as a service. The name of its unit."""
        definition: dict[str, Any] = {
            "start": {"command": self.programs(program, *args)},
            "ready": {"settle": 0.05},
            "stop": {"schedule": "TERM/20/KILL/5"},
        }
        for table, settings in tables.items():
            definition[table] = settings if table == "ready" else {**definition.get(table, {}), **settings}
        self.host.write(f"{SERVICES}/{name}.toml", toml.dump(definition))
        instance = name.replace("@", "@1") if name.endswith("@") else name
        return f"ctl@{instance}.service"

    def ctl(self, *args: str) -> subprocess.CompletedProcess[str]:
        return self.host.run(CTL, *args)

    def status(self, target: str) -> dict[str, Any]:
        status: dict[str, Any] = json.loads(self.ctl("status", target, "--json").stdout)["results"][0]
        return status

    def state(self, unit: str) -> tuple[str, str]:
        shown = self.host.properties(unit)
        return shown["ActiveState"], shown["Result"]

    def settled(self, unit: str, *states: str) -> None:
        """Waits for what systemd does by itself."""
        wait_until(lambda: self.host.properties(unit)["ActiveState"] in states, f"{unit} is {' or '.join(states)}")


@pytest.fixture
def services(host: SystemdHost, programs: Programs) -> Services:
    return Services(host, programs)


def test_its_whole_life(host: SystemdHost, services: Services) -> None:
    unit = services.define("life", "tree", 1, 2)
    host.systemctl("start", unit)
    main = host.main_pid(unit)
    status = services.status("life")
    assert (status["pid"], status["state"], services.state(unit)[0]) == (main, "ready", "active")
    assert main in host.processes(unit)
    assert "ready; ctl logs life shows its output" in host.properties(unit).get("StatusText", "")
    assert f"ready (pid: {main})" in services.ctl("logs", "life").stdout

    host.systemctl("restart", unit)
    second = host.main_pid(unit)
    assert second != main
    host.run("systemctl", "daemon-reload")
    host.run("systemctl", "daemon-reexec")
    assert host.main_pid(unit) == second

    host.systemctl("stop", unit)
    assert services.state(unit) == INACTIVE
    assert host.processes(unit) == []
    assert json.loads(host.path(f"{RUN}/life.json").read_text(encoding="utf-8"))["run"] is None
    assert f"life: stopped, pid {second}" in host.journal(unit)
    assert services.ctl("status", "life").returncode == 3


def test_it_is_enabled_like_any_other(host: SystemdHost, services: Services) -> None:
    unit = services.define("enabled", "polite")
    host.systemctl("enable", "--now", unit)
    assert host.run("systemctl", "is-enabled", unit).stdout == "enabled\n"
    assert host.main_pid(unit) == services.status("enabled")["pid"]
    host.systemctl("disable", "--now", unit)
    assert services.state(unit) == INACTIVE


def test_a_drop_in_leads_elsewhere(host: SystemdHost, services: Services) -> None:
    """The one that the unit's own comment shows."""
    shipped = (ROOT / "conf/systemd/ctl@.service").read_text(encoding="utf-8")
    shown = re.search(r"^#     (\[Service\]\n(?:#     .*\n)+)", shipped, re.MULTILINE)
    assert shown is not None
    unit = services.define("abroad", "polite")
    host.path(f"{SERVICES}/abroad.toml").rename(host.write("/srv/ctl/conf/services/abroad.toml", ""))
    host.write("/srv/ctl/conf/ctl.toml", "")
    host.unit(f"{unit}.d/override.conf", shown[1].replace("#     ", ""))
    host.systemctl("start", unit)
    assert host.path("/srv/ctl/run/abroad.pid").read_text() == f"{host.main_pid(unit)}\n"
    host.systemctl("stop", unit)
    assert services.state(unit) == INACTIVE


def test_an_instance_of_a_template(host: SystemdHost, services: Services) -> None:
    services.define("worker@", "recorder", "-", "--id", "{instance}", match={"cmdline": "--id {instance}$"})
    units = ["ctl@worker@1.service", "ctl@worker@10.service"]
    host.systemctl("start", *units)
    other = host.main_pid(units[1])
    host.systemctl("kill", "--signal=KILL", units[0])
    services.settled(units[0], "failed")
    host.systemctl("stop", units[0])
    assert (services.status("worker@10")["pid"], host.main_pid(units[1])) == (other, other)
    services.ctl("kill", "worker@10")


@pytest.mark.parametrize("kind", ["http", "log", "notify", "forking"])
def test_started_means_ready(host: SystemdHost, services: Services, port: int, kind: str) -> None:
    gate, name = Path(f"/tmp/{kind}.gate"), f"ready-{kind}"
    assert host.run("mkfifo", gate).returncode == 0
    listener = ("listener", "--gate", gate, "--port", port)
    if kind == "http":
        unit = services.define(name, *listener, ready={"http": f"http://127.0.0.1:{port}/"})
    elif kind == "log":
        unit = services.define(name, *listener, ready={"log": "^listening on "})
    elif kind == "notify":
        unit = services.define(name, "notifier", "--trigger", gate, start={"type": "notify"}, ready={})
    else:
        pid_file = f"/run/{name}.pid"
        command = ["/bin/sh", "-c", f'read go <{gate}; exec "$@"', "sh"]
        command += services.programs("forker", "--pidfile", pid_file)
        start = {"command": command, "type": "forking"}
        unit = services.define(name, "forker", start=start, stop={"pid_file": pid_file})

    assert host.run("systemctl", "start", "--no-block", unit).returncode == 0
    wait_until(lambda: f"{name}: " in host.properties(unit).get("StatusText", ""), "ctl says what it waits for")
    assert services.state(unit)[0] == "activating"
    host.path(gate).write_text("go")
    host.systemctl("start", unit)  # joins the job that is under way
    assert services.state(unit)[0] == "active"
    assert host.main_pid(unit) == services.status(name)["pid"]
    host.systemctl("stop", unit)
    assert (services.state(unit), host.processes(unit)) == (INACTIVE, [])


def test_becoming_ready_may_take_longer_than_systemd_waits_by_itself(host: SystemdHost, services: Services) -> None:
    unit = services.define("late", "notifier", "--delay", 5, start={"type": "notify"}, ready={"timeout": 60})
    host.unit(f"{unit}.d/short.conf", "[Service]\nTimeoutStartSec=3\n")
    host.systemctl("start", unit)
    assert services.state(unit)[0] == "active"
    host.systemctl("stop", unit)


@pytest.mark.parametrize(
    ("program", "ready", "said"),
    [
        (("crash", 3), {"settle": 5}, "fatal: cannot go on"),
        (("never_ready",), {"log": "^never", "timeout": 0.5}, "waiting for a database"),
    ],
    ids=["dies", "never ready"],
)
def test_a_start_that_fails_is_a_failure_and_leaves_nothing(
    host: SystemdHost, services: Services, program: tuple[object, ...], ready: dict[str, Any], said: str
) -> None:
    name = f"bad-{program[0]}".replace("_", "-")
    unit = services.define(name, *map(str, program), ready=ready)
    assert host.run("systemctl", "start", unit).returncode == 1
    shown = host.properties(unit)
    assert (shown["ActiveState"], shown["Result"], host.processes(unit)) == ("failed", "exit-code", [])
    assert "status=151" in shown["ExecStart"]
    assert said in (journal := host.journal(unit)), journal


def test_a_crash_is_a_failure_that_restart_acts_on(host: SystemdHost, services: Services) -> None:
    unit = services.define("crash", "polite")
    host.systemctl("start", unit)
    host.run("kill", "-KILL", str(host.main_pid(unit)))
    services.settled(unit, "failed")
    assert services.state(unit) == ("failed", "signal")

    host.unit(f"{unit}.d/restart.conf", "[Service]\nRestart=on-failure\nRestartSec=0\n")
    host.systemctl("start", unit)
    first = host.main_pid(unit)
    host.run("kill", "-KILL", str(first))
    wait_until(
        lambda: services.state(unit)[0] == "active" and host.main_pid(unit) not in (0, first), "it was started again"
    )
    assert services.status("crash")["pid"] == host.main_pid(unit)
    host.systemctl("stop", unit)
    assert services.state(unit) == INACTIVE


@pytest.mark.parametrize("is_cleared", [False, True], ids=["asked", "ExecStopPost"])
def test_how_it_ended_is_known_from_systemd(host: SystemdHost, services: Services, is_cleared: bool) -> None:
    """By what systemd tells of it later, or in ExecStopPost=, which also clears the record."""
    name = "cleared" if is_cleared else "asked"
    unit = services.define(name, "polite", 3)
    if is_cleared:
        host.unit(f"{unit}.d/clear.conf", f"[Service]\nExecStopPost={CTL} stop {name}\n")
    host.systemctl("start", unit)
    main = host.main_pid(unit)
    host.run("kill", "-TERM", str(main))
    services.settled(unit, "failed")
    found = services.status(name)
    assert (found["state"], found["wanted"]["state"]) == ("crashed", "up")
    end = found["last_end"]
    assert (end["pid"], end["how"], end["status"], end["by"]) == (main, "exited", 3, "itself")
    assert "exited with status 3" in services.ctl("status", name).stdout
    assert services.ctl("status").returncode == 1
    services.ctl("stop", name)
    events = [json.loads(line) for line in services.ctl("events", name, "--json").stdout.splitlines()]
    told = [event for document in events for event in document["results"] if event["event"] == "crashed"]
    assert [event["pid"] for event in told] == [main], "once"
    found = services.status(name)
    assert (found["state"], found["last_end"]["status"]) == ("stopped", 3)


@pytest.mark.parametrize(
    ("program", "arguments"), [("polite", (143,)), ("polite", (1,)), ("ignorer", ())], ids=["143", "1", "KILL"]
)
def test_what_ctl_has_stopped_is_a_success_however_it_ended(
    host: SystemdHost, services: Services, program: str, arguments: tuple[object, ...]
) -> None:
    name = "-".join(map(str, ("ends", program, *arguments)))
    unit = services.define(name, program, *arguments, stop={"schedule": "TERM/1/KILL/5" if not arguments else "30"})
    host.systemctl("start", unit)
    host.systemctl("stop", unit)
    assert services.state(unit) == INACTIVE
    assert host.run("systemctl", "is-failed", unit).stdout == "inactive\n"


def test_a_stop_that_ctl_could_not_complete_is_none(host: SystemdHost, services: Services) -> None:
    """Then systemd ends what is left, and says so."""
    unit = services.define("unended", "ignorer", stop={"schedule": "TERM/0.2"})
    host.unit(f"{unit}.d/short.conf", "[Service]\nTimeoutStopSec=2\n")
    host.systemctl("start", unit)
    host.systemctl("stop", unit)
    assert services.state(unit)[0] == "failed"
    assert "still alive after the whole schedule" in host.journal(unit)
    assert host.processes(unit) == []


def test_two_are_stopped_side_by_side(host: SystemdHost, services: Services) -> None:
    units = [services.define(f"slow-{number}", "slow_stop", 1) for number in (1, 2)]
    host.systemctl("start", *units)
    host.systemctl("stop", *units)
    assert [services.state(unit) for unit in units] == [INACTIVE] * 2
    lines = host.run("journalctl", "--no-pager", "-o", "cat", *(f"--unit={unit}" for unit in units)).stdout.splitlines()
    last_begun = max(index for index, line in enumerate(lines) if line.startswith("Stopping "))
    assert last_begun < min(index for index, line in enumerate(lines) if line.startswith("Stopped "))


def test_reload(host: SystemdHost, services: Services) -> None:
    ready = {"log": r"^ready \(pid"}
    unit = services.define("reload", "recorder", "-", ready=ready, reload={"signal": "HUP"})
    host.systemctl("start", unit)
    main = host.main_pid(unit)
    host.systemctl("reload", unit)
    wait_line(host.path(f"{LOG}/reload.log"), "got HUP")
    assert (services.state(unit)[0], host.main_pid(unit)) == ("active", main)
    assert services.ctl("kill", "reload").returncode == 0

    unit = services.define("no-reload", "polite")
    host.systemctl("start", unit)
    assert host.run("systemctl", "reload", unit).returncode == 1
    assert services.state(unit)[0] == "active"
    host.systemctl("stop", unit)


def test_the_service_gets_nothing_that_was_systemds_word_to_ctl(host: SystemdHost, services: Services) -> None:
    unit = services.define("environment", "env_dump", "/run/environment.json")
    host.systemctl("start", unit)
    inherited = json.loads(wait_file(host.path("/run/environment.json")))["environ"]
    told = {"NOTIFY_SOCKET", "MAINPID", "PIDFILE", "INVOCATION_ID", "SYSTEMD_EXEC_PID", "JOURNAL_STREAM"}
    assert not told & {*inherited}
    services.ctl("kill", "environment")


def test_one_that_is_stopped_by_hand_stays_stopped(host: SystemdHost, services: Services) -> None:
    unit = services.define("by-hand", "polite")
    host.unit(f"{unit}.d/restart.conf", "[Service]\nRestart=on-failure\n")
    host.systemctl("start", unit)
    assert services.ctl("stop", "by-hand").returncode == 0
    services.settled(unit, "inactive")
    assert services.ctl("status", "by-hand").returncode == 3


def test_one_that_was_restarted_by_hand_runs_on_and_its_unit_finds_it_again(
    host: SystemdHost, services: Services
) -> None:
    """systemd follows the pid file to the new process, or takes the end of the old one for the end of the unit."""
    unit = services.define("moved", "polite")
    host.systemctl("start", unit)
    old = host.main_pid(unit)
    assert services.ctl("restart", "moved").returncode == 0
    wait_until(lambda: host.main_pid(unit) != old and not host.properties(unit).get("Job"), "the old one has ended")
    host.systemctl("start", unit)  # adopts it
    new = services.status("moved")["pid"]
    assert (host.main_pid(unit), new != old) == (new, True)
    host.systemctl("stop", unit)
    assert services.ctl("status", "moved").returncode == 3
    assert services.state(unit) == INACTIVE


def test_a_stop_while_it_is_starting_leaves_nothing(host: SystemdHost, services: Services) -> None:
    unit = services.define("unready", "never_ready", ready={"log": "^never", "timeout": 600})
    assert host.run("systemctl", "start", "--no-block", unit).returncode == 0
    wait_until(lambda: "unready: waiting" in host.properties(unit).get("StatusText", ""), "it is starting")
    host.systemctl("stop", unit)
    assert services.state(unit)[0] in ("inactive", "failed")
    assert host.processes(unit) == []
    assert services.ctl("status", "unready").returncode == 3


def test_a_users_own_systemd(host: SystemdHost, programs: Programs) -> None:
    """It keeps a helper of its own, (sd-pam), of which that user may see next to nothing."""
    home, uid = Path("/home/worker"), "4321"
    assert host.run("useradd", "--create-home", "--uid", uid, "worker").returncode == 0
    if (begun := host.run("systemctl", "start", f"user@{uid}.service")).returncode:
        pytest.skip(f"needs a systemd for a user: {begun.stderr}")
    definition = {
        "start": {"command": programs("ignorer")},
        "ready": {"log": r"^ready \(pid"},
        "stop": {"schedule": "TERM/0.2/KILL/5"},
    }
    host.write(home / "conf/ctl.toml", "")
    host.write(home / "conf/services/mine.toml", toml.dump(definition))
    units = home / ".config/systemd/user"
    host.write(units / "ctl@.service", (ROOT / "conf/systemd/ctl@.service").read_text(encoding="utf-8"))
    host.write(units / "ctl@mine.service.d/conf.conf", f"[Service]\nEnvironment=CTL_CONF={home}/conf\n")
    assert host.run("chown", "-R", "worker:", home).returncode == 0

    def systemctl(*arguments: str) -> subprocess.CompletedProcess[str]:
        as_user = ("setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups")
        return host.run(*as_user, "systemctl", "--user", *arguments, env={"XDG_RUNTIME_DIR": f"/run/user/{uid}"})

    for verb in ("daemon-reload", "start ctl@mine", "stop ctl@mine"):
        done = systemctl(*verb.split())
        assert done.returncode == 0, done.stderr + host.journal(f"user@{uid}.service")
    shown = systemctl("show", "--property=ActiveState,Result,ExecMainStatus", "ctl@mine").stdout.split()
    assert {"ActiveState=inactive", "Result=success"} <= {*shown}
