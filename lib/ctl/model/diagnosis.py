"""What doctor finds: what will not work, where, and what fixes it."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from ctl.model.outcome import Fault

Severity = Literal["error", "warning", "note"]
ERROR: Final = "error"  # will not work
WARNING: Final = "warning"  # will not work in a case that it names
NOTE: Final = "note"  # works, and may surprise; all is still well


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that will not work."""

    id: str  # of its kind, the same in every language and version
    severity: Severity
    what: str
    where: str | None = None  # the file and key, directory or setting
    fix: str | None = None  # the exact command; or the lines of a file, of which the first names it in a comment
    mend: str | None = None  # the old name of `fix`, for who reads the JSON; it always says the same

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "mend", self.fix)


class Diagnosis(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to say of the host, of one service or of one unit."""

    kind: Literal["host", "service", "unit"]
    target: str | None  # the service or the unit; None for the host
    ok: bool  # neither an error nor a warning, and all could be read
    facts: dict[str, str] = {}
    findings: list[Finding] = []
    errors: list[Fault] = []  # what could not be read


def diagnosis(
    kind: Literal["host", "service", "unit"],
    target: str | None,
    facts: dict[str, str],
    findings: list[Finding],
    errors: list[Fault],
) -> Diagnosis:
    """With the gravest first."""
    order = (ERROR, WARNING, NOTE)
    found = sorted(dict.fromkeys(findings), key=lambda finding: order.index(finding.severity))
    is_well = not errors and all(finding.severity == NOTE for finding in found)
    return Diagnosis(kind=kind, target=target, ok=is_well, facts=facts, findings=found, errors=errors)


def exit_code_of_all(diagnoses: list[Diagnosis]) -> int:
    """1 where something will not work, else 4 where something could not be read, else 0."""
    if any(finding.severity != NOTE for one in diagnoses for finding in one.findings):
        return 1
    return 4 if any(one.errors for one in diagnoses) else 0
