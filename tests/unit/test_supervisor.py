"""Whether a supervisor undoes what ctl did."""

from __future__ import annotations

import pytest

from ctl.model.supervisor import Supervisor, restarts, undoing


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
