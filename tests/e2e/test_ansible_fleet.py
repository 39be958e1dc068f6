"""Two hosts, managed by Ansible over ssh: installed, restarted one after the other, and stopped at once.

What a host does is looked at on that host itself, and not through Ansible.
"""

from __future__ import annotations

import json
import subprocess
import textwrap
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from support.fleet import NAMES, Fleet, Play, package, wheels
from support.programs import SOURCES
from support.sandbox import ROOT
from support.waiting import wait_until

pytestmark = [pytest.mark.systemd, pytest.mark.root, pytest.mark.xdist_group("ansible-fleet"), pytest.mark.timeout(300)]

# web is started by Ansible itself, becomes ready where the host says so, and soon dies where the host says so;
# ticker is run by systemd, as ctl@ticker.service; own by a unit of its own, which systemd starts without ctl.
DEFINITIONS = {
    "web.toml.j2": """
        description = "web on {{ inventory_hostname }}"
        [start]
        command = ["/bin/sh", "-c", "[ ! -e /run/web-dies ] || exec sleep 0.5; exec sleep infinity"]
        [ready]
        command = ["/usr/bin/test", "-e", "/run/web-may-start"]
        timeout = 3
    """,
    "ticker.toml": """
        [start]
        command = ["/usr/bin/python3", "-S", "-E", "PROGRAMS/recorder.py", "-"]
        [ready]
        log = "ready"
        [stop]
        schedule = "KILL/5"
    """,
    "own.toml": """
        match.cmdline = '^/usr/bin/sleep 86401$'
    """,
}
OWN = "[Service]\nExecStart=/usr/bin/sleep 86401\nExecStop=/opt/ctl/bin/ctl stop own\nRestart=always\nRestartSec=10ms\n"
ALL = ["web", "ticker", "own"]
UNITS = {"ticker": "ctl@ticker.service", "own": "own.service"}
ALWAYS = "[Service]\nRestart=always\nRestartSec=10ms\n"


class Installed(NamedTuple):
    """The hosts, and what was seen while they were made."""

    fleet: Fleet
    variables: dict[str, Any]  # of the role
    predicted: Play
    untouched: list[str]  # what a check run has left of ctl
    first: Play
    second: Play

    def status(self, host: str) -> dict[str, Any]:
        """What ctl says there, by service."""
        return {
            one["target"]: one
            for one in json.loads(self.fleet.hosts[host].run("ctl", "status", "--json").stdout)["results"]
        }

    def pids(self) -> dict[tuple[str, str], int | None]:
        """The main processes of all services, by host and service."""
        return {(name, target): one["pid"] for name in NAMES for target, one in self.status(name).items()}

    def with_all_running(self) -> dict[tuple[str, str], int | None]:
        for name in NAMES:
            self.fleet.run(name, "touch", "/run/web-may-start")
            self.fleet.run(name, "ctl", "start", "web")
            self.fleet.hosts[name].systemctl("start", *UNITS.values())
        pids = self.pids()
        assert all(pids.values())
        return pids

    def unit(self, host: str, target: str, prop: str) -> str:
        return self.fleet.hosts[host].properties(UNITS[target])[prop]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory, session_dir: Path) -> Iterator[Installed]:
    root = session_dir / "fleet"
    root.mkdir()
    definitions = root / "definitions"
    definitions.mkdir()
    for name, text in DEFINITIONS.items():
        (definitions / name).write_text(textwrap.dedent(text).replace("PROGRAMS", str(SOURCES)))
    variables = {
        "ctl_package": str(single_file(root / "ctl")),
        "ctl_definitions": [str(definitions / name) for name in DEFINITIONS],
        "ctl_enabled": ["ticker"],
    }
    with Fleet(root, [SOURCES]) as fleet:
        predicted = fleet.play("ctl.services.install", "--limit=beta", "--check", "--diff", **variables)
        untouched = _traces(fleet, "beta")
        first = fleet.play("ctl.services.install", **variables)
        second = fleet.play("ctl.services.install", "--diff", **variables)
        for host in fleet.hosts.values():
            host.unit("own.service", OWN)
        yield Installed(fleet, variables, predicted, untouched, first, second)


def single_file(at: Path) -> Path:
    subprocess.run([ROOT / "bin/build", "zipapp", at], check=True, capture_output=True)
    return at


def _traces(fleet: Fleet, name: str) -> list[str]:
    places = (
        "/opt/ctl",
        "/etc/ctl",
        "/run/ctl",
        "/var/log/ctl",
        "/usr/local/bin/ctl",
        "/etc/systemd/system/ctl@.service",
    )
    return [place for place in places if fleet.hosts[name].path(place).exists()]


def test_check_mode_predicts_and_touches_nothing(installed: Installed) -> None:
    assert installed.predicted.expect(0).told("beta", "changed") > 0
    assert '+description = "web on beta"' in installed.predicted.output
    assert installed.untouched == []


def test_the_second_time_changes_nothing(installed: Installed) -> None:
    for name in NAMES:
        assert installed.first.expect(0).told(name, "changed") > 0
        assert installed.second.expect(0).told(name, "changed") == 0
        assert installed.fleet.run(name, "ctl", "check") == "3 definitions, no errors"
        assert installed.status(name)["web"]["description"] == f"web on {name}"


def test_a_faulty_definition_replaces_nothing(installed: Installed, public_dir: Path) -> None:
    proposed = public_dir / "web.toml"
    proposed.write_text('start.command = ["/bin/true"]\nstop.schedule = "TREM/5"\n')
    variables = {**installed.variables, "ctl_definitions": [str(proposed)]}
    said = installed.fleet.play("ctl.services.install", "--limit=beta", **variables).expect(2).output
    assert "to fix: write TERM instead" in said
    assert installed.status("beta")["web"]["description"] == "web on beta"


def test_what_ansible_starts_outlives_its_session(installed: Installed) -> None:
    fleet = installed.fleet
    for name in NAMES:
        fleet.run(name, "touch", "/run/web-may-start")
        fleet.run(name, "ctl", "stop", "web")
    fleet.ansible("ansible", "all", "-m", "ctl.services.service", "-a", "name=web state=started").expect(0)
    began = installed.pids()
    cgroups = {name: fleet.hosts[name].path(f"/proc/{began[name, 'web']}/cgroup").read_text() for name in NAMES}
    assert all("/system.slice/ctl-web-" in cgroup for cgroup in cgroups.values()), "each has a scope of its own"
    fleet.hang_up()
    for name in NAMES:
        wait_until(partial(no_session, fleet, name), "logind has seen the session end")
        assert installed.status(name)["web"]["state"] == "ready"
    assert installed.pids() == began


def no_session(fleet: Fleet, name: str) -> bool:
    """None that is active: one in which a process is left is closing."""
    listed = fleet.run(name, "loginctl", "list-sessions", "--no-legend").splitlines()
    sessions = [line.split()[0] for line in listed]
    return "active" not in fleet.run(name, "loginctl", "show-session", "--property=State", *sessions)


def test_systemd_runs_what_is_enabled(installed: Installed) -> None:
    before = installed.with_all_running()
    for name in NAMES:
        assert installed.unit(name, "ticker", "UnitFileState") == "enabled"
        installed.fleet.run(name, "systemctl", "restart", "ctl@ticker")
        now = installed.status(name)["ticker"]
        assert now["state"] == "ready"
        assert now["pid"] != before[name, "ticker"]
        assert installed.unit(name, "ticker", "MainPID") == str(now["pid"])


def test_a_rolling_restart_leaves_each_service_with_whom_it_had(installed: Installed) -> None:
    before = installed.with_all_running()
    installed.fleet.play("ctl.services.rolling_restart", ctl_names=ALL, ctl_settle=0).expect(0)
    after = installed.pids()
    assert not set(after.values()) & set(before.values())
    for name in NAMES:
        for target in UNITS:
            assert installed.unit(name, target, "MainPID") == str(after[name, target])
            assert installed.unit(name, target, "ActiveState") == "active"


def test_a_rolling_restart_ends_at_the_first_host_that_fails(installed: Installed) -> None:
    before = installed.with_all_running()
    installed.fleet.run("alpha", "rm", "/run/web-may-start")
    failed = installed.fleet.play("ctl.services.rolling_restart", ctl_names="web", ctl_settle=0).expect(2)
    assert "web: was not ready within 3 s" in failed.output
    after = installed.pids()
    assert after["alpha", "web"] is None
    assert after["beta", "web"] == before["beta", "web"]


def test_a_rolling_restart_ends_where_a_service_does_not_last(installed: Installed) -> None:
    before = installed.with_all_running()
    installed.fleet.run("alpha", "touch", "/run/web-dies")
    try:
        installed.fleet.play("ctl.services.rolling_restart", ctl_names="web", ctl_settle=1).expect(2)
    finally:
        installed.fleet.run("alpha", "rm", "/run/web-dies")
    assert installed.pids()["beta", "web"] == before["beta", "web"]


@pytest.mark.parametrize("fault", ["no definition", "not reachable"])
def test_a_rolling_restart_that_cannot_be_done_everywhere_is_not_begun(installed: Installed, fault: str) -> None:
    before = installed.with_all_running()
    fleet = installed.fleet
    if fault == "not reachable":
        play = fleet.play("ctl.services.rolling_restart", "-i", fleet.with_lost_host(), ctl_names="web", ctl_settle=0)
        assert play.told("lost", "unreachable") == 1
    else:
        fleet.run("beta", "mv", "/etc/ctl/services/web.toml", "/run/web.toml")
        try:
            play = fleet.play("ctl.services.rolling_restart", ctl_names="web", ctl_settle=0)
        finally:
            fleet.run("beta", "mv", "/run/web.toml", "/etc/ctl/services/web.toml")
        assert "web: no such service" in play.output
    assert play.rc != 0
    assert installed.pids() == before


def test_an_emergency_kill_needs_a_word(installed: Installed) -> None:
    before = installed.with_all_running()
    assert "nothing was done" in installed.fleet.play("ctl.services.emergency_kill", ctl_names="web").expect(2).output
    assert installed.pids() == before


def test_an_emergency_kill_reaches_all_who_can_be_reached_and_holds(installed: Installed) -> None:
    """Restart=always would bring two of them back."""
    fleet = installed.fleet
    fleet.hosts["beta"].unit("ctl@ticker.service.d/always.conf", ALWAYS)
    before = installed.with_all_running()
    play = fleet.play("ctl.services.emergency_kill", "-i", fleet.with_lost_host(), ctl_names=ALL, ctl_confirm="kill")
    assert play.rc != 0
    assert "lost: cannot be reached: nothing is known of it" in play.output
    for (name, target), pid in before.items():
        assert f"{name}: {target}: killed pid {pid}" in play.output
    assert not any(installed.pids().values())
    assert [play.told(name, "failed") for name in NAMES] == [0, 0]
    for name in NAMES:
        for target in UNITS:
            assert installed.unit(name, target, "ActiveState") in {"inactive", "failed"}


def test_a_new_release_takes_over_in_one_step_and_leaves_services_alone(installed: Installed, public_dir: Path) -> None:
    """From the single file to a virtual environment, which is made without a package index."""
    fleet = installed.fleet
    before, old = installed.with_all_running(), fleet.run("alpha", "readlink", "-f", "/opt/ctl/bin")
    new = {"ctl_package": str(package(public_dir)), "ctl_wheelhouse": str(wheels(public_dir / "wheels.tar"))}
    for changed in (True, False):
        play = fleet.play("ctl.services.install", "--limit=alpha", **new).expect(0)
        assert bool(play.told("alpha", "changed")) == changed
    now = fleet.run("alpha", "readlink", "-f", "/opt/ctl/bin")
    assert {f"{now}/ctl", f"{old}/ctl"} == {*fleet.run("alpha", "sh", "-c", "ls /opt/ctl/releases/*/bin/ctl").split()}
    assert installed.pids() == before
    fleet.run("alpha", "runuser", "-u", "nobody", "--", "ctl", "--version")
