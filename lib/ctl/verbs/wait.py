"""Wait: until a service is running, ready or stopped, whoever sees to that. It takes no lock and changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Final, NamedTuple, Self

import msgspec

from ctl.model.errors import CtlError, Reason
from ctl.model.outcome import Goal, Result, State
from ctl.model.service import Service
from ctl.model.verdict import YES
from ctl.system import lock
from ctl.system.gate import is_gated
from ctl.system.host import Host
from ctl.system.wait import now
from ctl.system.watch import Watch
from ctl.verbs.asking import pause_after
from ctl.verbs.locate import Located, locate
from ctl.verbs.status import uptime_of, whether_ready
from ctl.verbs.stop import state_before
from ctl.verbs.unit import require_unit_alive

_FOREVER: Final = float("inf")
# Seconds between two looks at what nothing announces: a process that somebody else starts without a record, a CONT.
_LOOK_EVERY: Final = 1.0
_LOOKING_SHARE: Final = 0.1  # of the time, at most: many targets, or many processes, make the looks rarer


class WaitOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What to wait for, and for how many seconds at most."""

    goal: Goal = "ready"
    timeout: float | None = None


class _Look(NamedTuple):
    """What a look at the service has shown: is it so, and when to look again even if nothing is announced."""

    reached: bool
    again: float = _FOREVER  # seconds
    why: str = ""


def wait(service: Service, host: Host, options: WaitOptions) -> Result:
    """Return when the service is what is waited for: already_running or already_stopped where it was so at once, else
    started or stopped, whoever did it. Without that in time: not_ready, or timeout where it should have stopped.

    One that ends meanwhile may be started again, so that is waited for, but not by a unit's own ExecStartPost=. Raises
    CtlError where it cannot be told what runs, or whether it is ready, and Interrupted.
    """
    began = now()
    deadline = _FOREVER if options.timeout is None else began + options.timeout
    before: State | None = None
    if options.timeout is not None and host.herald is not None:  # without it, systemd's own limit holds
        host.herald.progress(service.name, f"waiting until it is {options.goal}", deadline)
    located: Located | None = None
    with _Announcements(service, host) as announced:
        try:
            while True:
                looked = now()
                soon = partial(pause_after, began, looked)
                if located is None:
                    announced.listen()
                    located = _locate(service, host)
                look = _look(service, host, located, options.goal, soon)
                if look.reached or now() >= deadline:
                    return _result(service, options, located, look, before, began)
                if options.goal != "stopped" and not located.mains:
                    require_unit_alive(host)
                if before is None:
                    before = state_before(located)
                    host.say_more(service.name, f"{look.why}; waiting until it is {options.goal}")
                rest = look.again if located.mains else max(look.again, (now() - looked) / _LOOKING_SHARE)
                mains = [main.fd for main in located.mains]
                told = announced.pause(mains, min(deadline, now() + rest))
                if told or not located.mains or now() >= deadline:  # else it is the same process still
                    located.close()
                    located = None
        finally:
            if located is not None:
                located.close()


def _locate(service: Service, host: Host) -> Located:
    """Raises CtlError where it cannot be told what runs; while a daemon forks, there may be more of it for a moment."""
    try:
        located = locate(service, host)
    except CtlError as error:
        if error.reason == "ambiguous" and _is_being_started(service, host):
            return Located([], [], None, None, None)
        raise
    if located.doubt is not None:
        raise located.doubt
    return located


def _look(service: Service, host: Host, located: Located, goal: Goal, pause: Callable[[], float]) -> _Look:
    mains = located.mains
    if located.record is not None and located.record.forking and _is_being_started(service, host):
        return _Look(False, pause(), "is being started")
    if goal == "stopped":
        return _Look(not mains, why=f"is still running, pid {', '.join(str(main.pid) for main in mains)}")
    if not mains:
        return _Look(False, _LOOK_EVERY, "is not running")
    if is_gated(mains[0].pid):
        return _Look(False, pause(), "is being started")
    return _Look(True) if goal == "running" else _look_whether_ready(service, host, located, pause)


def _look_whether_ready(service: Service, host: Host, located: Located, pause: Callable[[], float]) -> _Look:
    main = located.mains[0]
    if main.is_stopped:
        return _Look(False, _LOOK_EVERY, f"is paused, pid {main.pid}")
    ready = service.ready
    uptime = uptime_of(main)
    answer = whether_ready(service, host, located, uptime)
    if answer is None and not _is_recorded_now(service, host, located):
        what = f"is running, but ctl has not seen it start: whether it is ready ({service.readiness}) is not known"
        raise CtlError("not_ready", what, where=f"{service.file}, ready")
    if answer is not None and answer.verdict == YES:
        return _Look(True)
    if answer is None or ready.tcp is not None or ready.http is not None:
        again = pause()
    elif ready.command is not None or ready.log is not None or service.notifies:
        again = _FOREVER  # who starts it updates its record
    else:
        again = max(ready.settle - uptime, 0.01)
    return _Look(False, again, f"is running, pid {main.pid}, but not ready ({service.readiness})")


def _is_recorded_now(service: Service, host: Host, located: Located) -> bool:
    """Whether a record has come since: a start writes it after the pid file, and before the gate is opened."""
    if located.source == "record":
        return False
    again = _locate(service, host)
    again.close()
    return again.source == "record" or not again.mains


def _is_being_started(service: Service, host: Host) -> bool:
    return lock.purpose_held(host.records.lock_file(service.name)) in ("start", "restart")


def _result(
    service: Service, options: WaitOptions, located: Located, look: _Look, before: State | None, began: float
) -> Result:
    state: State = "ready" if look.reached and options.goal == "ready" else state_before(located)
    reason: Reason = "stopped" if options.goal == "stopped" else "started"
    if before is None:
        reason = "already_stopped" if options.goal == "stopped" else "already_running"
    result = Result(
        target=service.name, ok=True, changed=False, before=before or state, after=state, reason=reason,
        pid=located.mains[0].pid if located.mains else None, claims=located.claims,
    )  # fmt: skip
    if not look.reached:
        what = f"{look.why} after {options.timeout or 0:g} s"
        result.fail(CtlError("timeout" if options.goal == "stopped" else "not_ready", what, where="--timeout"))
    result.duration_s = round(now() - began, 3)
    return result


class _Announcements:
    """What the kernel tells of a service: its record or pid file has changed, one of its processes has ended."""

    def __init__(self, service: Service, host: Host) -> None:
        self._host = host
        records = host.records
        self._files = {records.record_file(service.name), records.pid_file(service.name)}
        self._watch: Watch | None = None

    def listen(self) -> None:
        """From here on nothing is missed. Until the run directory is there, `pause` is never longer than a moment."""
        if self._watch is None:
            try:
                watch = Watch()
            except OSError:  # this user has none left
                return
            try:
                watch.add(self._host.records.run_dir)
            except OSError:
                watch.close()
            else:
                self._watch = watch

    def pause(self, fds: Iterable[int], until: float) -> bool:
        """Wait for an announcement, or until then. Whether there may have been one. Raises Interrupted."""
        if self._watch is None:
            self._host.pause(fds, min(until, now() + _LOOK_EVERY))
            return True
        while self._watch.fd in (ready := self._host.pause((self._watch.fd, *fds), until)):
            changed = self._watch.changed()
            if changed is None or changed & self._files or len(ready) > 1 or now() >= until:
                return True
        return bool(ready)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._watch is not None:
            self._watch.close()
