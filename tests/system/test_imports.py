"""What a verb loads: nothing that it does not need, since start-up is most of what a quick verb takes."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any, Final

import pytest

from support.sandbox import ROOT, Sandbox

# As lib/ctl/__main__.py does it. psutil loads subprocess for itself, which says nothing of ctl: so it is loaded before.
_CALL: Final = """
import json, sys
sys.path += [sys.argv[1] + "/lib", *json.loads(sys.argv[2])]
import psutil
del sys.modules["subprocess"]
del sys.argv[:3]
sys.argv.insert(0, "ctl")
from ctl.shell.cli import main
code = main()
sys.stdout.flush()
print("loaded", code, *sorted(sys.modules))
"""
_THAT_SPAWN: Final = {"ctl.system.spawn", "ctl.system.hooks", "subprocess"}


def loaded_by(sandbox: Sandbox, *args: str, code: int = 0) -> set[str]:
    """The modules that are there after this call of ctl."""
    places = json.dumps([place for place in sys.path if place.endswith("site-packages")])
    argv = [sys.executable, "-I", "-S", "-c", _CALL, str(ROOT), places, *args]
    ran = subprocess.run(argv, env=sandbox.environment(), cwd=sandbox.root, capture_output=True, text=True, check=True)
    name, exit_code, *modules = ran.stdout.splitlines()[-1].split()
    assert (name, int(exit_code)) == ("loaded", code), ran.stdout + ran.stderr
    return set(modules)


@pytest.mark.parametrize(
    "ready", [{}, {"tcp": "127.0.0.1:9"}, {"http": "http://127.0.0.1:9/"}, {"command": ["/bin/true"]}],
    ids=["no probe", "tcp", "http", "command"],
)  # fmt: skip
def test_status_loads_nothing_that_spawns(sandbox: Sandbox, ready: dict[str, Any]) -> None:
    sandbox.service("web", "polite")
    sandbox.ctl("start", "web").expect(0)
    sandbox.service("web", "polite", ready=ready)
    modules = loaded_by(sandbox, "status", "web")
    assert "ctl.system.probe" in modules
    assert modules & _THAT_SPAWN == set()


def test_what_spawns_is_seen_to_be_loaded(sandbox: Sandbox) -> None:
    sandbox.service("web", "polite")
    assert loaded_by(sandbox, "start", "web") >= {"ctl.system.spawn", "subprocess"}
