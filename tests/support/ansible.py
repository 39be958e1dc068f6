"""A real ansible-playbook on this host, with connection local and all that it writes in the sandbox."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from support.sandbox import CTL, ROOT, Sandbox

COLLECTION = ROOT / "conf" / "ansible"
CALLBACKS = Path(__file__).parent / "ansible_callbacks"
VENV = ROOT / ".venv" / "bin"
TIMEOUT = 120.0  # seconds, on a machine where everything else runs as well

Told = dict[str, Any]


def settings(home: Path, collections: Path) -> dict[str, str]:
    """The environment that leads Ansible nowhere but to these directories."""
    home.mkdir(parents=True, exist_ok=True)
    (home / "ansible.cfg").touch()
    return {
        "ANSIBLE_HOME": str(home),
        "ANSIBLE_LOCAL_TEMP": str(home / "local"),
        "ANSIBLE_REMOTE_TEMP": str(home / "remote"),
        "ANSIBLE_ASYNC_DIR": str(home / "async"),
        "ANSIBLE_GALAXY_CACHE_DIR": str(home / "galaxy"),
        "ANSIBLE_COLLECTIONS_PATH": str(collections),
        "ANSIBLE_CONFIG": str(home / "ansible.cfg"),  # an empty one, so that no other is looked for
        "ANSIBLE_LOCALHOST_WARNING": "0",
        "ANSIBLE_INVENTORY_UNPARSED_WARNING": "0",
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_PYTHON_INTERPRETER": os.path.realpath(
            sys.executable
        ),  # the host's own: nothing of ctl's venv is in it
    }


class Played:
    """What one playbook gave: each task's result by the task's name."""

    def __init__(self, rc: int, output: str, told: Sequence[Told]) -> None:
        self.rc, self.output = rc, output
        self.results: dict[str, Told] = {one["task"]: one["result"] | {"failed": one["failed"]} for one in told}

    def __getitem__(self, task: str) -> Told:
        assert task in self.results, f"no result of the task {task!r}:\n{self.output}"
        return self.results[task]


class Playbooks:
    """Runs playbooks against the services of a sandbox. A task without `ignore_errors` must go well."""

    def __init__(self, sandbox: Sandbox, collections: Path) -> None:
        self.sandbox = sandbox
        self.home = sandbox.tmp / "ansible"
        self.environment = sandbox.environment(settings(self.home, collections)) | {
            "ANSIBLE_CALLBACK_PLUGINS": str(CALLBACKS),
            "TOLD": str(sandbox.tmp / "told"),
        }

    def play(self, tasks: Sequence[Mapping[str, Any]], *options: str, env: Mapping[str, str] | None = None) -> Played:
        """Plays them to the end."""
        told = self.sandbox.tmp / "told"
        told.write_text("")
        play = {
            "hosts": "localhost",
            "connection": "local",
            "gather_facts": False,
            "module_defaults": {"group/ctl.services.all": {"executable": str(CTL)}},
            "tasks": list(tasks),
        }
        book = self.sandbox.tmp / "playbook.yml"
        book.write_text(json.dumps([play]))  # JSON is YAML
        process = self.sandbox.reaper.start(
            [VENV / "ansible-playbook", book, *options], env=self.environment | dict(env or {}), ready=None,
            stderr=subprocess.STDOUT, cwd=self.sandbox.root,
        )  # fmt: skip
        assert process.out is not None
        output = "\n".join(process.out.rest(TIMEOUT))
        rc = process.wait()
        return Played(rc, output, [json.loads(line) for line in told.read_text().splitlines()])


def task(name: str, /, *, module: str = "service", expect_failure: bool = False, **parameters: Any) -> Told:
    """One task of the collection."""
    one: Told = {"name": name, f"ctl.services.{module}": parameters}
    return one | ({"ignore_errors": True} if expect_failure else {})


def documented_keys(module: str) -> set[str]:
    """The keys of a service's result that the module's RETURN tells of."""
    source = (COLLECTION / "plugins" / "modules" / f"{module}.py").read_text(encoding="utf-8")
    (text,) = (
        ast.literal_eval(statement.value)
        for statement in ast.parse(source).body
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "RETURN"
    )
    return set(yaml.safe_load(text)["services"]["contains"])


def install(where: Path) -> Path:
    """Builds the collection and installs what was built. Returns the collections path."""
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(where), "LC_ALL": "C.UTF-8"}
    environment |= settings(where / "home", where / "collections")
    source = where / "source"
    shutil.copytree(COLLECTION, source, ignore=shutil.ignore_patterns("__pycache__"))

    def galaxy(*words: str | Path) -> None:
        done = subprocess.run(
            [VENV / "ansible-galaxy", "collection", *words],
            env=environment, check=False, capture_output=True, text=True, cwd=where, timeout=TIMEOUT,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr

    galaxy("build", source, "--output-path", where)
    (built,) = where.glob("ctl-services-*.tar.gz")
    galaxy("install", "--offline", built, "-p", where / "collections")
    return where / "collections"
