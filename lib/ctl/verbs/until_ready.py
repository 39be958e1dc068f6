"""Waiting until a service that runs already is ready: whoever started it, what depends on it may come next."""

from __future__ import annotations

import msgspec

from ctl.model.answer import Answer
from ctl.model.errors import CtlError
from ctl.model.outcome import Fault
from ctl.model.service import Service
from ctl.model.verdict import NO, YES
from ctl.system.host import Host
from ctl.system.portrait import rfc3339_now
from ctl.system.probe import probe_of
from ctl.system.wait import now
from ctl.verbs.asking import Answers, ask, pause_after
from ctl.verbs.locate import Located
from ctl.verbs.status import uptime_of, whether_ready


def await_ready(service: Service, host: Host, located: Located, timeout: float, limit: str) -> Fault | None:
    """Return when the main process is ready, and what to say where nothing can tell whether it is.

    `limit` says in words where `timeout`, in seconds, is set. Raises CtlError (not_ready) where it is not ready in time
    or ends, and Interrupted. It is left running: this start did not start it.
    """
    main = located.mains[0]
    began, answers = now(), Answers()
    deadline = began + timeout
    while True:
        asked = now()
        answer = _ask(service, host, located, max(deadline - asked, 0.0))
        if answer is None:
            return _untold(service, located)
        if answer.verdict == YES:
            _remember(host, located)
            return None
        answers.add(answer)
        if main.is_gone:
            raise CtlError("not_ready", f"its main process, pid {main.pid}, ended before it was ready")
        if now() >= deadline:
            what = f"is running, pid {main.pid}, but was not ready within {timeout:g} s ({limit}): {answers.text}"
            raise CtlError("not_ready", what, where=f"{service.file}, ready")
        what = f"waiting until it is ready ({service.readiness})"
        host.progress(service.name, what, deadline, why=answers.why_of(service.readiness))
        host.pause([main.fd], min(now() + pause_after(began, asked), deadline))


def _ask(service: Service, host: Host, located: Located, seconds: float) -> Answer | None:
    """None where neither its start nor the process itself tells."""
    uptime = uptime_of(located.mains[0])
    record = located.record if located.source == "record" else None
    if service.ready.command is not None and (record is None or not record.ready):
        probe = probe_of(service.ready, host.command_program(service, record))
        return None if probe is None else ask(host, probe, seconds, located.mains[:1])
    answer = whether_ready(service, host, located, uptime, seconds)
    if answer is None or answer.verdict != NO or answer.why:
        return answer
    if service.ready_log is not None or service.notifies:
        return None  # the ctl that would have seen it has ended
    return Answer(NO, f"has been running for {uptime:.1f} s")


def _untold(service: Service, located: Located) -> Fault | None:
    """An adopted one was told of when it was adopted: that nobody knows is nothing new."""
    if located.source != "record" or located.record is None or located.record.adopted:
        return None
    if located.record.ready is None:  # its supervisor knows
        return None
    what = f"cannot tell whether it is ready ({service.readiness}): the ctl that started it was ended before that"
    return Fault(reason="failed", what=what, where=f"{service.file}, ready", fix=f"ctl restart {service.name}")


def _remember(host: Host, located: Located) -> None:
    record = located.record if located.source == "record" else None
    if record is not None and record.ready is False:
        host.records.update(msgspec.structs.replace(record, ready=True, ready_at=rfc3339_now()))
