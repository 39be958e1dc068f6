"""What explain tells a person, in the order in which it is asked: the answer, its grounds, the plan. 80 columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from textwrap import wrap

from ctl.model.explanation import Candidate, Defined, ExplainedClaim, Explanation, Intent, Member
from ctl.model.printable import printable
from ctl.shell.render import supervision
from ctl.system.portrait import shortened

_WIDTH = 80
_LABEL = 12  # columns for what a line is about

Row = tuple[str, str]  # what it is about, and the text


def explanation_lines(explanation: Explanation) -> list[str]:
    """The whole of it. Nothing in it can drive the terminal."""
    lines = _wrapped(f"{explanation.target}: {explanation.answer}", "", "  ")
    plans, defined = explanation.plans, explanation.defined
    if plans is None or defined is None:
        return lines
    fixes = dict.fromkeys(plan.fix for plan in (plans.stop, plans.kill) if plan.fix)
    lines += _rows([("stop", plans.stop.says), ("kill", plans.kill.says), *(("fix", fix) for fix in fixes)], 2)
    for title, rows in (
        ("definition", _definition(defined)),
        ("rules", [*explanation.rules.items(), ("max", f"{defined.max} main process{_es(defined.max)}")]),
    ):
        lines += ["", title, *_rows(rows, 2)]
    lines += ["", "claims", *_claims(explanation)]
    lines += ["", "candidates", *_candidates(explanation)]
    lines += ["", "members", *_members(explanation)]
    lines += ["", "plan", *_plan(explanation)]
    return lines


def _definition(defined: Defined) -> Iterator[Row]:
    yield "file", defined.file
    if defined.description:
        yield "about", defined.description
    if defined.command:
        yield "command", shortened(" ".join(defined.command))
    yield "runs as", defined.user
    yield "ready", f"{defined.ready} (not asked now)"
    if defined.drain is not None:
        yield "drain", f"{defined.drain} (not asked now)"
    yield "schedule", f"{defined.schedule}, kill_mode {defined.kill_mode}"
    if defined.protected:
        yield "protected", "stopped and killed by its own name only"


def _claims(explanation: Explanation) -> Iterator[str]:
    if not explanation.claims:
        yield "  none: there is no record and no pid file"
    for claim in explanation.claims:
        yield from _rows([(claim.source, f"{claim.verdict}: {claim.why}")], 2, 15)
        unasked = "" if claim.asked else "not asked, as an earlier claim decides"
        for label, text in (
            ("", claim.where or ""), ("", _recorded(explanation, claim)), ("", unasked), ("fix", claim.fix or ""),
        ):  # fmt: skip
            yield from _rows([(label, text)], 2, 15) if text else ()


def _recorded(explanation: Explanation, claim: ExplainedClaim) -> str:
    """What the record says beside the pid."""
    record = explanation.record
    if record is None or claim.source != "record":
        return ""
    ready = {True: "was ready", False: "was not ready yet", None: "nobody has watched it start"}[record.ready]
    parts = ["adopted" if record.adopted else "started by ctl", f"since {record.since}", ready]
    parts += ["still the command of a forking service"] if record.forking else []
    parts += [f"run {record.run_id}"] if record.run_id else []
    older = [run.run_id for run in explanation.older if run.run_id]
    parts += [f"earlier runs {', '.join(older)}"] if older else []
    return ", ".join(parts)


def _candidates(explanation: Explanation) -> Iterator[str]:
    if not explanation.candidates:
        yield "  none: no process satisfies a rule or comes near"
    members = {member.pid for member in explanation.members}
    both = [its for its in explanation.candidates if its.ground == "descendant" and its.pid in members]
    for candidate in explanation.candidates:
        if candidate not in both:
            yield from _candidate(candidate)
    if both:
        yield f"  and {len(both)} that match and are members: they descend from the main process"
    omitted = explanation.omitted
    for count, what in (
        (omitted.matching, "that match"),
        (omitted.passed_over, "that match and cannot be it"),
        (omitted.unknown, "that cannot be judged"),
        (omitted.near, "that come less near"),
    ):
        if count:
            yield f"  and {count} more {what} (--verbose lists them)"
    if explanation.hidden:
        yield "  /proc hides the processes of other users (hidepid): ask as root"


def _candidate(candidate: Candidate) -> Iterator[str]:
    head = {"yes": "main process", "no": "not it", "unknown": "cannot tell"}[candidate.verdict]
    yield from _wrapped(f"pid {candidate.pid}  {head}: {candidate.why}", "  ", "      ")
    since = f", since {candidate.since}" if candidate.since else ""
    known = f"user {candidate.user or '?'}{since}, state {candidate.state or '?'}, parent {candidate.ppid or '?'}"
    yield from _wrapped(known, "      ", "      ")
    yield from _wrapped(shortened(candidate.command or "?"), "      ", "        ")
    yield from _rows([(name, f"{said.verdict}, {said.why}") for name, said in candidate.rules.items()], 6)


def _members(explanation: Explanation) -> Iterator[str]:
    if not explanation.members:
        yield "  none" + (" beside the main process" if len(explanation.pids) == 1 else "")
    for member in explanation.members:
        yield from _member(member)


def _member(member: Member) -> Iterator[str]:
    yield from _wrapped(f"pid {member.pid}  {', '.join(member.known_by) or 'found before'}", "  ", "      ")
    known = f"user {member.user}, since {member.since}, state {member.state}, parent {member.ppid}"
    yield from _wrapped(known, "      ", "      ")
    yield from _wrapped(shortened(member.command), "      ", "        ")


def _plan(explanation: Explanation) -> Iterator[str]:
    plans = explanation.plans
    if plans is not None:
        given = "" if explanation.given_pid is None else f" --pid {explanation.given_pid}"
        yield from _steps(f"ctl stop {explanation.target}{given}", plans.stop)
        yield from _steps(f"ctl kill {explanation.target}{given}", plans.kill)
    held = explanation.lock
    yield from _rows(
        [("lock", "nobody holds it" if held is None else f"held by ctl {held.verb or '?'}, pid {held.pid}")], 2
    )
    if (by := explanation.supervisor) is not None:
        setting = f" ({by.setting})" if by.setting else ""
        yield from _rows([("supervisor", f"{supervision(by)}{setting}"), ("fix", by.command)], 2)


def _steps(call: str, intent: Intent) -> Iterator[str]:
    if not intent.steps:
        why = "nothing to do" if intent.exit_code == 0 else f"refused, exit {intent.exit_code}"
        yield f"  {printable(call)}: {why}"
        return
    longest = "as long as it takes" if intent.longest_s is None else f"at most {intent.longest_s:g} s"
    refused = f"; but it would fail, exit {intent.exit_code}" if intent.exit_code else ""
    yield f"  {printable(call)}: {longest}{refused}"
    for number, step in enumerate(intent.steps, start=1):
        yield from _wrapped(f"{number}. {step}", "    ", "       ")


def _rows(rows: Iterable[Row], indent: int, label: int = _LABEL) -> list[str]:
    """Two columns, the second of them wrapped."""
    lines: list[str] = []
    for name, text in rows:
        first = " " * indent + f"{printable(name):<{label}}"
        lines += _wrapped(text, first if first.endswith(" ") else f"{first} ", " " * (indent + label))
    return lines


def _wrapped(text: str, first: str, others: str) -> list[str]:
    """In lines of 80 columns; a path or an argument is never broken, since it is there to be copied."""
    return wrap(
        printable(text), _WIDTH, initial_indent=first, subsequent_indent=others,
        break_long_words=False, break_on_hyphens=False,
    ) or [first.rstrip()]  # fmt: skip


def _es(count: int) -> str:
    return "" if count == 1 else "es"
