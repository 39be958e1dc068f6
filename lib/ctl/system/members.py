"""The processes of a service: what its main process has started, also after they have left session and parent."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from ctl.system import procfs
from ctl.system.cgroups import is_in_another_container
from ctl.system.gate import is_gated
from ctl.system.groups import Group
from ctl.system.key import RUN_ID
from ctl.system.managers import is_service_manager
from ctl.system.marks import Marks
from ctl.system.pidfd import Handle, open_handle
from ctl.system.procfs import Forbidden, Gone
from ctl.system.reading import Came, Reading, read_newcomers, read_processes
from ctl.system.recorded import Others
from ctl.system.sessions import Led, Sessions
from ctl.system.wait import now

# In one refresh. A host where others fork without end must not keep ctl from going on, and a slow one is not taken for
# that.
_LOOKS_FOR: Final = 0.5  # seconds after the first look at everybody
_LOOKS_AT_LEAST: Final = 3  # times at who has come since
_MARK_WORDS: Final[dict[str | None, str]] = {RUN_ID: "carries the run id"}


class Members:
    """Every process but the main ones that descends from it, is in its session or scope, or carries its marks.

    A process once found stays known by its handle, also when the parent that proved it has ended. What another
    target's record names, and what descends from that, is never a member, whatever else it is.
    """

    def __init__(
        self,
        mains: list[Handle],
        marks: Marks,
        since_ticks: int | None = None,
        within: Callable[[int], bool] | None = None,
        others: Callable[[], Others] | None = None,
        led: Mapping[int, Led] | None = None,
        groups: Sequence[Group] = (),
    ) -> None:
        """Nothing that started before `since_ticks`, by default before the main processes, is looked at.

        With `within` only those of which it says yes are members. `others` tells what other targets' records name now,
        and `led` which sessions main processes have led that have ended since. Whoever is in one of the `groups`,
        which ctl had made for the runs, is a member.
        """
        self._within = within
        self._mains = mains
        self._marks = marks
        self._others = others
        oldest = min((main.stat.start_ticks for main in mains), default=0)
        self._since = oldest if since_ticks is None else since_ticks
        self._sessions = Sessions(led or {})
        self._groups = groups
        self._known: dict[int, Handle] = {}
        self._unproved: dict[int, Handle] = {}
        self._suspects = False  # whether such a one was seen in any look of this refresh
        self._service_users = {marks.uid}  # as whom its processes run, as far as that was seen
        self._others_now: Others | None = None  # in this look
        self.gave_up = False  # whether members may be left that come and go too fast to be found
        self._missed = False  # whether one who may have been a member had ended before it could be judged

    def known(self) -> list[Handle]:
        """The living members found so far, the oldest first."""
        self._forget_ended()
        return _oldest_first(self._known)

    def unproved(self) -> list[Handle]:
        """Who carries the service's token, as another user and nowhere near it: nothing proves that it belongs here."""
        return [handle for handle in _oldest_first(self._unproved) if not handle.is_gone]

    @property
    def unreadable(self) -> str:
        """Why it cannot be told who carries the service's token; empty where it can."""
        return self._marks.unreadable

    def is_of_this_run(self, handle: Handle) -> bool:
        """Whether it carries the run's token, whoever's process it is."""
        return self._marks.carried_by(handle) not in (None, RUN_ID)

    def proves(self, handle: Handle) -> bool:
        """Whether this process is a member now, or a main process."""
        if any(handle.identity == main.identity for main in self._mains):
            return True
        self.refresh()
        return any(handle.identity == known.identity for known in self._known.values())

    def look(self) -> list[Handle]:
        """The living members, but for those that were born during this one look."""
        self._forget_ended()
        if self._may_have_any():
            self._sessions.note(self._mains)
            self._join_all(read_processes())
        return _oldest_first(self._known)

    def refresh(self, *, to_the_last: bool = False) -> list[Handle]:
        """The living members now. They include neither the main processes nor ctl and its ancestors.

        Where there are some, one that was born meanwhile may be missing; with `to_the_last` only if others are new, or
        if it `gave_up`.
        """
        self._forget_ended()
        if not self._may_have_any():
            return []
        self._sessions.note(self._mains)
        known_before = set(self._known) if to_the_last else set()
        reading = read_processes()
        self._join_all(reading)
        until, looks = now() + _LOOKS_FOR, 0
        # A member may fork and end while /proc is being read. That nobody is left is believed only when nobody has
        # ended meanwhile, be it a member or one who came, and could not be looked at any more. Who came and carries
        # another run's marks, or none, is no member, and nothing that he starts could be told for one.
        is_over = self.gave_up = self._suspects = False
        while True:
            is_over = not self._forget_ended() and is_over
            is_late = not is_over and looks >= _LOOKS_AT_LEAST and now() >= until
            if is_over or is_late or self._known.keys() - known_before:
                # Of those who end before it can be told whose they are, some are seen in so many looks. Where none of
                # these was the service's, it is others who fork without end.
                self.gave_up = is_late and self._suspects
                return _oldest_first(self._known)
            again, looks = read_newcomers(), looks + 1
            is_over = self._join_newcomers(again, again.came_since(reading.number))
            reading = again

    def kinship(self, member: Handle) -> list[str]:
        """How this member is known, now: parent, session, token. Empty where what proved it has ended since."""
        return [
            how
            for how, holds in (
                (f"child of pid {member.stat.ppid}", self._has_parent_here(member)),
                (f"session of pid {member.stat.session}", self._in_session(member)),
                ("in the scope of the run", self._in_group(member)),
                (_MARK_WORDS.get(self._marks.carried_by(member), "carries the run's token"), self._marks.prove(member)),
            )
            if holds
        ]

    def close(self) -> None:
        for known in (self._known, self._unproved):
            for handle in known.values():
                handle.close()
            known.clear()

    def _forget_ended(self) -> bool:
        """Returns whether any has."""
        ended = [pid for pid, handle in self._known.items() if handle.is_gone]
        for pid in ended:
            self._known.pop(pid).close()
        return bool(ended)

    def _may_have_any(self) -> bool:
        return bool(self._mains or self._known or self._marks or self._groups or list(self._sessions.numbers))

    def _join_all(self, reading: Reading) -> None:
        self._others_now = None
        self._sessions.forget_reused(reading.stats)
        self._note_users(reading)
        self._forget_others(reading)
        rejected: set[int] = set()
        self._join_relatives(reading, rejected)
        if self._groups:
            self._join_each(self._grouped(reading), reading, rejected)
            self._join_relatives(reading, rejected)
        if self._marks:
            carriers: set[int] = set()
            for variable, values in self._marks.values.items():
                found = reading.carriers(values, variable, self._since)
                carriers |= {pid for pid in found if self._marks.may_prove(variable, reading.owners[pid])}
            self._join_each(carriers, reading, rejected)
            self._join_relatives(reading, rejected)  # those of the ones that only their marks showed

    def _join_newcomers(self, reading: Reading, came: Came) -> bool:
        """Returns whether all who may be members could be looked at before they ended."""
        self._others_now = None
        self._note_users(reading)
        pids = [pid for pid in came.pids if reading.stats[pid].start_ticks >= self._since]
        missed = set(came.ended)
        carriers: set[int] = set()
        for variable, values in self._marks.values.items():
            for pid in pids:
                value, owner = reading.value(pid, variable), reading.owners[pid]
                if value in values and self._marks.may_prove(variable, owner):
                    carriers.add(pid)
                missed |= {owner} if value is None else set()
        carriers |= self._grouped(reading).intersection(pids)
        self._missed = False
        rejected: set[int] = set()
        joined = True
        while joined:
            family = self._family()
            relatives = {
                pid for pid in pids if reading.stats[pid].ppid in family or reading.stats[pid].session in self._sessions
            }
            joined = self._join_each(carriers | relatives, reading, rejected)
        self._suspects = self._suspects or self._missed or bool(missed & self._service_users)
        is_nobodys = None not in missed or not any(map(procfs.is_any_of, self._service_users))
        return not self._missed and not missed & self._service_users and is_nobodys

    def _family(self) -> set[int]:
        return {handle.pid for handle in (*self._mains, *self._known.values())}

    def _join_relatives(self, reading: Reading, rejected: set[int]) -> None:
        """Let all descendants and all of the session join, generation by generation."""
        joined = True
        while joined:
            joined = self._join_each(reading.relatives(self._family(), self._sessions.numbers), reading, rejected)

    def _join_each(self, pids: set[int], reading: Reading, rejected: set[int]) -> bool:
        """Let those join who prove to be members. Returns whether anybody did.

        Nothing that a process started is older than itself; and nothing of ctl's own lineage is a member.
        """
        passed_over = rejected | reading.lineage | {1}
        # One that has ended may have left its pid to another.
        passed_over |= {handle.pid for handle in (*self._mains, *self._known.values()) if not handle.is_gone}
        joined = False
        for pid in pids - passed_over:
            if reading.stats[pid].start_ticks >= self._since and self._join(pid, reading):
                joined = True
            else:
                rejected.add(pid)
        return joined

    def _join(self, pid: int, reading: Reading) -> bool:
        """Judge the process again with an open handle, and keep that where it is a member."""
        try:
            handle = open_handle(pid)
        except Forbidden:
            return False
        if handle is None:
            self._missed = True
            return False
        is_ours = not self._is_anothers(handle, reading)
        if is_ours and self._is_member(handle) and self._may_be_one(handle) and not handle.is_gone:
            _keep(handle, self._known)
            return True
        self._missed = self._missed or handle.is_gone
        if is_ours and self._marks.carried_by(handle) not in (None, RUN_ID) and not handle.is_gone:
            _keep(handle, self._unproved)
        else:
            handle.close()
        return False

    def _is_member(self, handle: Handle) -> bool:
        """What is in a container is one only by its parent: its session may be that of a process adopted once."""
        if self._has_parent_here(handle):
            return True
        is_known = self._in_session(handle) or self._in_group(handle) or self._marks.prove(handle)
        return is_known and not is_in_another_container(handle.pid)

    def _may_be_one(self, handle: Handle) -> bool:
        """Whether it is not what systemd keeps beside the service and ends by itself, (sd-pam), or elsewhere.

        Nor is it a child of another ctl's that waits to become a service: whose it will be, its record will tell.
        """
        try:
            is_other = is_service_manager(handle.pid) or is_gated(handle.pid)
        except Gone:
            return True
        return not is_other and (self._within is None or self._within(handle.pid))

    def _is_anothers(self, handle: Handle, reading: Reading) -> bool:
        """Whether it is, or descends from, a process that another target's record names."""
        if self._others is None:
            return False
        if self._others_now is None:
            self._others_now = self._others()
        if self._others_now.whose(handle) is not None:
            return True
        ours = {(own.pid, own.stat.start_ticks) for own in (*self._mains, *self._known.values())}
        parent, seen = handle.stat.ppid, {handle.pid}
        while parent not in seen and (stat := reading.stats.get(parent)) is not None:
            if (parent, stat.start_ticks) in ours:
                return False
            if self._others_now.name(parent, stat.start_ticks):
                return True
            seen.add(parent)
            parent = stat.ppid
        return False

    def _forget_others(self, reading: Reading) -> None:
        """Whom another target's record has come to name is none of ours any more, however it was found."""
        for handle in _oldest_first(self._known):
            self._known.pop(handle.pid)
            if self._is_anothers(handle, reading):
                handle.close()
            else:
                self._known[handle.pid] = handle

    def _has_parent_here(self, handle: Handle) -> bool:
        """A parent that is still there after the child named it is that parent, and not a reuse of its pid."""
        parent = handle.stat.ppid
        family = (*self._mains, *self._known.values())
        return any(relative.pid == parent and not relative.is_gone for relative in family)

    def _in_session(self, handle: Handle) -> bool:
        return self._sessions.prove(handle.stat, self._known.values())

    def _in_group(self, handle: Handle) -> bool:
        return any(group.holds(handle.pid) for group in self._groups)

    def _grouped(self, reading: Reading) -> set[int]:
        """Who of the reading is in one of the groups."""
        return {pid for group in self._groups for pid in group.pids() if pid in reading.stats}

    def _note_users(self, reading: Reading) -> None:
        self._service_users |= {reading.owners[pid] for pid in self._family() if pid in reading.owners}


def _oldest_first(known: Mapping[int, Handle]) -> list[Handle]:
    return sorted(known.values(), key=lambda handle: handle.stat.start_ticks)


def _keep(handle: Handle, among: dict[int, Handle]) -> None:
    if (earlier := among.pop(handle.pid, None)) is not None:
        earlier.close()
    among[handle.pid] = handle
