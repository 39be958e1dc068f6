"""Services side by side: what many cost beside one, when each ends at once and when each takes its time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bench.pairs import Command
from bench.report import Report, Terms
from bench.workshop import Workshop
from support.sandbox import Sandbox

GROUP = "many services, side by side"
MANY = 1000
LATE_SECONDS = 2  # from TERM to the end
ITSELF: Terms = {"peer": False, "aim_mib": 150}
GRACE = 2  # seconds, of those that ignore TERM


def compare(sandbox: Sandbox, pairs: int) -> Report:
    shop = Workshop(GROUP, sandbox, pairs)
    idle, late, deaf = (str(sandbox.programs.path(name)) for name in ("idle", "late", "deaf"))
    for name, command in (("idle", [idle]), ("late", [late, str(LATE_SECONDS)]), ("deaf", [deaf])):
        schedule = {"schedule": f"TERM/{GRACE if name == 'deaf' else 30}/KILL/5"}
        sandbox.define(f"{name}@", {"start": {"command": command}, "ready": {"settle": 0.0}, "stop": schedule})
    names = [f"idle@{number}" for number in range(MANY)]
    _start(shop, names)
    _status(shop, names)
    for verb in ("stop", "kill"):
        _end(shop, f"{verb} {MANY} that end at once", verb, names)
    for kind, how in (("late", f"need {LATE_SECONDS} s"), ("deaf", f"ignore TERM for {GRACE} s")):
        names = [f"{kind}@{number}" for number in range(MANY)]
        _end(shop, f"stop {MANY} that {how}", "stop", names)
        shop.do("kill", *names)
    return shop.report


def _start(shop: Workshop, names: Sequence[str]) -> None:
    terms: Terms = {"unit": "/s", "aim": 300, "count": len(names), **ITSELF}
    own = Command(shop.ctl("start", *names), before=_doing(shop, "kill", names))
    one = Command(shop.ctl("start", names[0]), before=_doing(shop, "kill", names[:1]))
    shop.compare(f"start {len(names)}", own, "start 1", one, **terms)


def _status(shop: Workshop, names: Sequence[str]) -> None:
    terms: Terms = {"unit": "+ ms", "aim": 1000, **ITSELF}
    shop.do("start", *names)
    own, one = (Command(shop.ctl("status", *asked)) for asked in (names, names[:1]))
    shop.compare(f"status of {len(names)}", own, "status of 1", one, **terms)


def _end(shop: Workshop, what: str, verb: str, names: Sequence[str]) -> None:
    """The slowest one's time is that of one: they are all alike."""
    terms: Terms = {"unit": "+ ms", "aim": 3000, **ITSELF}
    own = Command(shop.ctl(verb, *names), before=_doing(shop, "start", names))
    one = Command(shop.ctl(verb, names[0]), before=_doing(shop, "start", names[:1]))
    shop.compare(what, own, f"{verb} 1 of them", one, **terms)


def _doing(shop: Workshop, verb: str, names: Sequence[str]) -> Callable[[], None]:
    return lambda: shop.do(verb, *names)
