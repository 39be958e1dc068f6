"""Bringing a service up: from the gate through its record to its readiness."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from ctl.model.answer import Answer
from ctl.model.errors import CtlError, Interrupted
from ctl.model.identity import Identity
from ctl.model.outcome import Fault
from ctl.model.program import Account, Program
from ctl.model.record import Record, StopCopy
from ctl.model.schedule import Schedule
from ctl.model.service import Service, Start
from ctl.model.state import End
from ctl.model.verdict import NO, UNKNOWN, YES
from ctl.system.groups import Group
from ctl.system.host import Host
from ctl.system.key import TOKEN
from ctl.system.logfile import is_full, open_log, tail
from ctl.system.marks import Marks
from ctl.system.members import Members
from ctl.system.notify import NotifySocket
from ctl.system.pidfd import Handle, open_handle
from ctl.system.portrait import describe, rfc3339_now, started
from ctl.system.probe import Probe, log_line, probe_of
from ctl.system.procfs import Forbidden, ticks_now
from ctl.system.scopes import join_scope
from ctl.system.sessions import leads_session
from ctl.system.spawn import Gated, spawn
from ctl.system.wait import now
from ctl.verbs.asking import Answers, ask, pause_after
from ctl.verbs.daemon import NO_DAEMON, named_daemon, why_no_daemon
from ctl.verbs.ending import Ending
from ctl.verbs.locate import Located, locate
from ctl.verbs.misfit import misfit
from ctl.verbs.stop import KILL

if TYPE_CHECKING:
    from ctl.verbs.listener import Listener

_TAIL = 10  # lines
_ASK_BEFORE = 1.0  # seconds
_APPEARS_WITHIN = 1.0  # seconds
_AT_ONCE = 64  # messages


class Run(msgspec.Struct, frozen=True):
    """A run that is about to begin."""

    id: str
    key: str  # which key makes its token
    older: tuple[Record, ...]  # those of which something may be left
    stop: StopCopy

    def recorded(
        self,
        target: str,
        main: Identity,
        *,
        forking: bool = False,
        ready: bool | None = False,
        group: Group | None = None,
    ) -> Record:
        """Its record. Its main process, which is ctl's child or ctl itself, has just begun."""
        return Record(
            target=target,
            identity=main,
            run_id=self.id,
            key=self.key,
            since=rfc3339_now(),
            run_began=main.start_ticks,
            forking=forking,
            ready=ready,
            leads_session=leads_session(main.pid),
            last_seen=int(ticks_now()),
            stop=self.stop,
            scope=group.scope if group is not None else None,
            scope_inode=group.inode if group is not None else None,
        )


def stop_copy(service: Service, host: Host) -> StopCopy:
    """What a later stop or kill needs where the definition says nothing any more."""
    return StopCopy(
        schedule=str(service.schedule),
        kill_mode=service.stop.kill_mode,
        pid_file=service.stop.pid_file,
        protected=service.stop.protected,
        uid=host.service_uid(service),
    )


class Launch:
    """One service on its way up. Whatever goes wrong, nothing of it is left running unrecorded."""

    def __init__(self, service: Service, start: Start, host: Host, run: Run) -> None:
        self.faults: list[Fault] = []
        self._service = service
        self._start = start
        self._host = host
        self._run = run
        self._log = host.log_path(service)
        self._log_began = 0
        self._account: Account | None = None  # whose the log is
        self._notify: NotifySocket | None = None
        self._listener: Listener | None = None  # who has answered
        self._deadline = 0.0
        self._limit = ""
        self._handles: list[Handle | Members] = []  # on every process that has been the main one, and on the others
        self._members: Members
        self._gated: Gated
        self._main: Handle
        self._record: Record

    def bring_up(self, program: Program, timeout: float, timeout_source: str) -> int:
        """Spawn, record, let go, wait until it is ready. Returns the pid of the main process.

        Raises CtlError (exec_failed, not_ready) after everything that was started has been stopped again.
        """
        self._account = program.account
        answered_before = self._answers_already()
        self._deadline = now() + timeout
        self._limit = f"within {timeout:g} s ({timeout_source})"
        try:
            if self._service.notifies:
                self._notify = NotifySocket(self._host.config.run_dir, self._service.name, program.account)
                environment = program.environment | {"NOTIFY_SOCKET": self._notify.address}
                program = msgspec.structs.replace(program, environment=environment)
            self._spawn_recorded(program)
            self._host.note(self._service.name, "spawned", identity=self._main.identity)
            self._gated.open()
            try:
                self._become_ready(self._probe(program), answered_before)
                self._update(ready=True, ready_at=rfc3339_now())
                self._host.note(self._service.name, "ready", identity=self._main.identity)
                self.faults += [fault] if (fault := misfit(self._service, self._host, self._main)) is not None else []
            except BaseException as error:
                self._take_down(error)
                raise
            return self._main.pid
        finally:
            for opened in (*([self._notify] if self._notify is not None else []), *self._handles):
                opened.close()

    def _answers_already(self) -> bool:
        """Whether something else listens where the service is going to."""
        probe = probe_of(self._service.ready, None)
        return probe is not None and ask(self._host, probe, _ASK_BEFORE).verdict == YES

    def _spawn_recorded(self, program: Program) -> None:
        with open_log(self._log, self._start.log_keep, self._account) as log:
            self._log_began = log.began
            self._gated = spawn(program, log.fd)
        self._main = self._gated.handle
        self._handles.append(self._main)
        marks = Marks(
            values={TOKEN: frozenset({program.environment[TOKEN]})},
            uid=self._host.service_uid(self._service),
            sessions=frozenset({self._main.pid}),
        )
        others = self._host.others_than(self._service.name)
        try:
            group = self._join_scope()
            groups = (group,) if group is not None else ()
            self._members = Members([self._main], marks, self._main.stat.start_ticks, others=others, groups=groups)
            self._handles.append(self._members)
            forking = self._start.type == "forking"
            record = self._run.recorded(self._service.name, self._main.identity, forking=forking, group=group)
            self._host.records.write(record, self._run.older)
            self._record = record
        except BaseException:
            self._gated.abandon()
            self._forget()
            raise

    def _join_scope(self) -> Group | None:
        """Where it cannot have a scope, the start goes on without."""
        try:
            return join_scope(
                self._main.pid, self._service.name, self._run.id, self._service.schedule, self._host.pause
            )
        except CtlError as error:
            self.faults.append(Fault.of(error))
            return None

    def _update(self, **changes: object) -> None:
        """A kill waits for no lock: the record that it has removed must not come back."""
        record = msgspec.structs.replace(self._record, last_seen=int(ticks_now()), **changes)
        if not self._host.records.update(record):
            raise self._not_ready("was killed while starting")
        self._record = record

    def _probe(self, program: Program) -> Probe | None:
        pattern = self._service.ready_log
        if pattern is not None:
            return log_line(self._log, pattern, self._log_began, self._account)
        return probe_of(self._service.ready, program)

    def _become_ready(self, probe: Probe | None, answered_before: bool) -> None:
        """Returns when it is ready. Raises CtlError (not_ready, exec_failed) or Interrupted."""
        if self._start.type == "forking":
            self._hand_over()
        if self._notify is not None:
            self._await_message(self._notify)
        elif probe is not None:
            self._await_probe(probe)
        answered_before = answered_before and (self._listener is None or self._listener.verdict != YES)
        if answered_before:
            what = "its ready probe answered before it was started: something else listens there"
            self.faults.append(Fault(reason="failed", what=what, where=f"{self._service.file}, ready"))
        elif self._listener is not None and self._listener.verdict == UNKNOWN:
            fix = 'to take any listener for it: [ready] listener = "any"'
            where = f"{self._service.file}, ready"
            self.faults.append(Fault(reason="failed", what=self._listener.why, where=where, fix=fix))
        if answered_before or (probe is None and self._notify is None):
            self._settle()

    def _settle(self) -> None:
        until = now() + self._service.ready.settle
        self._tell(until)
        while now() < until:
            self._watch((), until)

    def _await_probe(self, probe: Probe) -> None:
        began, answers = now(), Answers()
        self._tell(self._deadline)
        while (asked := now()) < self._deadline:
            answer = self._ask(probe)
            if answer.verdict == YES:
                self._watch((), now())  # who answered may be another: ours must be alive
                answer = self._judged(answer)
            if answer.verdict == YES:
                return
            answers.add(answer)
            self._tell(self._deadline, answers)
            self._watch((), min(now() + pause_after(began, asked), self._deadline))
        raise self._not_ready(f"was not ready {self._limit}: {answers.text}")

    def _judged(self, answer: Answer) -> Answer:
        """No where another process has given it, from which the service may still take over."""
        if self._service.ready.listener == "any" or answer.peer is None:
            return answer
        from ctl.verbs.listener import judge_answer

        found = judge_answer(answer, self._service, self._host, [self._main], lambda: self._members)
        earlier, self._listener = self._listener, found
        if found.verdict == NO:
            return Answer(NO, found.why)
        # What has answered may have ended since, and nobody listen any more: what cannot be told is asked twice.
        return Answer(UNKNOWN, found.why) if found.verdict == UNKNOWN and found != earlier else answer

    def _ask(self, probe: Probe) -> Answer:
        attempt = probe(self._deadline - now())
        try:
            while not self._watch((attempt.fd,), attempt.until) and now() < attempt.until:
                pass  # the main process of a forking service was replaced
        finally:
            answer = attempt.close()
        return answer

    def _await_message(self, notify: NotifySocket) -> None:
        trusted = {0, self._host.service_uid(self._service)}
        self._tell(self._deadline)
        while now() < self._deadline:
            self._watch((notify.fd,), self._deadline)
            for _ in range(_AT_ONCE):  # then the deadline is looked at again: there may always be one more
                if (message := notify.receive()) is None:
                    break
                if message.uid not in trusted:
                    continue
                if message.main_pid is not None:
                    self._follow(message.main_pid)
                if message.ready:
                    return
        raise self._not_ready(f"sent no READY=1 {self._limit}")

    def _follow(self, pid: int) -> None:
        """MAINPID=: believed only of a process of this very run."""
        try:
            handle = open_handle(pid)
        except Forbidden:
            return
        try:
            if handle is not None and self._members.proves(handle) and not handle.is_gone:
                self._take_as_main(handle)
                handle = None
        finally:
            if handle is not None:
                handle.close()

    def _hand_over(self) -> None:
        """type = "forking": the command exits when its daemon is there, and the daemon becomes the main process."""
        self._host.progress(self._service.name, "waiting for its command to exit", self._deadline)
        while not self._main.is_gone:
            if now() >= self._deadline:
                raise self._not_ready(f'did not exit {self._limit}, as a command of type = "forking" does')
            self._host.wait_ended([self._main], self._deadline)
        if not self._gated.succeeded():
            raise self._ended()
        self._find_daemon()

    def _find_daemon(self) -> None:
        """Look for the daemon by its pid file, the match rules or the marker until it is there."""
        began = now()
        appears_by = began + _APPEARS_WITHIN
        self._host.progress(self._service.name, "looking for its main process", self._deadline)
        while True:
            asked = now()
            problem, fix = NO_DAEMON, None
            # Asked first: a daemon that is just giving itself a title is a member, or fits its rules, or both.
            alive = self._members.refresh()
            try:
                located = locate(self._service, self._host)
            except CtlError as error:  # more than one: the intermediate parents of a double fork are still there
                problem, fix = error.what, error.fix
            else:
                if (daemon := self._daemon_of(located)) is not None:
                    self._take_as_main(daemon)
                    return
                problem, fix = why_no_daemon(located)
            if now() >= (self._deadline if alive else min(self._deadline, appears_by)):
                raise self._not_ready(f"its command {self._gated.how_it_ended()} and {problem}", fix)
            self._host.pause((), min(now() + pause_after(began, asked), self._deadline))

    def _daemon_of(self, located: Located) -> Handle | None:
        if located.mains:
            return located.mains[0]
        # It may have become another user; of whom that is not told, its token is proof together with its rules.
        own = next((handle for handle in located.unproved if self._members.is_of_this_run(handle)), None)
        return own or named_daemon(self._service, self._host, self._gated.handle)

    def _take_as_main(self, handle: Handle) -> None:
        self._main = handle
        self._handles.append(handle)
        self._update(identity=handle.identity, forking=False, leads_session=handle.stat.session == handle.pid)

    def _tell(self, until: float, answers: Answers | None = None) -> None:
        kind = "READY=1" if self._notify is not None else self._service.ready.kind
        what = f"waiting until it is ready ({kind})"
        self._host.progress(self._service.name, what, until, why=answers.why_of(kind) if answers is not None else "")

    def _watch(self, fds: Iterable[int], until: float) -> bool:
        """Wait for one of `fds`. Returns whether one became readable. Raises CtlError when the service ends."""
        ready = self._host.pause((*fds, self._main.fd), until)
        if self._main.fd in ready:
            if self._start.type != "forking":
                raise self._ended()
            self._find_daemon()
        return bool(ready - {self._main.fd})

    def _ended(self) -> CtlError:
        lines = self._tail()
        why = self._gated.why_not_executed(lines[-1] if lines else "")
        if why is not None:
            whom = f" by {self._start.user}" if self._start.user else ""
            return CtlError(
                "exec_failed",
                f"{self._start.command[0]} cannot be executed{whom}: {why}",
                where=f"{self._service.file}, start.command",
            )
        held = f"; {self._listener.why}" if self._listener is not None and self._listener.verdict == NO else ""
        return self._not_ready(f"{self._gated.how_it_ended() or 'ended'} while starting{held}")

    def _not_ready(self, what: str, fix: str | None = None) -> CtlError:
        lines = self._tail()
        where = str(self._log) if lines else f"nothing in {self._log}"
        if is_full(self._log):  # then it could not say more, and may have ended for that
            where += ", whose file system is full"
        return CtlError("not_ready", what, where=where, fix=fix, details=lines)

    def _tail(self) -> tuple[str, ...]:
        return tail(self._log, _TAIL, self._log_began, self._account)

    def _take_down(self, error: BaseException) -> None:
        """Stop what was started, with its own schedule; a second Ctrl-C kills it. Then remove its record."""
        had_died, patience = self._main.is_gone, self._host.patience
        if isinstance(error, Interrupted):
            self._host = self._host.more_patient()
            self._host.say(self._service.name, "interrupted: stopping it again; once more to kill it")
        try:
            left = self._end(self._service.schedule)
        except Interrupted:
            self._host = self._host.more_patient()
            left = self._end(KILL)
        if left:
            if isinstance(error, CtlError):
                error.details += ("still alive after the whole schedule:", *left)
            return
        # Who stops a unit sends TERM to the service and to ctl alike: it was asked for, whichever of them was quicker.
        by_itself = had_died and not patience.is_over
        is_gates = isinstance(error, CtlError) and error.reason == "exec_failed"
        self._forget(None if is_gates else self._how_it_ended(by_itself=by_itself))

    def _end(self, schedule: Schedule) -> tuple[str, ...]:
        ending = Ending(self._service.name, self._host, [self._main], self._members, schedule)
        return tuple(describe(process) for process in ending.carry_out("mixed"))

    def _how_it_ended(self, *, by_itself: bool) -> End:
        """The end of the main process, of which ctl knows the status where that is its own child."""
        from ctl.verbs.ends import as_asked_for, end_by_ctl, end_found, end_of_child

        status = self._gated.status  # reaps it
        if self._main is self._gated.handle and status is not None:
            end = end_of_child(self._main.pid, status, started(self._main), None if by_itself else self._host)
        else:
            end = end_found(self._record) if by_itself else end_by_ctl(self._main, self._host)
        return as_asked_for(self._service.name, end, self._host)

    def _forget(self, end: End | None = None) -> None:
        for handle in (self._main, self._gated.handle):
            try:
                self._host.records.remove(self._service.name, handle.identity, end)
            except CtlError as error:
                self.faults.append(Fault.of(error))
