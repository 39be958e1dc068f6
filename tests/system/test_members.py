"""Looking for all processes of a service, on a host where that takes its time."""

from __future__ import annotations

from ctl.system import members
from ctl.system.marks import Marks
from ctl.system.members import Members
from ctl.system.pidfd import open_handle
from support.pidreuse import Pids, in_own_namespace
from support.sandbox import Sandbox

RUN_ID = "0" * 32


def _look_with_no_time_left(_pids: Pids, sandbox: Sandbox) -> bool:
    """As where reading the process table takes longer than all the time there is: whether it gave up."""
    members._LOOKS_FOR = 0.0  # type: ignore[misc]
    process = sandbox.reaper.start(sandbox.programs("polite"), env={"CTL_RUN_ID": RUN_ID})
    handle = open_handle(process.pid)
    assert handle is not None
    found = Members([handle], Marks(uid=0, values={"CTL_RUN_ID": frozenset({RUN_ID})}))
    assert found.refresh() == []
    return found.gave_up


def test_a_slow_host_is_not_taken_for_one_where_others_fork_without_end(sandbox: Sandbox) -> None:
    """It has a pid namespace of its own, where nobody else forks."""
    assert in_own_namespace(sandbox, _look_with_no_time_left) is False
