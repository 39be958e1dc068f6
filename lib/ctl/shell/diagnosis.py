"""What doctor tells a person: of each subject whether it is well, and each finding with its place and its fix."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from textwrap import indent, wrap

from ctl.model.diagnosis import Diagnosis, Finding
from ctl.model.printable import printable
from ctl.shell import paint
from ctl.shell.render import diagnostic
from ctl.system.terminal import has_colours

_WIDTH = 80
_LABEL = 11  # columns for what a line is about
_COLOURS = {"error": "red", "warning": "yellow", "note": "dim"}
_NOT_SHOWN = ("services",)  # the calls say it


def diagnosis_lines(one: Diagnosis) -> list[str]:
    """The whole of it. Nothing in it can drive the terminal; a fix is never broken, since it is there to be copied."""
    coloured = has_colours(1)
    lines = [_head(one, coloured=coloured)]
    lines += [line for name, value in one.facts.items() if name not in _NOT_SHOWN and value
              for line in _row(name, value)]  # fmt: skip
    for finding in one.findings:
        lines += ["", *_finding(finding, coloured=coloured)]
    for fault in one.errors:
        lines += ["", indent(diagnostic(None, fault.what, fault.where, fault.fix, fault.details), "  ")]
    return lines


def _head(one: Diagnosis, *, coloured: bool) -> str:
    name = printable(one.target or ("this host" if one.kind == "host" else "units"))
    counts = Counter(finding.severity for finding in one.findings)
    parts = [f"{count} {severity}{'' if count == 1 else 's'}" for severity, count in counts.items()]
    parts += ["not all could be read"] if one.errors else []
    said = ", ".join(parts) if not one.ok else "all is well" + (f", {parts[0]}" if parts else "")
    if not coloured:
        return f"{name}: {said}"
    worst = one.findings[0].severity if one.findings and not one.ok else "error" if not one.ok else ""
    return f"{paint.painted(name, 'bold')}: {paint.painted(said, _COLOURS.get(worst, 'green'))}"


def _finding(finding: Finding, *, coloured: bool) -> Iterator[str]:
    first, *others = _row(finding.severity, f"{finding.what} [{finding.id}]")
    if coloured:
        label = f"{finding.severity:<{_LABEL}}"
        first = f"  {paint.painted(label, _COLOURS[finding.severity])}{first[2 + _LABEL :]}"
    yield first
    yield from others
    if finding.where:
        yield from _row("where", finding.where)
    for number, line in enumerate((finding.fix or "").splitlines()):
        yield f"  {'fix' if number == 0 else '':<{_LABEL}}{printable(line)}"


def _row(label: str, text: str) -> list[str]:
    return wrap(
        printable(text), _WIDTH, initial_indent=f"  {label:<{_LABEL}}", subsequent_indent=" " * (_LABEL + 2),
        break_long_words=False, break_on_hyphens=False,
    ) or [f"  {label}"]  # fmt: skip
