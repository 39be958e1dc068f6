from __future__ import annotations

from typing import TYPE_CHECKING

from ctl.shell.explanation import explanation_lines
from ctl.shell.resolving import resolve
from ctl.shell.session import Session, exit_code
from ctl.shell.usage import require_one
from ctl.shell.verb import verb
from ctl.verbs.explain import explain_each

if TYPE_CHECKING:
    from ctl.shell.options import Pid, Targets


@verb
def explain(session: Session, targets: Targets, pid: Pid = None) -> int:
    """Show how services are found, and what stop would do.

    It has no effect, and asks no probe. Each claim and whether it holds; each process that is the service, could be
    taken for it or comes near, with what every rule says of it and why; who would be signalled by stop and by kill,
    and how long that could take. --verbose lists all the candidates.

    Exit codes:
        0: it can be told whether it runs
        1, 2
        4: to tell that takes other rights
        5, 6, 130, 143
        152: stop would refuse to signal
        199

    Examples:
        ctl explain gateway
        ctl explain --pid 4711 gateway    # whether this process is it, and why
        ctl explain --json gateway        # claims and candidates for a script
    """
    require_one(targets, pid)
    host = session.host()
    explanations = explain_each(resolve(host, targets), host, pid, everything=session.verbose)
    session.present(
        explanations,
        [line for explanation in explanations for line in ("", *explanation_lines(explanation))][1:],
        [fault for explanation in explanations for fault in explanation.errors],
    )
    return exit_code([explanation.exit_code for explanation in explanations])
