"""The examples of the verbs' pages do what they say, and none ends in a way that its page does not tell."""

from __future__ import annotations

import shlex

from ctl_build.manual import Chapter, chapters
from support.sandbox import Sandbox

LEFT_OUT = ("run", "completion", "doctor")  # one goes on for ever, one is for a shell, one asks this host's systemd
REFUSED = {"--expect-pid": 152, "--pid": 152}  # 4711 is none of theirs
SERVICES = ("gateway", "engine", "worker@1")


def test_the_examples(sandbox: Sandbox) -> None:
    for name in ("gateway", "engine"):
        sandbox.service(name, "polite", reload={"command": ["/bin/true"]})
    (sandbox.root / "new.toml").write_bytes((sandbox.services / "gateway.toml").read_bytes())
    sandbox.service("worker@", "polite", start={"log": str(sandbox.log_dir / "{target}.log")})
    ran = [command for chapter in chapters() for command in _run(sandbox, chapter)]
    assert len(ran) > 30


def _run(sandbox: Sandbox, chapter: Chapter) -> list[str]:
    """Those of one verb, as far as they come to an end."""
    if chapter.verb in LEFT_OUT:
        return []
    commands = [command for command, _ in chapter.page.examples if " -f" not in command]
    for command in commands:
        words = shlex.split(command.partition(">")[0])[1:]
        if chapter.verb != "start":
            sandbox.ctl("start", *SERVICES).expect(0)
        if chapter.verb == "forget":
            sandbox.ctl("stop", *SERVICES).expect(0)
        if before := {"resume": "pause", "wait": "stop" if "stopped" in words else None}.get(chapter.verb):
            sandbox.ctl(before, "gateway", "engine").expect(0)
        done = sandbox.ctl(*words)
        assert done.rc in chapter.page.codes, done
        done.expect(next((code for option, code in REFUSED.items() if option in words), 0))
    return commands
