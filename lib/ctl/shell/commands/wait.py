from __future__ import annotations

from typing import TYPE_CHECKING

from ctl.shell.session import Session
from ctl.shell.verb import verb
from ctl.verbs import wait as waiting

if TYPE_CHECKING:
    from ctl.shell.options import Targets, WaitFor, WaitTimeout


@verb
def wait(session: Session, targets: Targets, goal: WaitFor = "ready", timeout: WaitTimeout = None) -> int:
    """Wait until services are ready, running or stopped.

    Whoever starts or stops them. It takes no lock and changes nothing. One that ends while it is waited for may be
    started again. What is started without ctl is looked for once a second; all else is announced by the kernel.

    Exit codes:
        0: so it is; never changed, and the reason is already_running or already_stopped where it was so at once
        1, 2, 4, 5, 6, 130, 143
        150: not stopped in time
        151: not running or not ready in time
        152, 199

    Examples:
        ctl wait gateway
        ctl wait --for stopped --timeout 60 gateway engine
    """
    options = waiting.WaitOptions(goal=goal, timeout=timeout)
    return session.act(targets, lambda service, host: waiting.wait(service, host, options))
