"""What a real stop, kill or start costs beyond a call of ctl that has nothing to do."""

from __future__ import annotations

from bench.pairs import Command
from bench.report import Report
from bench.workshop import Workshop
from support.sandbox import Sandbox

GROUP = "stop, kill and start of one service"
NAME = "at-once"
MINUTE = 60  # seconds


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
        shop.compare(what, Command(argv, before=real), nothing_to_do, Command(argv, before=idle), unit="+ ms", aim=aim)
    _waiting(sandbox, shop)
    return shop.report


def _waiting(sandbox: Sandbox, shop: Workshop) -> None:
    """What a minute of waiting costs beside a stop with nothing to do: no polling, so nothing that grows with it."""
    shop.pairs = 1
    deaf = [str(sandbox.programs.path("deaf"))]
    schedule = {"schedule": f"TERM/{MINUTE}/KILL/5"}
    sandbox.define("deaf", {"start": {"command": deaf}, "ready": {"settle": 0.0}, "stop": schedule})
    own = Command(shop.ctl("stop", "deaf"), before=lambda: shop.do("start", "deaf"))
    other = Command(shop.ctl("stop", "deaf"))
    what = f"stop of one that ignores TERM for {MINUTE} s"
    shop.compare(what, own, "stop with nothing to do", other, unit="+ ms of processor", aim=20.0)
