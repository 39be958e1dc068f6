"""Carrying out a stop schedule on processes that have been proved to be a service's own."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Literal

import msgspec

from ctl.model.errors import CtlError
from ctl.model.identity import Identity
from ctl.model.outcome import Fault, Seen, Signalled
from ctl.model.schedule import PASSED_ON_AFTER, Schedule
from ctl.system.host import Host
from ctl.system.members import Members
from ctl.system.pidfd import Handle
from ctl.system.portrait import seen
from ctl.system.wait import now
from ctl.verbs.escalation import children_of, ignoring

KillMode = Literal["mixed", "process", "tree"]


class _Step(msgspec.Struct, frozen=True, kw_only=True):
    """One signal of the schedule, and when what happens: by the clock of wait.now()."""

    signal: str | None
    begins: float
    middle: float  # then the members are told, too, whatever the main process does with it
    ends: float
    then: str  # the next signal


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
        self._schedule = schedule.joined()
        self._told: set[Identity] = set()  # of the step that is under way
        self._sent: dict[Identity, set[str]] = {}
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
        left = self._step_by_step(passed_on=mode == "mixed")
        if mode == "process":
            return _seen(left)
        return _seen([*left, *self._members.refresh()] if left else self._survivors())

    def _step_by_step(self, *, passed_on: bool) -> list[Handle]:
        """Each step to the main processes, and `passed_on` to the others. Returns the main processes that are left."""
        for step in self._steps():
            # Before it is sent: a handler may ignore the signal from then on, and end the children itself.
            deaf = ignoring(_alive(self._mains), step.signal) if passed_on else []
            self._send(self._mains, step.signal)
            self._let_go_on(self._members.known())
            if passed_on:
                self._tell(children_of(deaf, self._mains, self._members.known()), step)
                if self._wait_in(step, self._mains, step.middle):
                    break
                self._pass_on(step)
            if self._wait_in(step, self._mains) or self._all_refused(_alive(self._mains)):
                break
        return _alive(self._mains)

    def _everyone(self) -> list[Seen]:
        """Each step to every process of the service; those that are known are told at its time, before any look."""
        everyone: list[Handle] = []
        for step in self._steps():
            everyone = self._tell([*_alive(self._mains), *self._members.known()], step)
            if step.begins > self._began and everyone and self._has_time_to_look(step):
                everyone = self._tell([*_alive(self._mains), *self._members.look()], step)
            if everyone and not self._wait_in(step, everyone, step.middle):
                self._pass_on(step)
                everyone = [*_alive(self._mains), *self._members.known()]
            # Who was born meanwhile is told as well, until nobody new turns up or the step's time is over.
            while not self._all_refused(everyone):
                if not self._wait_in(step, everyone):
                    break
                everyone = self._tell([*_alive(self._mains), *self._look_again()], step)
                if not everyone or now() >= step.ends:
                    break
            if not everyone or self._all_refused(everyone):
                break
        return _seen(_alive(everyone))

    def _steps(self) -> Iterator[_Step]:
        begins = self._began
        for index, (signal, end) in enumerate(self._schedule.timeline()):
            ends = self._began + end
            middle = begins + (ends - begins) * PASSED_ON_AFTER
            self._told = set()
            yield _Step(signal=signal, begins=begins, middle=middle, ends=ends, then=self._schedule.after(index))
            begins = ends

    def _tell(self, handles: list[Handle], step: _Step) -> list[Handle]:
        """Send the step's signal to those that have not been told of this step yet. Returns all of them."""
        self._send([handle for handle in handles if handle.identity not in self._told], step.signal)
        self._told.update(handle.identity for handle in handles)
        return handles

    def _pass_on(self, step: _Step) -> None:
        """The step's signal to all members that live: those that are known first, then those born since the last look.

        No look comes between a step and its time.
        """
        if step.signal is not None:
            self._tell(self._members.known(), step)
            if self._has_time_to_look(step):
                self._tell(self._members.look(), step)

    def _has_time_to_look(self, step: _Step) -> bool:
        return now() + self._look_takes < step.ends

    def _survivors(self) -> list[Handle]:
        """TERM for those who outlive the main process, what is left of the grace, KILL. Returns those that are left."""
        killed = False
        while members := self._look_again():
            if now() < self._grace_end:
                self._send([member for member in members if "TERM" not in self._sent.get(member.identity, ())], "TERM")
                self._wait(members, self._grace_end, "TERM", "KILL" if self._schedule.forceful_wait is not None else "")
            elif killed and now() >= self._deadline:
                break
            else:
                if not killed and self._schedule.catchable:
                    self._send([member for member in members if member.identity not in self._sent], "TERM")
                if self._schedule.forceful_wait is None:
                    break
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
                    self._sent.setdefault(handle.identity, set()).add(signal or "")
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

    def _wait_in(self, step: _Step, handles: Iterable[Handle], until: float | None = None) -> bool:
        return self._wait(handles, step.ends, step.signal, step.then, until)

    def _wait(
        self,
        handles: Iterable[Handle],
        deadline: float,
        signal: str | None,
        then: str = "",
        until: float | None = None,
    ) -> bool:
        """Wait `until`, by default the deadline, which is shown. Returns whether all have ended."""
        awaited = [handle for handle in handles if handle.pid not in self._refused]
        who = f"pid {awaited[0].pid}" if len(awaited) == 1 else f"{len(awaited)} processes"
        self._host.progress(
            self._target, f"{signal} sent to {who}" if signal else f"waiting for {who}", deadline, then=then
        )
        return self._host.wait_ended(awaited, deadline if until is None else until)


def _alive(handles: Iterable[Handle]) -> list[Handle]:
    return [handle for handle in handles if not handle.is_gone]


def _seen(handles: Iterable[Handle]) -> list[Seen]:
    return [seen(handle) for handle in handles if not handle.is_gone]
