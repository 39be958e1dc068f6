"""A main process that the service's own rules do not fit: once its record is lost, nothing else finds it."""

from __future__ import annotations

from ctl.model.outcome import Fault
from ctl.model.service import Service
from ctl.model.verdict import NO
from ctl.system.host import Host
from ctl.system.pidfd import Handle
from ctl.system.procfs import Gone, ProcessLook

_LONGEST = 60  # characters


def misfit(service: Service, host: Host, main: Handle) -> Fault | None:
    """Which rules say no of it, why, and what to change; None where none does, or that cannot be told.

    A user that is only taken by default is no rule.
    """
    rules = host.rules(service).of_anyone()
    look = ProcessLook(main.pid)
    try:
        broken = [name for name, verdict in rules.each(look).items() if verdict == NO]
        if not broken or main.is_gone:
            return None
        from ctl.model.reasons import answers
        from ctl.system.trust import user_name
        from ctl.verbs.rule_texts import wanted_by

        said = answers(rules, look, main.pid, wanted_by(service, rules), user_name)
        line = look.command_line or ""
    except Gone:
        return None
    why = "; ".join(f"{name}: {said[name].why}" for name in broken)
    shown = line if len(line) <= _LONGEST else f"{line[:_LONGEST]}..."
    if "marker" in broken:
        what = f"pid {main.pid} does not show that it is this service: {said['marker'].why}"
        fix = f"give it a [match] rule that fits {shown!r}, or a second one may start once its record is lost"
        return Fault(reason="failed", what=what, where=service.file, fix=fix)
    what = f"its own match rules do not fit its main process, pid {main.pid}: {why}"
    fix = f"make the rule fit {shown!r}, or a second one may start once its record is lost"
    return Fault(reason="failed", what=what, where=f"{service.file}, match.{broken[0]}", fix=fix)
