"""The unit, login or container that the path of a control group names."""

from __future__ import annotations

import pytest

from ctl.system.cgroups import ServiceUnit, container_of_paths, unit_of_path
from ctl.system.procfs import parse_cgroups

ID = "0123456789abcdef" * 4
SHORT = ID[:12]


@pytest.mark.parametrize(
    ("path", "unit"),
    [
        ("/system.slice/web.service", ServiceUnit("web.service")),
        ("/system.slice/web.service/.control", ServiceUnit("web.service")),
        ("/system.slice/system-web.slice/web@1.service", ServiceUnit("web@1.service")),
        ("/user.slice/user-1000.slice/session-4.scope", None),
        ("/user.slice/user-1000.slice/user@1000.service/init.scope", None),
        ("/user.slice/user-1000.slice/user@1000.service/app.slice/web.service", ServiceUnit("web.service", 1000)),
        ("/user.slice/user-1000.slice/user@1000.service", None),
        (f"/system.slice/docker-{ID}.scope", None),
        ("/", None),
        ("", None),
    ],
)
def test_units(path: str, unit: ServiceUnit | None) -> None:
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


@pytest.mark.parametrize(
    ("content", "unit"),
    [
        ("0::/system.slice/backup.service\n", "backup.service"),
        ("1:name=systemd:/system.slice/backup.service/sub\n0::/\n", "backup.service"),
        ("4:memory:/elsewhere.service\n0::/system.slice/backup.service\n", "backup.service"),
        ("0::/user.slice/user-0.slice/session-3.scope\n", None),
        ("0::/user.slice/user-7.slice/user@7.service/app.slice/term-1.scope\n", None),
        ("0::/\n", None),
        ("", None),
    ],
)
def test_the_hierarchy_of_systemd_tells_the_unit(content: str, unit: str | None) -> None:
    found = unit_of_path(next(iter(parse_cgroups(content.encode())), ""))
    assert (found and found.name) == unit
