from __future__ import annotations

from typing import Annotated

import typer

from ctl.shell.options import Targets, WaitTimeout
from ctl.shell.session import Session
from ctl.shell.verb import verb
from ctl.verbs import wait as waiting

For = Annotated[waiting.Goal, typer.Option("--for", help="What they are to be.")]


@verb
def wait(session: Session, targets: Targets, goal: For = "ready", timeout: WaitTimeout = None) -> int:
    """Wait until services are ready, running or stopped.

    Whoever starts or stops them. It takes no lock and changes nothing. One that ends while it is waited for may be
    started again. What is started without ctl is looked for once a second; all else is announced by the kernel.
    Exits with 151 where they are not running or ready in time, with 150 where they are not stopped.
    """
    options = waiting.WaitOptions(goal=goal, timeout=timeout)
    return session.act(targets, lambda service, host: waiting.wait(service, host, options))
