"""The systemd unit that has ctl stop or reload it: what proves that, and what it is asked. See systemd.exec(5)."""

from __future__ import annotations

import os
from functools import cache
from typing import Final, NamedTuple

from ctl.model.identity import LARGEST_PID
from ctl.system import procfs, systemd
from ctl.system.environment import variable
from ctl.system.procfs import Forbidden, Gone

_CONTROL: Final = "/.control"  # where the control processes of a unit with Delegate= are
_ANSWERS_WITHIN: Final = 5.0  # seconds


class Unit(NamedTuple):
    """A service unit of which this ctl is a control process: ExecStop=, ExecStopPost=, ExecReload=, ExecStartPost=."""

    name: str
    of_user: bool  # of a user's own systemd
    control_group: str
    main_pid: int | None  # $MAINPID; None where the unit's main process has ended, or systemd knows none
    has_ended: bool  # whether systemd has seen its main process end: $EXIT_CODE, and no $MAINPID

    def holds(self, pid: int) -> bool:
        """Whether the process is in the unit's control group, where systemd puts what it starts and nobody else can.

        Who started a process in there is another question: the unit's other control processes are there, too.
        """
        try:
            paths = procfs.read_cgroups(pid)
        except Gone:
            return False
        return bool(paths) and (paths[0] == self.control_group or paths[0].startswith(f"{self.control_group}/"))

    def outlives_its_process(self) -> bool:
        """Whether it stays active without a main process, as one that stops other services at shutdown does."""
        return self._shows("Type", "oneshot") or self._shows("RemainAfterExit", "yes")

    def count_as_success(self) -> None:
        """Have the stop that ctl has completed count as one, however the main process ended.

        systemd takes an end by KILL, or with a status of its own, for a failure. It forgets about that when asked to,
        also while ExecStop= is still running, and then the unit becomes inactive instead of failed.
        """
        if not self._shows("Result", "success"):
            systemd.call("reset-failed", "--", self.name, seconds=_ANSWERS_WITHIN, of_user=self.of_user)

    def _shows(self, name: str, value: str) -> bool:
        """False also where systemd does not answer: that keeps nothing back."""
        shown = systemd.show([self.name], [name], _ANSWERS_WITHIN, of_user=self.of_user)
        return shown is not None and shown[self.name].get(name) == [value]


@cache
def serving() -> Unit | None:
    """The unit whose control process called this ctl, or is it. None where that is not proved.

    A variable alone proves nothing: a shell that was started by hand within a service has inherited all of them.
    systemd gives MAINPID and SERVICE_RESULT to control processes only, forks these itself, and puts them into the
    unit's own control group.
    """
    first = _of_manager()
    if first is None:
        return None
    main_pid = _pid(variable("MAINPID"))
    if variable("SERVICE_RESULT") is None and main_pid in (None, first):
        return None
    path = _control_group(first)
    if path is None or path != _control_group(os.getpid()):
        return None
    return Unit(
        name=path.rpartition("/")[2],
        of_user=variable("MANAGERPID") is not None,
        control_group=path,
        main_pid=main_pid,
        has_ended=main_pid is None and variable("EXIT_CODE") is not None,
    )


@cache
def is_of_manager() -> bool:
    """Whether this very process was executed by systemd for a service, or called by a control process of one."""
    first = _of_manager()
    return first is not None and (first == os.getpid() or serving() is not None)


def _of_manager() -> int | None:
    """The process that systemd has forked for Exec*=: ctl, or the ancestor that has called it."""
    manager = _pid(variable("MANAGERPID")) or 1
    forked = os.getpid()
    try:
        for parent in procfs.parents(os.getpid()):
            if parent == manager:
                break
            forked = parent
        if procfs.read_stat(forked).ppid != manager:
            return None
    except (Gone, Forbidden):
        return None
    told = _pid(variable("SYSTEMD_EXEC_PID"))  # from systemd 248 on
    return forked if variable("INVOCATION_ID") is not None and told in (None, forked) else None


def _control_group(pid: int) -> str | None:
    """The path of the service unit's control group, where the process is in there and not below it."""
    try:
        paths = procfs.read_cgroups(pid)
    except Gone:
        return None
    path = paths[0].removesuffix(_CONTROL) if paths else ""
    return path if path.endswith(".service") else None


def _pid(text: str | None) -> int | None:
    if not (text and text.isascii() and text.isdigit() and len(text) <= 10):
        return None
    return int(text) if 1 < int(text) <= LARGEST_PID else None
