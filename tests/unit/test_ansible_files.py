"""The Ansible role carries copies: ansible-galaxy would install links as they are, leading to nowhere."""

from __future__ import annotations

import pytest

from support.sandbox import ROOT

_FILES = "conf/ansible/roles/ctl/files"


@pytest.mark.parametrize(
    ("original", "copy"),
    [
        (".lock/runtime.txt", "requirements.txt"),
        ("conf/systemd/ctl@.service", "ctl@.service"),
        ("conf/logrotate/ctl", "logrotate"),
    ],
)
def test_the_role_has_what_the_checkout_has(original: str, copy: str) -> None:
    mend = f"cp {original} {_FILES}/{copy}"
    assert (ROOT / original).read_bytes() == (ROOT / _FILES / copy).read_bytes(), mend
