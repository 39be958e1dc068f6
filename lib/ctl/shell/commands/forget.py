from __future__ import annotations

from typing import TYPE_CHECKING

from ctl.shell.session import Session
from ctl.shell.verb import verb
from ctl.verbs import forget as forgetting

if TYPE_CHECKING:
    from ctl.shell.options import DryRun, LockTimeout, Targets


@verb
def forget(session: Session, targets: Targets, dry_run: DryRun = False, lock_timeout: LockTimeout = 60.0) -> int:
    """Forget services that do not run: remove their state file, pid file and locks from the run directory.

    What was asked of them last and how they ended is not known any more after that. It also works for a service whose
    definition is gone. One that runs, or of which something is left over, is not forgotten.

    Exit codes:
        0: forgotten, or nothing was known
        1: it runs, or something of it is left over
        2
        4: cannot tell whether it runs
        5: unknown target; then nothing is done to the others either
        6, 130, 143
        152, 153, 199

    Examples:
        ctl forget worker@7
        ctl forget --dry-run gateway   # which files would be removed
    """
    options = forgetting.ForgetOptions(lock_timeout=lock_timeout, dry_run=dry_run)
    return session.act_on_named_or_all(
        targets, lambda service, host: forgetting.forget(service, host, options), ask=False, undefined_too=True
    )
