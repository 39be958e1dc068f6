"""What the processes of a service carry in their environment, and of whose processes that proves anything."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from ctl.system import procfs
from ctl.system.key import RUN_ID
from ctl.system.pidfd import Handle
from ctl.system.procfs import Forbidden, Gone


class Marks(msgspec.Struct, frozen=True, kw_only=True):
    """What the processes of a service carry in their environment, and as whom they run.

    Whoever can read an environment can give it to others, by sudo(8) or a program that is set-user-ID. So it proves
    nothing of another user's process, unless that is still in the session that a recorded main process has led, as
    the workers of a server are that was started as root.
    """

    uid: int
    values: Mapping[str, frozenset[str]] = {}  # by variable
    sessions: frozenset[int] = frozenset()
    unreadable: str = ""  # why it cannot be told who carries them

    def __bool__(self) -> bool:
        return any(self.values.values())

    def carried_by(self, handle: Handle) -> str | None:
        """The variable by which this process carries one of them."""
        return next((name for name, values in self.values.items() if _value(handle, name) in values), None)

    def prove(self, handle: Handle) -> bool:
        """Whether this process is the service's: it carries a mark, and runs as its user."""
        carried = self.carried_by(handle)
        if carried is None:
            return False
        try:
            # A program that is set-user-ID runs as its owner for whoever has called it.
            is_own = set(procfs.read_users(handle.pid)) == {self.uid}
        except (Gone, Forbidden):
            return False
        return is_own or (carried != RUN_ID and handle.stat.session in self.sessions)

    def may_prove(self, variable: str, uid: int) -> bool:
        """Whether it is worth a look what a process of that user carries.

        Everybody may read a run id in a record, and give it to its own processes.
        """
        return variable != RUN_ID or uid == self.uid


def _value(handle: Handle, variable: str) -> str | None:
    try:
        return procfs.read_variable(handle.pid, variable, wait_for_exec=handle.stat.state not in "ZX") or None
    except (Gone, Forbidden):
        return None
