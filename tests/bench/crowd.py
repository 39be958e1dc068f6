"""A thousand services in the hands of ctl and of each peer: started, asked after, stopped, killed, in one call.

A peer whose command takes one service gets all of its commands at a time, by `xargs -P 0`. The peers are set up one
after another, since a thousand runsv processes would be in the way of whoever looks at the process table.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.many import LATE_SECONDS, MANY
from bench.pairs import Command, Pairs, Took, Unexpected, alternately, run
from bench.peer import Argv, Peer
from bench.peers import PEERS, one_peer
from bench.report import Report
from bench.workshop import Workshop
from support.reaper import Reaper
from support.sandbox import Sandbox
from support.waiting import TIMEOUT, wait_until

GROUP = f"{MANY} services, against the peers"
GRACE = 30  # seconds, longer than any of them needs
ROWS = {
    ("idle", "start"): f"start {MANY}",
    ("idle", "status"): f"status of {MANY}",
    ("idle", "stop"): f"stop {MANY} that end at once",
    ("idle", "kill"): f"kill {MANY}",
    ("late", "stop"): f"stop {MANY} that need {LATE_SECONDS} s",
}
DOES_NOT_WAIT = {"supervisorctl"}  # until what it has killed is gone
ONCE = {"pm2"}  # it takes more than a minute to stop them


def compare(sandbox: Sandbox, pairs: int) -> Report:
    report = Report()
    for name in PEERS:
        for kind, arguments in (("idle", []), ("late", [str(LATE_SECONDS)])):
            report += _against(sandbox, name, kind, arguments, 1 if name in ONCE else pairs)
    order = list(ROWS.values())
    return Report(tuple(sorted(report.rows, key=lambda row: order.index(row.what))), report.skipped)


def _against(outer: Sandbox, name: str, kind: str, arguments: list[str], pairs: int) -> Report:
    """In directories of their own; all that runs is ended before the next peer's turn."""
    root = outer.root / f"{name}-{kind}".replace(" ", "-")
    root.mkdir()
    with Reaper() as reaper:
        sandbox = Sandbox(root, reaper, outer.programs)
        shop = Workshop(GROUP, sandbox, pairs)
        program = sandbox.programs.path(kind)
        command = [str(program), *arguments]
        schedule = {"schedule": f"TERM/{GRACE}/KILL/5"}
        sandbox.define(f"{kind}@", {"start": {"command": command}, "ready": {"settle": 0.0}, "stop": schedule})
        names = [f"{kind}@{number}" for number in range(MANY)]
        shop.say(f"setting up {name}, {kind}")
        if peer := one_peer(name, shop, dict.fromkeys(names, command), GRACE):
            _compare(shop, peer, kind, names, program)
        return shop.report


def _compare(shop: Workshop, peer: Peer, kind: str, names: list[str], program: Path) -> None:
    verbs = [verb for of_kind, verb in ROWS if of_kind == kind]
    other = {"start": peer.start(names), "status": peer.status(names), "stop": peer.stop(names)}
    if "kill" in verbs and peer.kill is not None and not peer.kill_is_no_end:
        other["kill"] = peer.kill(names)
    elif "kill" in verbs:
        why = peer.kill_is_no_end or "it has no such command for a service"
        shop.skip(f"{ROWS[kind, 'kill']}, against {peer.name}", why)
    own = {verb: [*shop.ctl(verb, *names)] for verb in other}
    shop.say(f"{', '.join(verbs)}, against {peer.name}")
    ctl, others = (_Side(shop.environment, acts, program) for acts in (own, other))
    try:
        rounds = alternately(ctl.round, others.round, shop.pairs)
    except (Unexpected, AssertionError) as error:
        shop.went_wrong(f"{', '.join(verbs)}, against {peer.name}", error)
        return
    for verb in verbs:
        if verb in other:
            pairs = Pairs(*(tuple(took[side][verb] for took in rounds) for side in (0, 1)))
            shop.keep(ROWS[kind, verb], _against_whom(peer, verb), pairs)


def _against_whom(peer: Peer, verb: str) -> str:
    name = f"xargs -P 0 {peer.name}" if peer.one_by_one else peer.name
    return f"{name}, which does not wait" if verb == "kill" and peer.name in DOES_NOT_WAIT else name


@dataclass(frozen=True)
class _Side:
    """ctl or the peer, with none of the services running between its rounds."""

    environment: Mapping[str, str]
    acts: Mapping[str, Argv]
    program: Path  # which nobody else executes

    def round(self) -> dict[str, Took]:
        """All that there is to time, each act from what the one before it left."""
        took = {"start": self._do("start", MANY), "status": self._do("status", MANY), "stop": self._do("stop", 0)}
        if "kill" in self.acts:
            self._do("start", MANY)
            took["kill"] = self._do("kill", 0)
        return took

    def _do(self, verb: str, running: int) -> Took:
        """Raises AssertionError where not as many run afterwards as should; a peer may return a moment before that."""
        took = run(Command(self.acts[verb]), self.environment)
        wait_until(
            lambda: _executing(self.program) == running, f"{running} run after {self.acts[verb][0]} {verb}", TIMEOUT
        )
        return took


def _executing(program: Path) -> int:
    """How many processes execute it."""
    return sum(_executable(pid) == str(program) for pid in os.listdir("/proc") if pid.isdecimal())


def _executable(pid: str) -> str:
    try:
        return os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return ""
