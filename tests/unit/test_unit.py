"""A unit as systemctl shows it: spans, and the calls of ctl in it."""

from __future__ import annotations

import math

import pytest

from ctl.model.unit import Call, call_in, seconds_of, unit_from


@pytest.mark.parametrize(
    ("span", "seconds"),
    [
        ("infinity", math.inf),
        ("0", 0.0),
        ("1min 30s", 90.0),
        ("100ms", 0.1),
        ("2h 5min 1.5s", 7501.5),
        ("1d", 86400.0),
        ("1w 1us", 604800.000001),
    ],
)
def test_spans(span: str, seconds: float) -> None:
    assert seconds_of(span) == pytest.approx(seconds)


def called(argv: str) -> Call | None:
    line = f"{{ path=/x ; argv[]={argv} ; flags=ignore-failure privileged ; start_time=[n/a] ; pid=0 ; status=0/0 }}"
    return call_in("ExecStop", line)


@pytest.mark.parametrize(
    ("argv", "verb", "targets", "options"),
    [
        ("/opt/ctl/bin/ctl stop web", "stop", ("web",), {}),
        ("/opt/ctl/bin/ctl stop web db --grace 5 --json", "stop", ("web", "db"), {"--grace": "5", "--json": ""}),
        ("/opt/ctl/bin/ctl stop --conf=/etc/x web@1", "stop", ("web@1",), {"--conf": "/etc/x"}),
        ("/usr/bin/env A=b ctl run --run-dir /run/x web", "run", ("web",), {"--run-dir": "/run/x"}),
        ("/bin/sh -c /opt/ctl/bin/ctl stop web --schedule TERM/9/KILL/1; true", "stop", ("web",),
         {"--schedule": "TERM/9/KILL/1"}),
        ("/bin/sh -c 'ctl stop web || ctl kill web'", "stop", ("web",), {}),
        ("/bin/sh -c (ctl stop web) >/dev/null", "stop", ("web",), {}),
        ("/opt/ctl/bin/ctl stop", "stop", (), {}),
        ("/opt/ctl/bin/ctl stop $SERVICES", "stop", (), {}),
    ],
)  # fmt: skip
def test_calls(argv: str, verb: str, targets: tuple[str, ...], options: dict[str, str]) -> None:
    call = called(argv)
    assert call is not None
    assert (call.verb, call.targets, call.options, call.privileged) == (verb, targets, options, True)


@pytest.mark.parametrize(
    "argv", ["/usr/sbin/nginx -s stop", "/usr/bin/systemctl stop web", "/opt/ctl/bin/ctl", "ctl --help"]
)
def test_no_calls(argv: str) -> None:
    assert called(argv) is None


def test_what_is_not_said_is_as_systemd_has_it() -> None:
    unit = unit_from("web.service", {})
    assert (unit.name, unit.load, unit.kill_mode, unit.restart, unit.stop_timeout) == (
        "web.service", "not-found", "control-group", "no", math.inf,
    )  # fmt: skip
    shown = unit_from(
        "web.service", {"Environment": ['"A=b c" CTL_CONF=/etc/x'], "RuntimeDirectory": ["ctl web:alias"]}
    )
    assert shown.environment == {"A": "b c", "CTL_CONF": "/etc/x"}
    assert shown.runtime_directories == ("/run/ctl", "/run/web")
