"""What of a host keeps ctl from working: those that this machine cannot be made to be."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ctl.model.diagnosis import ERROR, NOTE, WARNING, Finding, diagnosis, exit_code_of_all
from ctl.model.errors import CtlError
from ctl.model.outcome import Fault
from ctl.system.premises import Logins, Premises
from ctl.system.trust import Untrusted
from ctl.verbs.host_checks import check_logins, check_premises, refusal

SOUND = Premises(
    kernel="6.12.9-amd64", python="3.11.2", unique_inodes=True, proc={}, unified_cgroups=True, is_root=True,
    descriptors=-1, can_watch=True, identified=True,
)  # fmt: skip


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({}, []),
        ({"kernel": "5.2.21", "unique_inodes": False}, [("kernel", ERROR)]),
        ({"kernel": "4.18.0-553.el8_10.x86_64", "unique_inodes": False}, [("kernel", ERROR)]),
        ({"kernel": "5.3.0", "unique_inodes": False}, [("kernel", NOTE)]),
        ({"kernel": "6.8.12+deb13-amd64", "unique_inodes": False}, [("kernel", NOTE)]),
        ({"refused": CtlError("permission_denied", "a filter refuses it", fix="allow it")}, [("seccomp", ERROR)]),
        ({"identified": False}, [("boot-id", ERROR)]),
        ({"proc": {"hidepid": "off"}}, []),
        ({"proc": {"hidepid": "invisible"}}, [("hidepid", NOTE)]),
        ({"proc": {"hidepid": "2"}, "is_root": False}, [("hidepid", WARNING)]),
        ({"proc": {"hidepid": "2", "gid": "4"}, "is_root": False}, [("hidepid", NOTE)]),
        ({"proc": {"subset": "pid"}}, [("proc-subset", ERROR)]),
        ({"unified_cgroups": False}, [("no-cgroup-v2", NOTE)]),
        ({"descriptors": 1024}, [("open-files", WARNING)]),
        ({"descriptors": 1 << 20}, []),
        ({"can_watch": False}, [("inotify", WARNING)]),
    ],
)
def test_premises(given: dict[str, Any], found: list[tuple[str, str]]) -> None:
    findings = list(check_premises(SOUND._replace(**given), services=100))
    assert [(finding.id, finding.severity) for finding in findings] == found
    assert all(finding.fix and finding.where for finding in findings)


@pytest.mark.parametrize(
    ("logins", "user", "severity"),
    [
        (None, "anna", None),
        (Logins(False, (), ("root",)), "anna", None),
        (Logins(True, (), ("root",)), "anna", WARNING),
        (Logins(True, (), ("root",)), "root", NOTE),
        (Logins(True, (), ()), "root", NOTE),
        (Logins(True, ("otto",), ()), "anna", NOTE),
        (Logins(True, ("otto",), ()), "otto", WARNING),
    ],
)
def test_logins(logins: Logins | None, user: str, severity: str | None) -> None:
    assert [finding.severity for finding in check_logins(logins, user)] == ([severity] if severity else [])


def test_a_refusal_keeps_its_fix() -> None:
    error = Untrusted("bad_config", "/etc/ctl can be written by everyone", where="--conf", fix="chmod o-w '/etc/ctl'")
    found = refusal(error)
    assert (found.id, found.what, found.where, found.fix) == (
        "conf-writable", "/etc/ctl can be written by everyone", "--conf", "chmod o-w '/etc/ctl'",
    )  # fmt: skip
    other = refusal(CtlError("bad_config", "/x is not a directory", where="--conf", fix="mkdir /x"))
    assert (other.id, other.fix) == ("configuration", "mkdir /x")


def test_the_old_name_of_a_fix_says_the_same() -> None:
    for fix in ("chmod o-w /etc/ctl", None):
        finding = Finding(id="x", severity=NOTE, what="y", fix=fix)
        assert msgspec.to_builtins(finding)["mend"] == msgspec.to_builtins(finding)["fix"] == fix


def test_exit_codes() -> None:
    def one(*severities: Any, denied: bool = False) -> Any:
        findings = [Finding(id="x", severity=severity, what=f"{severity}") for severity in severities]
        errors = [Fault(reason="permission_denied", what="may not be read")] if denied else []
        return diagnosis("service", "web", {}, findings, errors)

    assert exit_code_of_all([]) == exit_code_of_all([one(), one(NOTE)]) == 0
    assert exit_code_of_all([one(NOTE), one(WARNING)]) == exit_code_of_all([one(ERROR)]) == 1
    assert exit_code_of_all([one(denied=True), one()]) == 4
    assert exit_code_of_all([one(denied=True), one(ERROR)]) == 1
    assert [finding.severity for finding in one(NOTE, ERROR, WARNING).findings] == [ERROR, WARNING, NOTE]
    assert (one(NOTE).ok, one(WARNING).ok, one(denied=True).ok) == (True, False, False)
