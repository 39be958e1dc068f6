"""What a real stop, kill or start costs beyond a call of ctl that has nothing to do."""

from __future__ import annotations

from bench.pairs import Command
from bench.report import Report
from bench.workshop import Workshop
from support.sandbox import Sandbox

GROUP = "stop, kill and start of one service"
NAME = "at-once"


def compare(sandbox: Sandbox, pairs: int) -> Report:
    """The process has no handler for TERM: it ends at once."""
    shop = Workshop(GROUP, sandbox, pairs)
    command = [str(sandbox.programs.path("idle"))]
    sandbox.define(
        NAME, {"start": {"command": command}, "ready": {"settle": 0.0}, "stop": {"schedule": "TERM/5/KILL/5"}}
    )
    stopped, running = (lambda: shop.do("kill", NAME)), (lambda: shop.do("start", NAME))
    for what, verb, real, idle, aim in (
        ("stop of one that ends at once on TERM", "stop", running, stopped, 15.0),
        ("kill", "kill", running, stopped, None),
        ("start without a probe", "start", stopped, running, None),
    ):
        argv = shop.ctl(verb, NAME)
        nothing_to_do = f"{verb} with nothing to do"
        own, other = Command(argv, before=real), Command(argv, before=idle)
        shop.compare(what, own, nothing_to_do, other, unit="+ ms", aim=aim, peer=False)
    return shop.report
