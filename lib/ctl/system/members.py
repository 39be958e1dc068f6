"""The processes of a service: what its main process has started, also after they have left session and parent."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from ctl.system import procfs
from ctl.system.pidfd import Handle, open_handle
from ctl.system.procfs import Forbidden, Gone, Stat, ticks_now
from ctl.system.reading import Reading, read_newcomers, read_processes
from ctl.system.wait import now

# In one refresh. A host where others fork without end must not keep ctl from going on, and a slow one is not taken for
# that.
_LOOKS_FOR: Final = 0.5  # seconds after the first look at everybody
_LOOKS_AT_LEAST: Final = 3  # times at who has come since


class Members:
    """Every process but the main ones that carries the service's run id, descends from it, or is in its session.

    A process once found stays known by its handle, also when the parent that proved it has ended.
    """

    def __init__(
        self,
        mains: list[Handle],
        run_ids: Iterable[str],
        since_ticks: int | None = None,
        variable: str = "CTL_RUN_ID",
        within: Callable[[int], bool] | None = None,
    ) -> None:
        """Nothing that started before `since_ticks`, by default before the main processes, is looked at.

        With `within` only those of which it says yes are members.
        """
        self._within = within
        self._mains = mains
        self._run_ids = frozenset(run_ids)
        self._variable = variable
        oldest = min((main.stat.start_ticks for main in mains), default=0)
        self._since = oldest if since_ticks is None else since_ticks
        # Each session that a main process leads, with the last clock tick that ended while that was alive.
        self._alive_at: dict[int, int] = {}
        self._known: dict[int, Handle] = {}
        self.gave_up = False  # whether members may be left that come and go too fast to be found
        self._missed = False  # whether somebody who looked like a member had ended before he could be judged

    def known(self) -> list[Handle]:
        """The living members found so far, the oldest first."""
        self._forget_ended()
        return self._oldest_first()

    def _oldest_first(self) -> list[Handle]:
        return sorted(self._known.values(), key=lambda handle: handle.stat.start_ticks)

    def look(self) -> list[Handle]:
        """The living members, but for those that were born during this one look."""
        self._forget_ended()
        if self._mains or self._known or self._run_ids:
            self._note_sessions()
            self._join_all(read_processes())
        return self._oldest_first()

    def refresh(self, *, to_the_last: bool = False) -> list[Handle]:
        """The living members now. They include neither the main processes nor ctl and its ancestors.

        Where there are some, one that was born meanwhile may be missing; with `to_the_last` only if others are new, or
        if it `gave_up`.
        """
        self._forget_ended()
        if not (self._mains or self._known or self._run_ids):
            return []
        self._note_sessions()
        known_before = set(self._known) if to_the_last else set()
        reading = read_processes()
        self._join_all(reading)
        until, looks = now() + _LOOKS_FOR, 0
        # A member may fork and end while /proc is being read. That nobody is left is believed only when nobody has
        # ended meanwhile, be it a member or one who came, and could not be looked at any more. Who came and carries
        # another run id, or none, is no member, and nothing that he starts could be told for one.
        is_over = False
        while True:
            has_ended = self._forget_ended()
            is_over = is_over and not has_ended
            self.gave_up = not is_over and looks >= _LOOKS_AT_LEAST and now() >= until
            if is_over or self.gave_up or self._known.keys() - known_before:
                return self._oldest_first()
            again, looks = read_newcomers(), looks + 1
            came = again.came_since(reading.number)
            is_over = not self._join_newcomers(again, came.pids) and not came.and_ended
            reading = again

    def kinship(self, member: Handle) -> list[str]:
        """How this member is known, now: parent, session, run id. Empty where what proved it has ended since."""
        return [
            how
            for how, holds in (
                (f"child of pid {member.stat.ppid}", self._has_parent_here(member)),
                (f"session of pid {member.stat.session}", self._in_session(member)),
                ("carries the run id", self._carries_run_id(member.pid, member.stat)),
            )
            if holds
        ]

    def close(self) -> None:
        for handle in self._known.values():
            handle.close()
        self._known.clear()

    def _forget_ended(self) -> bool:
        """Returns whether any has."""
        ended = [pid for pid, handle in self._known.items() if handle.is_gone]
        for pid in ended:
            self._known.pop(pid).close()
        return bool(ended)

    def _note_sessions(self) -> None:
        for main in self._mains:
            tick = int(ticks_now())
            if main.stat.session == main.pid and not main.is_gone:
                self._alive_at[main.pid] = tick

    def _join_all(self, reading: Reading) -> None:
        rejected: set[int] = set()
        self._join_relatives(reading, rejected)
        if self._run_ids:
            self._join_each(reading.carriers(self._run_ids, self._variable, self._since), reading, rejected)
            self._join_relatives(reading, rejected)  # those of the ones that only the run id showed

    def _join_newcomers(self, reading: Reading, came: list[int]) -> bool:
        """Returns whether one of them has ended before he could join."""
        came = [pid for pid in came if reading.stats[pid].start_ticks >= self._since]
        values = {pid: reading.value(pid, self._variable) for pid in came}
        self._missed = None in values.values()
        rejected: set[int] = set()
        carriers = {pid for pid, value in values.items() if value in self._run_ids}
        joined = True
        while joined:
            family = {handle.pid for handle in (*self._mains, *self._known.values())}
            relatives = {
                pid for pid in came if reading.stats[pid].ppid in family or reading.stats[pid].session in self._alive_at
            }
            joined = self._join_each(carriers | relatives, reading, rejected)
        return self._missed

    def _join_relatives(self, reading: Reading, rejected: set[int]) -> None:
        """Let all descendants and all of the session join, generation by generation."""
        joined = True
        while joined:
            family = {handle.pid for handle in (*self._mains, *self._known.values())}
            joined = self._join_each(reading.relatives(family, self._alive_at), reading, rejected)

    def _join_each(self, pids: set[int], reading: Reading, rejected: set[int]) -> bool:
        """Let those join who prove to be members. Returns whether anybody did.

        Nothing that a process started is older than itself; and nothing of ctl's own lineage is a member.
        """
        passed_over = rejected | reading.lineage | {1} | self._known.keys()
        passed_over |= {main.pid for main in self._mains if not main.is_gone}
        joined = False
        for pid in pids - passed_over:
            if reading.stats[pid].start_ticks >= self._since and self._join(pid):
                joined = True
            else:
                rejected.add(pid)
        return joined

    def _join(self, pid: int) -> bool:
        """Judge the process again with an open handle, and keep that where it is a member."""
        try:
            handle = open_handle(pid)
        except Forbidden:
            return False
        if handle is None:
            self._missed = True
            return False
        if self._is_member(handle) and self._is_within(handle) and not handle.is_gone:
            self._known[pid] = handle
            return True
        self._missed = self._missed or handle.is_gone
        handle.close()
        return False

    def _is_member(self, handle: Handle) -> bool:
        return (
            self._has_parent_here(handle) or self._in_session(handle) or self._carries_run_id(handle.pid, handle.stat)
        )

    def _is_within(self, handle: Handle) -> bool:
        """Whether it is not what systemd keeps beside the service and ends by itself, (sd-pam), or elsewhere."""
        try:
            is_systemds = procfs.is_service_manager(handle.pid)
        except Gone:
            return True
        return not is_systemds and (self._within is None or self._within(handle.pid))

    def _has_parent_here(self, handle: Handle) -> bool:
        """A parent that is still there after the child named it is that parent, and not a reuse of its pid."""
        parent = handle.stat.ppid
        family = (*self._mains, *self._known.values())
        return any(relative.pid == parent and not relative.is_gone for relative in family)

    def _in_session(self, handle: Handle) -> bool:
        """A session keeps its leader's pid from being reused for as long as anyone is in it, credentials(7).

        So who was in it while the main process was seen alive is in that session. Who started later may be in another
        one that got the same number, and is known only by its parent or its run id.
        """
        return handle.stat.start_ticks < self._alive_at.get(handle.stat.session, 0)

    def _carries_run_id(self, pid: int, stat: Stat) -> bool:
        if not self._run_ids:
            return False
        try:
            return (
                bool(run_id := procfs.read_variable(pid, self._variable, wait_for_exec=stat.state not in "ZX"))
                and run_id in self._run_ids
            )
        except (Gone, Forbidden):
            return False
