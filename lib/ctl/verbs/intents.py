"""What stop and kill would do, as their --dry-run tells it, in one sentence each."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from ctl.model.errors import CtlError
from ctl.model.explanation import Intent, Intents, LockHolder
from ctl.model.outcome import Plan, Result
from ctl.model.service import Service
from ctl.system import lock
from ctl.system.host import Host
from ctl.system.pidfd import Handle
from ctl.system.portrait import seen
from ctl.verbs.locate import Located
from ctl.verbs.stop import StopOptions, planned

_CLEANED = ("record", "pid file")
_PIDS_SHOWN = 8


def intents(service: Service, host: Host, located: Located, holder: LockHolder | None) -> Intents:
    """What stop and kill would do with what was located; where this user may not, that is the end of it."""
    locking = lock.obstacle(host.records.lock_file(service.name))
    signalling = next((_no_right(main) for main in located.mains if not main.may_signal()), None)
    stop = planned(service, host, located, "stop")
    kill = planned(service, host, located, "kill")
    return Intents(
        stop=_intent(stop, locking or signalling, _waiting(holder), _how_to_stop(service, located, stop)),
        kill=_intent(kill, signalling, _cutting(holder), f"send KILL to pid {_everyone(kill)}"),
    )


def _intent(result: Result, obstacle: CtlError | None, first: str, does: str) -> Intent:
    plan = result.plan or Plan()
    reason, code, fix = result.reason, result.exit_code, None
    if obstacle is not None:
        reason, code, fix = obstacle.reason, obstacle.exit_code, obstacle.fix
        says = f"would fail, exit {code}: {obstacle.what}"
    elif not result.ok:
        says, fix = f"would refuse, exit {code} ({reason})", result.errors[-1].fix if result.errors else None
    elif reason == "already_stopped":
        stale = [claim.source for claim in result.claims if claim.verdict == "stale" and claim.source in _CLEANED]
        says = f"{first}has nothing to do" + (f", and removes the stale {' and '.join(stale)}" if stale else "")
    else:
        longest = "as long as it takes" if plan.longest_s is None else f"at most {plan.longest_s:g} s"
        says = f"{first}would {does}; {longest}"
    return Intent(**msgspec.structs.asdict(plan), says=says, fix=fix, reason=reason, exit_code=code)


def _how_to_stop(service: Service, located: Located, result: Result) -> str:
    """The stop schedule with what is around it."""
    mains = some_pids(main.pid for main in located.mains)
    if not mains:
        return f"carry out {service.schedule} on what is left: pid {_everyone(result)}"
    hooks, drain = len(service.stop.before), service.drain is not None
    before = [f"run {hooks} hook{'s' if hooks > 1 else ''}"] if hooks else []
    before += ["drain"] if drain else []
    whom = _everyone(result) if service.stop.kill_mode == "tree" else mains
    parts = [*before, f"carry out {service.schedule} on pid {whom}"]
    outliving = service.stop.kill_mode == "mixed" and result.plan and len(result.plan.processes) > len(located.mains)
    parts += ["pass each step on to its other processes"] if outliving else []
    parts += ["end what outlives it"] if outliving else []
    return ", ".join(parts[:-1]) + (" and " if parts[:-1] else "") + parts[-1]


def _everyone(result: Result) -> str:
    return some_pids(process.pid for process in (result.plan or Plan()).processes)


def some_pids(pids: Iterable[int]) -> str:
    """Some of them, where there are many."""
    listed = [str(pid) for pid in pids]
    more = f" and {len(listed) - _PIDS_SHOWN} more" if len(listed) > _PIDS_SHOWN else ""
    return ", ".join(listed[:_PIDS_SHOWN]) + more


def _waiting(holder: LockHolder | None) -> str:
    if holder is None:
        return ""
    return f"waits first for {_named(holder)}, for {StopOptions().lock_timeout:g} s at most, then "


def _cutting(holder: LockHolder | None) -> str:
    return "" if holder is None else f"does not wait for {_named(holder)}, "


def _named(holder: LockHolder) -> str:
    return f"ctl {holder.verb or '?'} (pid {holder.pid})"


def _no_right(main: Handle) -> CtlError:
    user = seen(main).user
    return CtlError("permission_denied", f"not allowed to signal pid {main.pid}, which belongs to {user}")
