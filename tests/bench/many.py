"""Services side by side: what many cost beside one, when each ends at once and when each takes its time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bench.pairs import Command
from bench.report import Report
from bench.workshop import Workshop
from support.sandbox import Sandbox

GROUP = "many services, side by side"
MANY = 1000
LATE_SECONDS = 2  # from TERM to the end
GRACE = 2  # seconds, of those that ignore TERM


def compare(sandbox: Sandbox, pairs: int) -> Report:
    shop = Workshop(GROUP, sandbox, max(2, pairs // 5))
    idle, late, deaf = (str(sandbox.programs.path(name)) for name in ("idle", "late", "deaf"))
    for name, command in (("idle", [idle]), ("late", [late, str(LATE_SECONDS)]), ("deaf", [deaf])):
        schedule = {"schedule": f"TERM/{GRACE if name == 'deaf' else 30}/KILL/5"}
        sandbox.define(f"{name}@", {"start": {"command": command}, "ready": {"settle": 0.0}, "stop": schedule})
    names = [f"idle@{number}" for number in range(MANY)]
    starting, killing = _doing(shop, "start", names), _doing(shop, "kill", names)
    one = names[:1]
    shop.compare(
        f"start {MANY}",
        Command(shop.ctl("start", *names), before=killing),
        "start 1",
        Command(shop.ctl("start", *one), before=_doing(shop, "kill", one)),
        unit="/s",
        aim=300,
        count=MANY,
    )
    starting()
    alone = Command(shop.ctl("status", *one))
    shop.compare(f"status of {MANY}", Command(shop.ctl("status", *names)), "status of 1", alone, unit="+ ms", aim=1000)
    for verb in ("stop", "kill"):
        own = Command(shop.ctl(verb, *names), before=starting)
        other = Command(shop.ctl(verb, *one), before=_doing(shop, "start", one))
        shop.compare(f"{verb} {MANY} that end at once", own, f"{verb} 1", other, unit="+ ms", aim=3000)
    for kind, how in (("late", f"need {LATE_SECONDS} s"), ("deaf", f"ignore TERM for {GRACE} s")):
        names = [f"{kind}@{number}" for number in range(MANY)]
        own = Command(shop.ctl("stop", *names), before=_doing(shop, "start", names))
        other = Command(shop.ctl("stop", names[0]), before=_doing(shop, "start", names[:1]))
        shop.compare(f"stop {MANY} that {how}", own, "stop 1 of them", other, unit="+ ms", aim=3000)
        shop.do("kill", *names)
    return shop.report


def _doing(shop: Workshop, verb: str, names: Sequence[str]) -> Callable[[], None]:
    return lambda: shop.do(verb, *names)
