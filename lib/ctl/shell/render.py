"""What a person reads: results on stdout, diagnostics on stderr as `ctl: TARGET: what (where); to fix: fix`."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ctl.model.last_end import how_it_ended, when_it_ended
from ctl.model.outcome import Plan, Result, Status
from ctl.model.printable import printable
from ctl.model.supervisor import Supervisor
from ctl.system.portrait import shortened

_WORDS = {
    "started": "started",
    "already_running": "already running",
    "stopped": "stopped",
    "already_stopped": "already stopped",
    "killed": "killed",
    "paused": "paused",
    "already_paused": "already paused",
    "resumed": "resumed",
    "forgotten": "forgotten",
    "already_forgotten": "nothing is known of it",
    "escalated": "stopped, but only KILL ended it",
}


Paint = Callable[[str, str], str]  # a text in this style: bold for who speaks, red for what is bad


def diagnostic(
    target: str | None,
    what: str,
    where: str | None = None,
    fix: str | None = None,
    details: Iterable[str] = (),
    *,
    paint: Paint | None = None,
    style: str = "",
) -> str:
    """The one form of a message on stderr: a line that shows who speaks and of whom, and the details below it.

    What is said is painted in `style`. Nothing in it can drive the terminal.
    """
    head = "ctl:" + (f" {target}:" if target else "")
    said = what + (f" ({where})" if where else "") + (f"; to fix: {fix}" if fix else "")
    head, said = printable(head), f" {printable(said)}"
    if paint is not None:
        head, said = paint(head, "bold"), paint(said, style)
    return "\n".join([head + said, *(f"  {printable(detail)}" for detail in details)])


def result_lines(result: Result) -> list[str]:
    """What became of a target. Empty where it failed: then the diagnostics say it all."""
    if result.plan:
        return list(map(printable, _plan_lines(result, result.plan)))
    if not result.ok:
        return []
    pid = f", pid {result.pid}" if result.pid is not None else ""
    left = next((claim.source for claim in result.claims if claim.says_it_runs), None)
    stale = f" (its {left} was stale)" if left and result.reason == "already_stopped" else ""
    took = f", {result.duration_s:.2f} s" if result.changed and not result.reason.startswith("already_") else ""
    adopted = " (adopted)" if result.reason == "already_running" and result.changed else ""
    until = f", until {result.paused_until}" if result.paused_until else ""
    left_over = f"; {len(result.left_over)} left over, which ctl kill ends" if result.left_over else ""
    what = _WORDS.get(result.reason, result.reason)
    return [f"{result.target}: {what}{adopted}{stale}{pid}{took}{until}{left_over}"]


def undone(verb: str, result: Result) -> tuple[str, str | None, str | None] | None:
    """Who undoes what this verb has done, or would do, by which setting, and the command that holds.

    None where nobody is known to.
    """
    by = result.supervisor
    if not by or by.restarts is False:
        return None
    if verb == "restart":
        return supervision(by), by.setting, by.restarting_command
    if verb != "pause":
        return supervision(by), by.setting, by.command
    what = f"belongs to {by.label}, whose watchdog ends it while it is paused"
    return (what, by.setting, None) if by.restarts else None


def supervision(by: Supervisor) -> str:
    """In whose care it is."""
    does = {True: "which restarts it", None: "which may restart it", False: "which does not restart it"}[by.restarts]
    return f"belongs to {by.label}, {does}"


def status_line(status: Status, width: int) -> str:
    """One service on one line."""
    words = [f"{status.target:<{width}}", f"{status.state:<8}"]
    if status.pid is not None:
        words.append(f"pid {status.pid}, up {duration(status.uptime_s or 0)}")
    elif said := said_of(status):
        words.append(said)
    if status.pid is not None and status.left_over:
        words.append(f"{len(status.left_over)} left over")
    if status.description:
        words.append(f"- {status.description}")
    return printable("  ".join(word for word in words if word.strip()).rstrip())


def said_of(status: Status) -> str:
    """Of one that does not run, or of which that cannot be told: why, or what became of it, and what is left of it."""
    said = [status.errors[0].what] if status.errors else []
    if status.state in ("ended", "crashed") and status.last_end is not None and not said:
        said.append(f"{how_it_ended(status.last_end)}, {when_it_ended(status.last_end)}")
    if not said and not status.is_as_wanted and status.wanted is not None:
        said.append(f"wanted {status.wanted.state}")  # else nothing would tell why a bare status exits with 1
    if status.left_over:
        said.append(f"{len(status.left_over)} left over")
    return "; ".join(said)


def status_block(status: Status, target: str = "", state: str = "") -> list[str]:
    """One service, all that is known of it; its name and its state as they are to be shown."""
    head = f"{target or status.target}: {state or status.state}"
    head += f" - {printable(status.description)}" if status.description else ""
    rows: list[tuple[str, str]] = []
    if status.pid is not None:
        rows.append(
            ("pid", f"{status.pid}, user {status.user}, since {status.since} ({duration(status.uptime_s or 0)})")
        )
        rows.append(("command", shortened(status.command or "?")))
        rows.append(("uses", _uses(status)))
        if status.paused_since is not None:
            rows.append(("paused", f"since {status.paused_since}, until {status.paused_until or 'it is resumed'}"))
        if status.ready is not None:
            rows.append(("ready", "yes" if status.ready else "no"))
    rows += [(claim.source, f"{claim.verdict}: {claim.why}") for claim in status.claim]
    rows += _history(status)
    return [head, *(f"  {name and name + ':':<14} {printable(text)}" for name, text in rows)]


def _history(status: Status) -> list[tuple[str, str]]:
    """What was asked for, how it ended last, what is left of it, and what to type next."""
    rows: list[tuple[str, str]] = []
    if status.wanted is not None:
        rows.append(("wanted", f"{status.wanted.state}, since {status.wanted.since} ({status.wanted.by})"))
    if (end := status.last_end) is not None:
        ran = f", after {duration(end.ran_s)}" if end.ran_s is not None else ""
        rows.append(("last end", f"pid {end.pid}, {when_it_ended(end)}{ran}: {how_it_ended(end)}"))
    rows += [("last words" if not index else "", line) for index, line in enumerate(status.last_words)]
    if status.left_over:
        rows.append(("left over", f"{len(status.left_over)} left over"))
        rows += [("", f"pid {left.pid}, {left.user}, since {left.since}: {shortened(left.command)}")
                 for left in status.left_over]  # fmt: skip
    if status.state in ("ended", "crashed"):
        rows.append(("next", f"ctl start {status.target}, or ctl logs {status.target}"))
    elif status.left_over and status.pid is None:  # else that would kill the service, too
        rows.append(("next", f"ctl kill {status.target}, which ends what is left over"))
    return rows


def duration(seconds: float) -> str:
    """The two largest units: 3d 4h, 2h 5m, 7m 3s, 12s."""
    left = int(seconds)
    parts: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count or (unit == "s" and not parts):
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2])


def reason_in_words(reason: str) -> str:
    """The reason of something that went well."""
    return _WORDS.get(reason, reason.replace("_", " "))


def _uses(status: Status) -> str:
    facts = []
    if status.rss_bytes is not None:
        facts.append(f"{status.rss_bytes / 2**20:.1f} MiB")
    if status.cpu_percent is not None:
        facts.append(f"{status.cpu_percent:.1f} % of a processor")
    if status.threads is not None:
        facts.append(f"{status.threads} thread{'s' if status.threads != 1 else ''}")
    if status.children is not None:
        facts.append(f"{status.children} child{'ren' if status.children != 1 else ''}")
    return ", ".join(facts) or "?"


def _plan_lines(result: Result, plan: Plan) -> list[str]:
    if not plan.steps:
        return [f"{result.target}: nothing to do"]
    longest = "as long as it takes" if plan.longest_s is None else f"at most {plan.longest_s:g} s"
    lines = [f"{result.target}: would take {longest}"]
    lines += [f"  {number}. {step}" for number, step in enumerate(plan.steps, start=1)]
    lines += [
        f"  pid {process.pid} ({process.user}, since {process.since}): {shortened(process.command)}"
        for process in plan.processes
    ]
    return lines
