from __future__ import annotations

import json
from typing import TYPE_CHECKING

from ctl.model.errors import CtlError, exit_code_of
from ctl.shell.session import Session, exit_code
from ctl.shell.usage import bad_usage
from ctl.shell.verb import verb
from ctl.system.streams import write_out
from ctl.verbs import check as checking

if TYPE_CHECKING:
    from ctl.shell.options import AnyTargets, Proposed, Schema


@verb
def check(session: Session, targets: AnyTargets = None, schema: Schema = False, file: Proposed = None) -> int:
    """Check ctl.toml and the definitions, all errors at once.

    Each with file, key and what would be right. Without a target: every file of the service directory. A template
    NAME@ is read as if for an instance. With --file a definition is checked before it replaces the one that is there.
    It has no effect, and asks no process.

    Exit codes:
        0: no errors
        1, 2, 4
        5: unknown target
        6: there is an error
        130, 143, 199

    Examples:
        ctl check
        ctl check gateway worker@
        ctl check gateway --file new.toml             # before it replaces gateway.toml
        ctl check --schema >definition.schema.json    # for an editor
    """
    if file is not None and (schema or len(targets or []) != 1):
        raise bad_usage("--file is the definition of one service: name that one")
    if schema:
        return _print_schema(targets or [])
    settings_faults: list[CtlError] = []
    host = session.host(settings_faults)
    results = checking.check(host, targets or [], settings_faults, file)
    faults = [(result.target, fault) for result in results for fault in result.errors]
    if session.as_json:
        session.print_document(results, ok=not faults)
    for target, fault in faults:
        session.tell_fault(target, fault)
    for result in () if session.as_json else results:
        for note in result.notes:
            session.note(result.target or "", note)
    if not faults and not session.as_json and not session.quiet:
        count = sum(result.target is not None for result in results)
        write_out(f"{count} definition{'' if count == 1 else 's'}, no errors")
    codes = {exit_code_of(fault.reason) for _, fault in faults}
    bad_config = exit_code_of("bad_config")
    return bad_config if bad_config in codes else exit_code(list(codes))


def _print_schema(targets: list[str]) -> int:
    if targets:
        raise bad_usage("--schema is the same for every service: it goes without a target")
    from ctl.model.schema import schema

    write_out(json.dumps(schema(), indent=2))
    return 0
