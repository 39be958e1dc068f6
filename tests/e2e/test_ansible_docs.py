"""What the collection says of itself: ansible-doc shows it, ansible-test and ansible-lint find nothing in it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Container
from pathlib import Path
from textwrap import indent
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from support.ansible import COLLECTION, TIMEOUT, VENV, settings
from support.sandbox import ROOT

MODULES = ("service", "service_info")
SANITY = Path(sysconfig.get_path("purelib")) / "ansible_test" / "_util" / "controller" / "sanity"
# Those that neither fetch anything nor need another version of Python.
TESTS = (
    "action-plugin-docs", "compile", "empty-init", "ignores", "line-endings", "no-assert", "no-get-exception",
    "no-illegal-filenames", "no-smart-quotes", "replace-urlopen", "shebang", "symlinks", "use-argspec-type-path",
    "use-compat-six",
)  # fmt: skip
FOUND = 3  # exit status of validate-modules
# No licence has been chosen for ctl.
ACCEPTED = {"missing-gplv3-license"}

pytestmark = pytest.mark.xdist_group("ansible_docs")


class Workshop:
    """A copy of the collection where Ansible's tools want it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.collection = root / "ansible_collections" / "ctl" / "services"
        shutil.copytree(COLLECTION, self.collection, ignore=shutil.ignore_patterns("__pycache__"))
        self.environment = {"PATH": f"{VENV}:/usr/bin:/bin", "HOME": str(root), "LC_ALL": "C.UTF-8"}
        self.environment |= settings(root / "home", root) | {"PYTHONDONTWRITEBYTECODE": "1"}

    def run(self, *argv: str | Path, codes: Container[int] = (0,)) -> str:
        """What it says on stdout. It must exit with one of these codes."""
        done = subprocess.run(
            argv, cwd=self.collection, env=self.environment, check=False, capture_output=True, text=True,
            timeout=TIMEOUT,
        )  # fmt: skip
        assert done.returncode in codes, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def workshop(session_dir: Path) -> Workshop:
    return Workshop(session_dir / "workshop")


@pytest.fixture(scope="module")
def documented(workshop: Workshop) -> dict[str, Any]:
    """What ansible-doc knows of each module."""
    names = [f"ctl.services.{name}" for name in MODULES]
    known: dict[str, Any] = json.loads(workshop.run(VENV / "ansible-doc", "--json", "-t", "module", *names))
    return known


def test_it_has_the_version_of_the_ctl_that_it_comes_with() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert yaml.safe_load((COLLECTION / "galaxy.yml").read_text(encoding="utf-8"))["version"] == project["version"]


def test_ansible_doc_shows_it_whole(documented: dict[str, Any]) -> None:
    service, info = (documented[f"ctl.services.{name}"] for name in MODULES)
    assert {"name", "state", "conf", "run_dir", "executable", "expect_pid"} <= service["doc"]["options"].keys()
    assert service["doc"]["attributes"]["check_mode"]["support"] == "full"
    assert service["doc"]["attributes"]["platform"]["platforms"] == "linux"
    assert service["return"]["services"]["contains"].keys() >= {"before", "after", "reason", "plan"}
    assert {"name", "explain", "conf"} <= info["doc"]["options"].keys()


def test_validate_modules_finds_nothing(workshop: Workshop) -> None:
    """Options as documented against those as declared, the documentation's own schema, fragments, versions."""
    modules = [f"plugins/modules/{name}.py" for name in MODULES]
    validate: list[str | Path] = [
        sys.executable,
        SANITY / "validate-modules" / "validate.py",
        "--format",
        "json",
        "--arg-spec",
    ]
    names = ["--collection", "ansible_collections/ctl/services", "--collection-version", "0.1.0"]
    reports = json.loads(workshop.run(*validate, *names, *modules, codes=(0, FOUND)))
    found = {
        (path, one["code"], one["msg"])
        for path, report in reports.items()
        for one in (*report["errors"], *report["warnings"])
        if one["code"] not in ACCEPTED
    }
    assert reports.keys() == set(modules)
    assert not found


def test_yamllint_and_runtime_metadata_of_ansible_test_find_nothing(workshop: Workshop) -> None:
    """ansible-test would fetch what they need; it is here."""
    files = ["galaxy.yml", "meta/runtime.yml", "plugins/doc_fragments/common.py"]
    files += [f"plugins/modules/{name}.py" for name in MODULES]
    assert json.loads(workshop.run(sys.executable, SANITY / "yamllint" / "yamllinter.py", *files)) == {"messages": []}
    assert not workshop.run(sys.executable, SANITY / "code-smell" / "runtime-metadata.py", "meta/runtime.yml")


def test_the_sanity_tests_that_need_no_network_find_nothing(workshop: Workshop) -> None:
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    chosen = [word for name in TESTS for word in ("--test", name)]
    workshop.run(VENV / "ansible-test", "sanity", "--python", python, *chosen)


def test_the_examples_use_options_and_values_that_there_are(documented: dict[str, Any]) -> None:
    for name in MODULES:
        for task in yaml.safe_load(documented[f"ctl.services.{name}"]["examples"]):
            for module in MODULES:
                options = documented[f"ctl.services.{module}"]["doc"]["options"]
                for option, value in (task.get(f"ctl.services.{module}") or {}).items():
                    assert option in options
                    assert value in options[option].get("choices", [value])


def test_the_examples_are_as_ansible_lint_would_have_them(workshop: Workshop, documented: dict[str, Any]) -> None:
    examples = workshop.root / "examples"
    examples.mkdir()
    for name in MODULES:
        tasks = indent(documented[f"ctl.services.{name}"]["examples"].strip(), "    ")
        play = f"---\n- name: Examples of {name}\n  hosts: all\n  gather_facts: false\n  tasks:\n{tasks}\n"
        (examples / f"{name}.yml").write_text(play, encoding="utf-8")
    lint: list[str | Path] = [
        VENV / "ansible-lint",
        "--offline",
        "--profile",
        "production",
        "--project-dir",
        examples,
        "--nocolor",
    ]
    workshop.run(*lint, *sorted(examples.glob("*.yml")))
