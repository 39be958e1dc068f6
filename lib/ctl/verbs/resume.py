"""Resume: let a paused service go on, with nothing left of the pause, now or when its time is over."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from ctl.model.outcome import Plan, Result
from ctl.model.service import Service
from ctl.system.host import Host
from ctl.system.keeper import stand_by
from ctl.system.portrait import seen
from ctl.system.wait import now
from ctl.verbs.holding import WITHIN, Options, await_all, forget, on_main, pids_of, send_all
from ctl.verbs.locate import Located
from ctl.verbs.many import act_on
from ctl.verbs.runs import members_of


class ResumeOptions(Options, frozen=True, kw_only=True):
    """What the command line may add to the definition."""

    only: str | None = None  # the id of a pause: any other is left alone


def resume(service: Service, host: Host, options: ResumeOptions) -> Result:
    """CONT to every process of the service, the main process last, and see that all go on.

    Nothing is left of the pause then, also where there was a pause of a main process that has ended since. Raises
    CtlError as `pause` does.
    """
    return on_main(
        service, host, "resume", options, lambda located, result: _resume(service, host, options, located, result)
    )


def resume_when_due(services: Sequence[Service], host: Host, only: str) -> list[Result]:
    """Resume each of these services when the pause with this id is over. Returns when nothing is left to be resumed.

    What was resumed, stopped or paused anew meanwhile is left alone, and what another ctl holds is tried again. Raises
    CtlError, Interrupted.
    """
    host.prepare_for(len(services))
    results: list[Result] = []
    waiting = {service.name: service for service in services}
    with host.watch_records() as watch:
        pausing: set[int] = {stand_by()}
        while True:
            due = {name: found.due for name in waiting if (found := host.records.read_pause(name)) and found.id == only}
            if over := [waiting.pop(name) for name, instant in due.items() if instant is not None and instant <= now()]:
                done = act_on(over, lambda service: resume(service, host, ResumeOptions(only=only)), host.note_result)
                results += done
                waiting |= {
                    service.name: service for service, its in zip(over, done, strict=True) if its.reason == "busy"
                }
            elif due or pausing:
                ready = host.pause(
                    {watch.fd, *pausing}, min((at for at in due.values() if at is not None), default=inf)
                )
                pausing -= ready
                watch.changed()
            else:
                return results


def _resume(service: Service, host: Host, options: ResumeOptions, located: Located, result: Result) -> None:
    on_record = host.records.read_pause(service.name)
    if options.only is not None and (on_record is None or on_record.id != options.only):
        result.reason = "already_running"
        return
    members = members_of(located, service, host)
    try:
        # The main process last: it is not to find its children still held.
        held = [handle for handle in (*members.refresh(), *located.mains) if handle.is_stopped is not False]
        if options.dry_run:
            left = ["remove what is on record of its pause"] if on_record is not None else []
            result.plan = Plan(
                steps=tuple([f"CONT to {pids_of(held)}"] if held else left),
                processes=tuple(map(seen, held)),
                longest_s=WITHIN if held else 0.0,
                after="running",
            )
            result.reason = "planned" if held else "already_running"
            return
        began = now()
        try:
            send_all(host, held, "CONT", result, began)
            await_all(host, held, began + WITHIN, stopped=False)
        finally:
            result.changed = bool(result.signals)
        result.changed = forget(host, service, result) or result.changed
        result.reason = "resumed" if held else "already_running"
        result.after = "running"
    finally:
        members.close()
