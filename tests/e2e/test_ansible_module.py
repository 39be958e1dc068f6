"""The collection's modules, as a playbook uses them, on services of the sandbox."""

from __future__ import annotations

from pathlib import Path

import pytest

from support import proc
from support.ansible import Playbooks, install, task
from support.sandbox import Sandbox

pytestmark = pytest.mark.xdist_group("ansible_module")


@pytest.fixture(scope="module")
def collections(session_dir: Path) -> Path:
    where = session_dir / "ansible"
    where.mkdir()
    return install(where)


@pytest.fixture
def playbooks(sandbox: Sandbox, collections: Path) -> Playbooks:
    return Playbooks(sandbox, collections)


def test_each_state_is_reached_once(sandbox: Sandbox, playbooks: Playbooks) -> None:
    sandbox.service("web", "polite")
    played = playbooks.play(
        [
            task("start", name="web", state="started"),
            task("start again", name="web", state="started"),
            task("pause", name="web", state="paused"),
            task("pause again", name="web", state="paused"),
            task("resume", name="web", state="resumed"),
            task("resume again", name="web", state="resumed"),
            task("restart", name="web", state="restarted"),
            task("restart again", name="web", state="restarted"),
            task("stop", name="web", state="stopped"),
            task("stop again", name="web", state="stopped"),
            task("start once more", name="web", state="started"),
            task("kill", name="web", state="killed"),
            task("kill again", name="web", state="killed"),
        ]
    )
    assert played.rc == 0, played.output
    changed = {name for name, result in played.results.items() if result["changed"]}
    assert changed == {
        "start", "pause", "resume", "restart", "restart again", "stop", "start once more", "kill",
    }  # fmt: skip
    web = played["start"]["services"]["web"]
    assert (web["before"], web["after"], web["reason"]) == ("stopped", "ready", "started")
    assert not proc.alive(web["pid"])
    assert not sandbox.running("web")
