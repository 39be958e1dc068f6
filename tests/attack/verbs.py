"""The acting verbs, each with the service it is called for and the state that it begins from."""

from __future__ import annotations

from dataclasses import dataclass

from support.sandbox import Sandbox

AT_ONCE, SOON = {"settle": 0}, {"settle": 0.05}  # by the clock alone: every start makes the same calls
HELD = "0.2s"
BRIEF = 77  # exit status of the service that ends by itself


@dataclass(frozen=True)
class Acting:
    """One call of ctl that changes something."""

    name: str
    argv: tuple[str, ...]
    before: str  # stopped, running or paused
    kind: str  # of the service `web`

    @property
    def verb(self) -> str:
        return self.argv[0]


VERBS = {
    acting.name: acting
    for acting in (
        Acting("start", ("start", "web", "--json"), "stopped", "simple"),
        Acting("start-forking", ("start", "web", "--json"), "stopped", "forking"),
        Acting("run", ("run", "web"), "stopped", "brief"),
        Acting("stop", ("stop", "web", "--json"), "running", "tree"),
        Acting("kill", ("kill", "web", "--json"), "running", "tree"),
        Acting("restart", ("restart", "web", "--json"), "running", "tree"),
        Acting("reload", ("reload", "web", "--json"), "running", "tree"),
        Acting("reload-command", ("reload", "web", "--json"), "running", "simple"),
        Acting("pause", ("pause", "web", "--json"), "running", "tree"),
        Acting("pause-for", ("pause", "web", "--for", HELD, "--json"), "running", "tree"),
        Acting("resume", ("resume", "web", "--json"), "paused", "tree"),
    )
}


def daemon_pid_file(sandbox: Sandbox) -> str:
    return str(sandbox.tmp / "daemon.pid")


def define(sandbox: Sandbox, kind: str) -> None:
    """The service `web`: simple, alone, forking, brief, or one with children that outlive their parent's TERM."""
    if kind == "forking":
        kept = {"pid_file": daemon_pid_file(sandbox)}
        forking = {"type": "forking"}
        sandbox.service("web", "forker", "--pidfile", kept["pid_file"], start=forking, ready=SOON, stop=kept)
    elif kind == "brief":
        sandbox.define("web", {"start": {"command": ["/bin/sh", "-c", f"exit {BRIEF}"]}})
    elif kind == "alone":  # its pid is free as soon as it has ended: nobody else is in its session
        sandbox.service("web", "polite", ready=AT_ONCE, reload={"signal": "WINCH"})
    elif kind == "tree":  # by default a process ignores WINCH
        sandbox.service("web", "tree", 2, 1, ready=AT_ONCE, reload={"signal": "WINCH"})
    else:
        sandbox.service("web", "polite", ready=SOON, reload={"command": ["/bin/true"]})
