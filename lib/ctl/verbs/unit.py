"""Where systemd has ctl act for a unit: on that unit's own process, and on no other that runs under its name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ctl.model.errors import CtlError
from ctl.model.outcome import Result
from ctl.system.host import Host
from ctl.system.lock import purpose_held
from ctl.system.pidfd import Handle, open_handle
from ctl.system.procfs import Forbidden, Gone
from ctl.system.table import exclusion
from ctl.verbs.locate import Located

if TYPE_CHECKING:
    from ctl.system.unit import Unit


def is_elsewhere(target: str, located: Located, host: Host) -> bool:
    """Whether what was located runs outside of the unit that ctl is called by, whose own main process has ended.

    Such a unit has nothing to stop: somebody has started the service again, by hand or in another unit. A unit that is
    active without a process means the service wherever it runs.

    Raises CtlError (identity_mismatch) where the unit has a main process, and it is another one.
    """
    unit = host.unit
    if unit is None or located.doubt is not None:
        return False
    if not located.mains:
        _require_ended(unit, located)
    foreign = next((main for main in located.mains if not _is_of(unit, main)), None)
    if foreign is None or (unit.main_pid is None and unit.outlives_its_process()):
        return False
    if unit.main_pid is None:
        host.say(target, f"runs as pid {foreign.pid}, which is not of {unit.name}: it is left alone")
        return True
    what = f"its main process is pid {foreign.pid}, which is not of {unit.name}: none was signalled"
    raise CtlError("identity_mismatch", what, where=f"MAINPID={unit.main_pid}")


def bounds_of_unit(located: Located, host: Host) -> Callable[[int], bool] | None:
    """What says of a process whether it is of the unit that ctl is called by; None where it need not be.

    A process that descends from the unit's may have been put into a unit of its own, as a login by sshd is. systemd
    ends the one without the other, and so does ctl where it does this in the place of systemd.
    """
    unit = host.unit
    if unit is None or not all(unit.holds(main.pid) for main in located.mains):
        return None
    return None if not located.mains and unit.main_pid is None and unit.outlives_its_process() else unit.holds


def is_started_elsewhere(target: str, host: Host) -> bool:
    """Whether another ctl is just starting the service, while the unit that this ctl is called by has ended.

    As in a restart by hand. To wait for that, in order to leave alone what comes of it, would only keep the unit from
    ending.
    """
    unit = host.unit
    if unit is None or not unit.has_ended:
        return False
    verb = purpose_held(host.records.lock_file(target))
    return verb in ("start", "run", "restart") and not unit.outlives_its_process()


def count_as_success(result: Result, host: Host) -> None:
    """A stop that ctl has completed is one for systemd as well."""
    unit = host.unit
    if result.ok and unit is not None and unit.main_pid is not None and result.pid == unit.main_pid:
        unit.count_as_success()


def require_unit_alive(host: Host) -> None:
    """Raises CtlError (not_ready) where the main process of the unit that ctl is called by has ended.

    As ExecStartPost= ctl is what systemd waits for before it does anything about that.
    """
    unit = host.unit
    if unit is not None and unit.main_pid is not None and not _is_alive(unit.main_pid):
        raise CtlError("not_ready", f"the main process of {unit.name} has ended", where=f"MAINPID={unit.main_pid}")


def _is_of(unit: Unit, main: Handle) -> bool:
    return main.pid == unit.main_pid or unit.holds(main.pid)


def _require_ended(unit: Unit, located: Located) -> None:
    """Raises CtlError where systemd names a main process that lives and was not believed to be the service's.

    A `ctl run` that has not become the service yet is none: systemd ends it when there is nothing more to stop.
    """
    claim = next((claim for claim in located.claims if claim.source == "$MAINPID"), None)
    if unit.main_pid is None or claim is None or not _is_alive(unit.main_pid, or_ctl=False):
        return
    what = f"its main process is not the one of {unit.name}: {claim.why}; none was signalled"
    raise CtlError("identity_mismatch", what, where=f"MAINPID={unit.main_pid}")


def _is_alive(pid: int, *, or_ctl: bool = True) -> bool:
    try:
        handle = open_handle(pid)
        if handle is None:
            return False
        with handle:
            is_ctl = not or_ctl and exclusion(handle) == "another_ctl"
            return not is_ctl and not handle.is_gone
    except Gone:
        return False
    except Forbidden:
        return True
