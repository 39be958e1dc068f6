"""Services side by side: what many cost beside one, when each ends at once and when each takes its time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bench.pairs import Command
from bench.report import Report
from bench.workshop import Workshop
from support.sandbox import Sandbox

GROUP = "many services, side by side"
SIZES = (20, 200)
SLOW_SECONDS = 0.5
DEAF = 1000
DEAF_GRACE = 2


def compare(sandbox: Sandbox, pairs: int) -> Report:
    shop = Workshop(GROUP, sandbox, max(3, pairs // 4))
    idle = [str(sandbox.programs.path("idle"))]
    names = [f"one-of-many-{number:03d}" for number in range(max(SIZES))]
    for name in names:
        sandbox.define(name, {"start": {"command": idle}, "ready": {"settle": 0.0}})
    for size in SIZES:
        for verb, opposite in (("start", "kill"), ("stop", "start"), ("kill", "start")):
            own = Command(shop.ctl(verb, *names[:size]), before=_doing(shop, opposite, names[:size]))
            one = Command(shop.ctl(verb, names[0]), before=_doing(shop, opposite, names[:1]))
            shop.compare(f"{verb} {size}", own, f"{verb} 1", one)
        shop.do("kill", *names[:size])
    _compare_slow(shop)
    _compare_deaf(shop)
    return shop.report


def _compare_slow(shop: Workshop) -> None:
    """Each takes its time on TERM: were they stopped one after the other, 20 would take 20 times as long."""
    names = [f"slow-{number:02d}" for number in range(SIZES[0])]
    for name in names:
        shop.sandbox.service(name, "slow_stop", SLOW_SECONDS, ready={"log": "^ready"})
    many = Command(shop.ctl("stop", *names), before=_doing(shop, "start", names))
    one = Command(shop.ctl("stop", names[0]), before=_doing(shop, "start", names[:1]))
    each = f"that take {SLOW_SECONDS:g} s each"
    shop.compare(f"stop {len(names)} {each}", many, "stop 1 of them", one)


def _compare_deaf(shop: Workshop) -> None:
    """A thousand that ignore TERM: all of them have one and the same grace period, once."""
    deaf = {"command": [str(shop.sandbox.programs.path("deaf"))]}
    schedule = {"schedule": f"TERM/{DEAF_GRACE}/KILL/5"}
    shop.sandbox.define("deaf@", {"start": deaf, "ready": {"settle": 0.0}, "stop": schedule})
    names = [f"deaf@{number}" for number in range(DEAF)]
    stop = Command(shop.ctl("stop", *names), before=_doing(shop, "start", names))
    one = Command(shop.ctl("stop", names[0]), before=_doing(shop, "start", names[:1]))
    shop.compare(f"stop {DEAF} that ignore TERM for {DEAF_GRACE} s", stop, "stop 1 of them", one)
    start = Command(shop.ctl("start", *names), before=_doing(shop, "kill", names))
    shop.compare(
        f"start {DEAF}", start, "start 1", Command(shop.ctl("start", names[0]), before=_doing(shop, "kill", names[:1]))
    )
    shop.do("kill", *names)


def _doing(shop: Workshop, verb: str, names: Sequence[str]) -> Callable[[], None]:
    return lambda: shop.do(verb, *names)
