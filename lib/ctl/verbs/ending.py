"""Carrying out a stop schedule on processes that have been proved to be a service's own."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal

from ctl.model.errors import CtlError
from ctl.model.identity import Identity
from ctl.model.outcome import Fault, Seen, Signalled
from ctl.model.schedule import Schedule
from ctl.system.host import Host
from ctl.system.members import Members
from ctl.system.pidfd import Handle
from ctl.system.portrait import seen
from ctl.system.wait import now

KillMode = Literal["mixed", "process", "tree"]


class Ending:
    """One stop schedule under way. Its deadline is fixed when it is made, before the first signal."""

    def __init__(self, target: str, host: Host, mains: list[Handle], members: Members, schedule: Schedule) -> None:
        self.signals: list[Signalled] = []
        self.faults: list[Fault] = []
        self._target = target
        self._host = host
        self._mains = mains
        self._members = members
        # While the main process still shows who its children are, and before the clock runs: and no more than one look,
        # which others cannot make longer by forking.
        looked = now()
        members.look()
        self._look_takes = now() - looked
        self._schedule = schedule
        self._began = now()
        self._grace_end = self._began + schedule.grace
        self._deadline = self._began + schedule.longest
        self._refused: set[int] = set()

    @property
    def escalated(self) -> bool:
        """Whether KILL was needed although the schedule began with something gentler."""
        return self._schedule.first_signal != "KILL" and any(sent.signal == "KILL" for sent in self.signals)

    @property
    def gave_up(self) -> bool:
        """Whether processes may be left that come and go too fast to be found."""
        return self._members.gave_up

    def left(self) -> list[Seen]:
        """Who is there now, as far as is known."""
        return _seen([*_alive(self._mains), *self._members.known()])

    def carry_out(self, mode: KillMode) -> list[Seen]:
        """The schedule, by kill mode. Returns who is still alive after it, which is an empty list when all went well.

        Raises Interrupted.
        """
        if mode == "tree":
            return self._everyone()
        left = self._step_by_step()
        if mode == "process":
            return _seen(left)
        return _seen([*left, *self._members.refresh()] if left else self._survivors())

    def _step_by_step(self) -> list[Handle]:
        """Each step to the main processes. Returns those that are left."""
        for index, (signal, end) in enumerate(self._schedule.timeline()):
            self._send(self._mains, signal)
            self._let_go_on(self._members.known())
            if self._wait(self._mains, self._began + end, signal, self._schedule.after(index)):
                break
            if self._all_refused(_alive(self._mains)):
                break
        return _alive(self._mains)

    def _everyone(self) -> list[Seen]:
        """Each step to every process of the service; those that are known are told at its time, before any look."""
        everyone: list[Handle] = []
        for index, (signal, end) in enumerate(self._schedule.timeline()):
            told: set[Identity] = set()
            everyone = self._tell_all([*_alive(self._mains), *self._members.known()], signal, told)
            if index > 0 and everyone and now() + self._look_takes < self._began + end:
                everyone = self._tell_all([*_alive(self._mains), *self._members.look()], signal, told)
            # Who was born meanwhile is told as well, until nobody new turns up or the step's time is over.
            while not self._all_refused(everyone):
                if not self._wait(everyone, self._began + end, signal, self._schedule.after(index)):
                    break
                everyone = self._tell_all([*_alive(self._mains), *self._look_again()], signal, told)
                if not everyone or now() >= self._began + end:
                    break
            if not everyone or self._all_refused(everyone):
                break
        return _seen(_alive(everyone))

    def _tell_all(self, handles: list[Handle], signal: str | None, told: set[Identity]) -> list[Handle]:
        """Send it to those that have not been `told` yet. Returns all of them."""
        self._send([handle for handle in handles if handle.identity not in told], signal)
        told |= {handle.identity for handle in handles}
        return handles

    def _survivors(self) -> list[Handle]:
        """TERM for those who outlive the main process, what is left of the grace, KILL. Returns those that are left."""
        told: set[Identity] = set()
        killed = False
        while members := self._look_again():
            if now() < self._grace_end:
                self._send([member for member in members if member.identity not in told], "TERM")
                told |= {member.identity for member in members}
                self._wait(members, self._grace_end, "TERM", "KILL" if self._schedule.forceful_wait is not None else "")
            elif self._schedule.forceful_wait is None or (killed and now() >= self._deadline):
                break
            else:
                self._send(members, "KILL")
                killed = True
                self._wait(members, self._kill_deadline(), "KILL")
            if self._all_refused(_alive(members)):
                break
        return _alive(members)

    def _look_again(self) -> list[Handle]:
        """The members that are left. Those that come and go too fast to be found are looked for until the deadline."""
        members = self._members.refresh()
        while not members and self._members.gave_up and now() < self._deadline:
            members = self._members.refresh()
        return members

    def _kill_deadline(self) -> float:
        if math.isinf(self._deadline):
            return now() + (self._schedule.forceful_wait or 0.0)
        return self._deadline

    def _send(self, handles: Iterable[Handle], signal: str | None) -> None:
        delivered: list[Handle] = []
        for handle in handles if signal is not None else ():
            if handle.pid in self._refused:
                continue
            try:
                if handle.send(signal or ""):
                    self.signals.append(Signalled(handle.pid, signal or "", round(now() - self._began, 3)))
                    delivered.append(handle)
            except CtlError as error:
                self._refused.add(handle.pid)
                self.faults.append(Fault.of(error))
        for handle in delivered:  # once all have been sent: none of them waits for a disk
            self._host.note(self._target, "signal", identity=handle.identity, signal=signal)

    def _let_go_on(self, members: list[Handle]) -> None:
        """A main process that has been told to end may wait for its children to: that needs them to be running."""
        for member in members:
            if member.is_stopped is not False and member.pid not in self._refused:
                try:
                    member.send("CONT")
                except CtlError as error:
                    self._refused.add(member.pid)
                    self.faults.append(Fault.of(error))

    def _all_refused(self, handles: list[Handle]) -> bool:
        return bool(handles) and all(handle.pid in self._refused for handle in handles)

    def _wait(self, handles: Iterable[Handle], deadline: float, signal: str | None, then: str = "") -> bool:
        awaited = [handle for handle in handles if handle.pid not in self._refused]
        who = f"pid {awaited[0].pid}" if len(awaited) == 1 else f"{len(awaited)} processes"
        self._host.progress(
            self._target, f"{signal} sent to {who}" if signal else f"waiting for {who}", deadline, then=then
        )
        return self._host.wait_ended(awaited, deadline)


def _alive(handles: Iterable[Handle]) -> list[Handle]:
    return [handle for handle in handles if not handle.is_gone]


def _seen(handles: Iterable[Handle]) -> list[Seen]:
    return [seen(handle) for handle in handles if not handle.is_gone]
