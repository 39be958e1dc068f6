"""The role and the playbooks as they are written; what they do is seen in test_ansible_fleet.py."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]

from support.ansible import VENV, install, settings

pytestmark = pytest.mark.xdist_group("ansible_module")


class Installed:
    """The collection in a place of its own."""

    def __init__(self, where: Path) -> None:
        collections = install(where)
        self.root = collections / "ansible_collections/ctl/services"
        self.environment = settings(where / "home", collections) | {
            "PATH": f"{VENV}:/usr/bin:/bin", "HOME": str(where), "LC_ALL": "C.UTF-8", "NO_COLOR": "1",
        }  # fmt: skip

    def run(self, *argv: str) -> str:
        done = subprocess.run(
            [VENV / argv[0], *argv[1:]],
            env=self.environment, cwd=self.root, check=False, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def installed(session_dir: Path) -> Installed:
    where = session_dir / "ansible-playbooks"
    where.mkdir()
    return Installed(where)


def test_ansible_lint_finds_no_fault(installed: Installed) -> None:
    installed.run("ansible-lint", "--offline", "--profile", "production", "--strict", "roles", "playbooks")


def test_the_role_documents_the_defaults_that_it_has(installed: Installed) -> None:
    described = json.loads(installed.run("ansible-doc", "--type", "role", "--json", "ctl.services.ctl"))
    options = described["ctl.services.ctl"]["entry_points"]["main"]["options"]
    documented = {name: option["default"] for name, option in options.items() if "default" in option}
    assert documented == yaml.safe_load((installed.root / "roles/ctl/defaults/main.yml").read_text())
    assert {name for name, option in options.items() if option.get("required")} == {"ctl_package"}
