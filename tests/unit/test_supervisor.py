"""Whether a supervisor undoes what ctl did, and whom a control group belongs to."""

from __future__ import annotations

import pytest

from ctl.model.supervisor import Supervisor, restarts, undoing
from ctl.system.supervisor import Unit, container_of_paths, unit_of_path

ID = "0123456789abcdef" * 4
SHORT = ID[:12]


@pytest.mark.parametrize(
    ("setting", "gently", "killed"),
    [
        ("no", False, False),
        ("always", True, True),
        ("on-success", None, False),
        ("on-failure", None, True),
        ("on-abnormal", False, True),
        ("on-abort", False, True),
        ("on-watchdog", False, False),
    ],
)
def test_restart(setting: str, gently: bool | None, killed: bool) -> None:
    """The table of systemd.service(5), for an end by TERM and one by KILL."""
    assert restarts(setting, killed=False) is gently
    assert restarts(setting, killed=True) is killed


def test_a_pause_is_undone_by_a_watchdog_alone() -> None:
    assert undoing("always", "infinity", "pause") == (False, "WatchdogSec=infinity")
    assert undoing("no", "30s", "pause") == (True, "WatchdogSec=30s")


@pytest.mark.parametrize(
    ("command", "restarting"),
    [
        (("systemd", "systemctl stop stop.service"), "systemctl restart stop.service"),
        (("systemd", "systemctl --user stop web.service"), "systemctl --user restart web.service"),
        (("runit", "sv down /etc/sv/web"), "sv restart /etc/sv/web"),
        (("runit", "sv down /etc/sv/web && ctl stop web"), "sv down /etc/sv/web && ctl stop web && sv up /etc/sv/web"),
        (("s6", "s6-svc -d /run/service/web"), "s6-svc -r /run/service/web"),
        (("supervisord", "supervisorctl -c /x stop web"), "supervisorctl -c /x restart web"),
        (("docker", "docker stop 0123"), "docker restart 0123"),
    ],
)
def test_what_restarts_it_in_their_own_way(command: tuple[str, str], restarting: str) -> None:
    kind, stops = command
    assert Supervisor(kind=kind, name="web", command=stops).restarting_command == restarting


@pytest.mark.parametrize(
    ("path", "unit"),
    [
        ("/system.slice/web.service", Unit("web.service")),
        ("/system.slice/web.service/.control", Unit("web.service")),
        ("/system.slice/system-web.slice/web@1.service", Unit("web@1.service")),
        ("/user.slice/user-1000.slice/session-4.scope", None),
        ("/user.slice/user-1000.slice/user@1000.service/init.scope", None),
        ("/user.slice/user-1000.slice/user@1000.service/app.slice/web.service", Unit("web.service", 1000)),
        ("/user.slice/user-1000.slice/user@1000.service", None),
        (f"/system.slice/docker-{ID}.scope", None),
        ("/", None),
        ("", None),
    ],
)
def test_units(path: str, unit: Unit | None) -> None:
    assert unit_of_path(path) == unit


@pytest.mark.parametrize(
    ("path", "runtime"),
    [
        (f"/docker/{ID}", "docker"),
        (f"/system.slice/docker-{ID}.scope", "docker"),
        (f"/system.slice/docker-{ID}.scope/init.scope", "docker"),
        (f"/machine.slice/libpod-{ID}.scope", "podman"),
        (f"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope/container", "podman"),
        (f"/kubepods/burstable/pod7f0c/{ID}", "kubernetes"),
        (f"/kubepods.slice/kubepods-pod7f0c.slice/cri-containerd-{ID}.scope", "kubernetes"),
        (f"/kubepods.slice/kubepods-pod7f0c.slice/crio-{ID}.scope", "kubernetes"),
        (f"/system.slice/containerd.service/default:{ID}", "container"),
    ],
)
def test_containers(path: str, runtime: str) -> None:
    assert container_of_paths([path]) == (runtime, SHORT)


@pytest.mark.parametrize("path", ["/", "/system.slice/web.service", "/docker/short", f"/{ID[:63]}", f"/{ID[:-1]}g"])
def test_no_containers(path: str) -> None:
    assert container_of_paths([path]) is None
