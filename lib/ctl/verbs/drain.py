"""What happens around the stop schedule, and can never keep it from running: hooks before and after it, the drain."""

from __future__ import annotations

from ctl.model.outcome import Fault
from ctl.model.program import Program
from ctl.model.service import Hook, Hooks, Service
from ctl.model.verdict import YES
from ctl.system.host import Host
from ctl.system.pidfd import Handle
from ctl.system.probe import command, probe_of
from ctl.system.wait import now
from ctl.verbs.asking import Answers, ask, still_there

HOOK_TIMEOUT = 30.0  # seconds, of a hook that is written as a bare argv


def longest(service: Service) -> float:
    """The longest time, in seconds, that hooks and drain can add to the schedule."""
    hooks = sum(_timeout(hook) for hook in (*service.stop.before, *service.stop.after))
    return hooks + (service.drain.timeout if service.drain is not None else 0.0)


def run_hooks(
    service: Service, host: Host, hooks: Hooks, key: str, program: Program, mains: list[Handle] | None = None
) -> list[Fault]:
    """Run them one after the other, each for as long as it may, while one of `mains` is there. Returns what went wrong.

    Raises Interrupted.
    """
    faults: list[Fault] = []
    for index, hook in enumerate(hooks):
        argv = hook.command if isinstance(hook, Hook) else hook
        if mains is not None and not still_there(mains):
            break
        host.say_more(service.name, f"{key}: {argv[0]}")
        host.progress(service.name, f"{key}: {argv[0]}", now() + _timeout(hook))
        answer = ask(host, command(argv, program), _timeout(hook))
        if answer.verdict != YES:
            faults.append(Fault(reason="hook_failed", what=answer.text, where=f"{service.file}, {key}[{index}]"))
    return faults


def drain(service: Service, host: Host, mains: list[Handle], program: Program) -> tuple[bool | None, list[Fault]]:
    """Ask until it is drained, its time is over, or nobody is left to ask.

    True only on positive evidence, False where the last answer was no, None where there was no answer. With what the
    last question came to, and the last answer before it where that was none. Raises Interrupted.
    """
    given = service.drain
    probe = None if given is None else probe_of(given, program)
    if given is None or probe is None:
        return None, []
    deadline = now() + given.timeout
    answers = Answers()
    host.say_more(service.name, f"draining, at most {given.timeout:g} s")
    host.progress(service.name, "draining", deadline)
    while now() < deadline:
        answer = ask(host, probe, deadline - now(), mains)
        if answer.verdict == YES:
            return True, []
        answers.add(answer)
        if not (alive := still_there(mains)):
            return None, []
        host.say_more(service.name, f"not drained yet: {answers.text}")
        host.progress(service.name, "draining", deadline, why=answers.text)
        host.pause(alive, min(now() + given.interval, deadline))
    what = f"not drained within {given.timeout:g} s: {answers.text}"
    drained = None if answers.refusal is None else False
    return drained, [Fault(reason="timeout", what=what, where=f"{service.file}, drain")]


def _timeout(hook: Hook | tuple[str, ...]) -> float:
    return hook.timeout if isinstance(hook, Hook) else HOOK_TIMEOUT
