"""The host: the one seam between the verbs and the operating system. It is passed in, never looked up."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache, cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from msgspec import structs

from ctl.model.errors import CtlError, Reason
from ctl.model.identity import LARGEST_PID, Identity, same_process
from ctl.model.match import Marker, Rules
from ctl.model.outcome import Result
from ctl.model.pause import Pause
from ctl.model.program import Account, Program
from ctl.model.record import Record
from ctl.model.service import Service, Start
from ctl.model.state import Caller, State, Want, Wanted
from ctl.model.target import Target
from ctl.system import descriptors, lock, procfs, table, wait
from ctl.system.config import Config, load_config
from ctl.system.environment import DEFAULT_PATH, given, variable
from ctl.system.failure import failure
from ctl.system.files.ours import Refused
from ctl.system.interrupts import Patience
from ctl.system.pid_files import BarePid, read_pid_file, remove_pid_file
from ctl.system.pidfd import Handle, boot_id
from ctl.system.records import Records
from ctl.system.trust import require_trusted
from ctl.system.users import NO_USER, account_of, uid_of

if TYPE_CHECKING:
    from ctl.model.event import Kind
    from ctl.model.match import Program as Executed
    from ctl.system.herald import Herald
    from ctl.system.journal import Journal
    from ctl.system.key import Key
    from ctl.system.recorded import Others, Recorded
    from ctl.system.shortlist import Shortlist
    from ctl.system.unit import Unit
    from ctl.system.watch import Watch


# So many looks at the process table, each for one service, are made as quickly as the one reading for any number.
_LOOKS_FOR_ONE = 3
_UNLOCKED = "cannot lock the service: its run directory is full or read-only"
_MOUNT_PROC = "mount -t proc proc /proc"


class Say(Protocol):
    """Told something of a target, or of none where that is empty, in the fields of a message."""

    def __call__(self, target: str, what: str, where: str | None = None, fix: str | None = None, /) -> None: ...


class Progress(Protocol):
    """Told what a target waits for, for who watches: it returns at once, and nobody need listen."""

    def __call__(self, target: str, what: str, until: float | None = None, /, *, then: str = "", why: str = "") -> None:
        """`until` is a monotonic instant, what comes `then`, and `why` the last answer that was not the one wanted."""


def _unwatched(_target: str, _what: str, _until: float | None = None, *, then: str = "", why: str = "") -> None:
    """Nobody watches."""


class Host:
    """This machine, as one ctl sees it."""

    def __init__(
        self,
        config: Config,
        patience: Patience,
        say: Say,
        say_more: Say,
        journal: Journal | None = None,
        herald: Herald | None = None,
    ) -> None:
        self.config = config
        self.patience = patience
        self.say = say  # what someone who waits will want to know
        self.say_more = say_more  # what only someone who looks closely will
        # What someone who watches sees now, and no longer.
        self.progress: Progress = _unwatched if herald is None else herald.progress
        self.herald = herald
        self.records = Records(config.run_dir, config.run_source, patience)
        self._journal = journal
        self.verb = "" if journal is None else journal.verb
        self.acts_on_many = False  # whether several targets are acted on side by side
        self._shortlist: Callable[[], Shortlist] | None = None
        self._looks_for_one = 0  # that are made before the shortlist is
        self._run_dir_of_many: str | None = None  # looked up only once where many targets are acted on

    def pause_of(self, service: Service, main: Handle) -> Pause | None:
        """The pause that is on record of this very main process."""
        found = self.records.read_pause(service.name)
        return found if found is not None and same_process(found.identity, main.identity) else None

    def watch_records(self) -> Watch:
        """What tells that a record, pid file or pause of any target has changed. Raises CtlError."""
        from ctl.system.watch import Watch

        self.records.prepare()
        try:
            watch = Watch()
        except OSError as error:
            what = "cannot watch the run directory: the user has no inotify instances left"
            raise failure(error, what, where="fs.inotify.max_user_instances") from None
        try:
            watch.add(self.config.run_dir)
        except OSError as error:
            watch.close()
            raise failure(error, "cannot watch the run directory", where=str(self.config.run_dir)) from None
        return watch

    @property
    def unit(self) -> Unit | None:
        """The systemd unit that has this ctl stop or reload it; None where ctl is called in any other way."""
        if variable("SERVICE_RESULT") is None and variable("MAINPID") is None:
            return None
        from ctl.system.unit import serving

        return serving()

    def more_patient(self) -> Host:
        """The same host for cleaning up after an interrupt: it takes one more to end that."""
        other = object.__new__(Host)  # what copy(3) does; importing that takes 1 ms
        vars(other).update(vars(self))
        other.patience = self.patience.longer()
        other.records = Records(self.config.run_dir, self.config.run_source, other.patience)
        return other

    def prepare_for(self, targets: int) -> None:
        """Have so many targets acted on side by side: what they ask about the process table is read once for all.

        Once for all who ask meanwhile, that is: whoever asks later is answered by a later reading.
        """
        self.acts_on_many = targets > 1
        self._shortlist, self._looks_for_one = None, 0
        if targets > 1:
            descriptors.prepare_for(targets)
        if targets > _LOOKS_FOR_ONE:
            from ctl.system.sharing import Shared
            from ctl.system.shortlist import Shortlist

            self._shortlist = Shared(Shortlist.after).get

    def prepare_to_look_at(self, targets: int) -> None:
        """Have so many targets looked at, and none acted on: all are told of by one reading of the process table.

        For most there is a record, and nothing to ask: there is no such reading for the few that do.
        """
        self.prepare_for(targets)
        if targets > _LOOKS_FOR_ONE:
            from ctl.system.shortlist import Shortlist

            self._shortlist, self._looks_for_one = cache(Shortlist), _LOOKS_FOR_ONE

    def scan(self, rules: Rules) -> table.Scan:
        """Who satisfies these rules now."""
        if self._shortlist is not None and self._looks_for_one == 0:
            return table.scan(rules, self._shortlist().candidates)
        self._looks_for_one = max(0, self._looks_for_one - 1)
        return table.scan(rules)

    def note(
        self,
        target: str,
        event: Kind,
        *,
        identity: Identity | None = None,
        signal: str | None = None,
        reason: Reason | None = None,
        what: str | None = None,
    ) -> None:
        """Write an event to the journal, where this ctl keeps one. Never raises, never waits."""
        if self._journal is not None:
            self._journal.note(target, event, identity=identity, signal=signal, reason=reason, what=what)

    def caller(self) -> Caller:
        """Who called this ctl."""
        from ctl.system.trust import user_name
        from ctl.system.who import who

        its = who()
        return Caller(
            verb=self.verb, uid=its.uid, user=user_name(its.uid), sudo_user=its.sudo_user, login_uid=its.login_uid,
            unit=its.unit, ansible=its.ansible,
        )  # fmt: skip

    def want(self, target: str, state: Want, known: State | None) -> bool:
        """Write down that this is wanted of the target, where it is not `known` to be already.

        Returns whether it is written down; where it cannot be, nothing else is kept from being done. Never raises.
        """
        wanted = None if known is None else known.wanted_since(boot_id())
        if wanted is not None and wanted.state == state:
            return True
        try:
            self.records.prepare()
            self.records.want(target, self.wanted(state))
        except CtlError:
            return False
        return True

    def wanted(self, state: Want) -> Wanted:
        """That this is asked for now, by whoever called this ctl."""
        from ctl.system.portrait import rfc3339_now

        return Wanted(state=state, since=rfc3339_now(), by=self.caller(), boot_id=boot_id())

    def note_result(self, result: Result) -> None:
        """Write what became of one target to the journal, in the same way, and tell systemd where it listens."""
        if self.herald is not None:
            self.herald.tell(result)
        if self._journal is not None:
            self._journal.note_result(result)

    @contextmanager
    def locked_to_start(self, target: str, verb: str, timeout: float) -> Iterator[None]:
        """Hold the target's lock for the block; without it, nobody could be kept from starting it, too."""
        self.records.prepare()
        with self.locked(target, verb, timeout) as held:
            if not held:
                where = str(self.records.lock_file(target))
                raise CtlError("failed", _UNLOCKED, where=where, fix="make room there, or mount it writable")
            yield

    def locked(self, target: str, verb: str, timeout: float) -> lock.Lock:
        """Hold the target's lock for the block, where it can be held at all: a stop goes on without it."""

        def on_wait(holder: str) -> None:
            self.say(target, f"waiting for {holder}")
            self.progress(target, f"waiting for {holder}", wait.now() + timeout)

        fix = f"--lock-timeout waits longer, ctl kill {target} cuts it short"
        return lock.locked(self.records.lock_file(target), verb, timeout, self.patience, on_wait, fix)

    def service(self, target: Target) -> Service:
        """The service, with all that its definition refers to on this host. Raises CtlError that names the target."""
        try:
            service = self.config.service(target)
            self.rules(service)
        except CtlError as error:
            error.target = str(target)
            raise
        return service

    def rules(self, service: Service) -> Rules:
        """The service's match rules on this host. Raises CtlError (bad_config) for a user that does not exist.

        Where match.user is not set, its user is start.user, else the owner of the run directory, else whoever asks.
        """
        if service.match.user is not None:
            uid = uid_of(service.match.user, f"{service.file}, match.user")
        else:
            uid = self.service_uid(service)
        rules = service.rules(uid, self.marker(service), cache(partial(_programs_of, service.start)))
        if service.cmdline is None:
            return rules
        from ctl.system.regex import Budget, Searcher

        return structs.replace(rules, cmdline=Searcher(service.cmdline, "match.cmdline", self.pause, Budget()))

    def marker(self, service: Service) -> Marker:
        """What the environment of its processes says."""
        return Marker(service.name, self.marked_run_dir)

    @property
    def marked_run_dir(self) -> str:
        """The run directory as the environment of a process shows it."""
        return os.fsencode(self._real_run_dir()).decode(errors=procfs.NOT_UTF8)

    def service_uid(self, service: Service) -> int:
        """The user that the service is started as."""
        if service.uid is not None:
            return service.uid
        if service.start is not None and service.start.user is not None:
            try:
                return uid_of(service.start.user, f"{service.file}, start.user")
            except CtlError:
                if not service.has_rules:
                    raise
                return NO_USER  # it cannot be started, and what its rules fit is nobody's
        return self.run_dir_owner

    @property
    def run_dir_owner(self) -> int:
        """Whose the run directory is, or will be."""
        try:
            return self.config.run_dir.stat().st_uid
        except OSError:
            return os.geteuid()

    def account(self, service: Service) -> Account | None:
        """As whom root acts on its files where others could change them; None where that is ctl's own user.

        Raises CtlError (bad_config).
        """
        start = service.start
        if service.uid and os.geteuid() == 0:
            return account_of(str(service.uid), None, service.file)
        if start is None or start.user is None or os.geteuid() != 0:
            return None
        return account_of(start.user, start.group, f"{service.file}, start.user")

    @cached_property
    def _recorded(self) -> Recorded:
        from ctl.system.recorded import Recorded

        return Recorded(self.records)

    def others_than(self, target: str) -> Callable[[], Others]:
        """What tells which main processes the records of the other targets name now."""
        return lambda: self._recorded.besides(target)

    def key(self) -> Key | None:
        """The key of the run directory, None where there is none yet. Raises CtlError where it may not be read."""
        from ctl.system.key import read_key

        return read_key(self.config.run_dir)

    def token(self, target: str, run_id: str, key_id: str | None) -> str:
        """What the processes of this run carry, made with the key of that id. Raises CtlError."""
        key = self.key()
        if key is None or key.id != key_id:
            what = "cannot tell which processes are of its run: the key of the run directory was removed or replaced"
            raise CtlError("failed", what, where=str(self.config.run_dir))
        return key.token(target, run_id)

    def with_token(self, program: Program, target: str, run_id: str) -> tuple[Program, str]:
        """The program of a new run of the target with its token, and the id of the key for that. Raises CtlError."""
        from ctl.system.key import TOKEN, make_key

        self.records.prepare()
        key = make_key(self.config.run_dir)
        environment = program.environment | {TOKEN: key.token(target, run_id)}
        return structs.replace(program, environment=environment), key.id

    def bare_pids(self, service: Service) -> Iterator[tuple[str, str | None, Callable[[], BarePid | None]]]:
        """Who claims to know the main process by its bare pid: source, place, and how to read it."""
        records = self.records
        name = service.name
        yield "pid file", str(records.pid_file(name)), lambda: records.read_pid(name)
        pid_file = service.stop.pid_file
        if pid_file is not None:
            account = self.account(service)
            yield "stop.pid_file", pid_file, lambda: read_pid_file(Path(pid_file), account)
        if main_pid := variable("MAINPID"):
            yield "$MAINPID", None, lambda: _from_systemd(main_pid)

    def remove_own_pid_file(self, service: Service, pid: int) -> bool:
        """Remove the pid file that the service wrote, if it still names `pid`; a killed one could not do it itself.

        Returns whether it was removed. Raises CtlError where that fails.
        """
        if service.stop.pid_file is None:
            return False
        return remove_pid_file(Path(service.stop.pid_file), self.account(service), pid)

    def program(self, start: Start, target: str, run_id: str, file: str, *, inherit: bool = False) -> Program:
        """What to execute. Raises CtlError (bad_config, permission_denied).

        The environment is that of service(8) and systemd.exec(5), not the caller's: a service started by hand at night
        must be the same as one started at boot. With `inherit` (run) it is the caller's, who is a supervisor.
        """
        account = None if start.user is None else account_of(start.user, start.group, f"{file}, start.user")
        if account is not None and os.geteuid() != 0:
            if account.uid != os.geteuid():
                raise CtlError(
                    "permission_denied", f"only root can start it as user {account.name}", where=f"{file}, start.user"
                )
            account = None
        environment = dict(given()) if inherit else _base_environment(account)
        environment |= start.environment
        environment |= {"CTL_TARGET": target, "CTL_RUN_DIR": self._real_run_dir(), "CTL_RUN_ID": run_id}
        return Program(
            argv=start.command,
            environment=environment,
            directory=start.directory,
            account=account,
            umask=int(start.umask, 8),
            nice=start.nice,
            limits=start.limits,
            file=file,
        )

    def _real_run_dir(self) -> str:
        if self._run_dir_of_many is not None:
            return self._run_dir_of_many
        found = os.path.realpath(self.config.run_dir)
        if self.acts_on_many and os.path.isdir(found):
            self._run_dir_of_many = found
        return found

    def command_program(self, service: Service, record: Record | None) -> Program:
        """As whom and in what surroundings the service's hooks and probes run: its own, where ctl can start it."""
        start = service.start or Start(command=("/",))
        run_id = record.run_id if record is not None else None
        program = self.program(start, service.name, run_id or "", service.file)
        if run_id is None or record is None or record.key is None:
            return program
        try:
            token = self.token(service.name, run_id, record.key)
        except CtlError:  # then nothing of it could be told by one
            return program
        from ctl.system.key import TOKEN

        return structs.replace(program, environment=program.environment | {TOKEN: token})

    def log_path(self, service: Service) -> Path:
        """Where its stdout and stderr go."""
        if service.start is not None and service.start.log is not None:
            return Path(service.start.log)
        return self.config.log_dir / f"{service.name}.log"

    def pause(self, fds: Iterable[int], until: float) -> set[int]:
        """Those of `fds` that become readable before `until`; with none, a pause. Raises Interrupted."""
        return wait.readable(fds, until, self.patience)

    def wait_ended(self, handles: Iterable[Handle], deadline: float) -> bool:
        """Wait until all have ended: False where the deadline passed first. Raises Interrupted."""
        return wait.all_ended([handle.fd for handle in handles], deadline, self.patience)


def open_host(
    conf: Path | None,
    run_dir: Path | None,
    patience: Patience,
    say: Say,
    say_more: Say,
    noted_as: str | None = None,
    settings_faults: list[CtlError] | None = None,
) -> Host:
    """The host with its configuration; what is done to it is noted as done by the verb `noted_as`.

    With `settings_faults`, what is wrong in ctl.toml is added to those, and the defaults stand in for it. Raises
    CtlError, which is fatal: without these no target has a meaning.
    """
    try:
        shown = os.readlink("/proc/self")
    except OSError:
        raise CtlError("failed", "/proc is not mounted", fix=_MOUNT_PROC) from None
    if shown != str(os.getpid()):
        raise CtlError("failed", "/proc belongs to another pid namespace", fix=_MOUNT_PROC)
    try:
        config = load_config(conf, run_dir, settings_faults)
        there = next(place for place in (config.run_dir, *config.run_dir.parents) if place.exists())
        if not there.is_dir():
            raise CtlError("bad_config", f"{config.run_dir} is not a directory", where=config.run_source)
        require_trusted(config.run_dir)
    except OSError as error:
        raise failure(error, f"cannot use {error.filename}", otherwise="bad_config") from None
    return Host(config, patience, say, say_more, _journal(config, noted_as, say_more), _herald())


def _journal(config: Config, verb: str | None, say_more: Say) -> Journal | None:
    if verb is None:
        return None
    from ctl.system.journal import Journal

    return Journal(config.log_dir, config.run_dir, verb, lambda what, where, fix: say_more("", what, where, fix))


def _herald() -> Herald | None:
    if variable("NOTIFY_SOCKET") is None:
        return None
    from ctl.system.herald import herald

    return herald()


def _base_environment(account: Account | None) -> dict[str, str]:
    kept = {name: value for name, value in given().items() if name in ("LANG", "TZ") or name.startswith("LC_")}
    if account is None:
        account = _own_account(os.geteuid())
    return kept | {
        "PATH": DEFAULT_PATH,
        "HOME": account.home,
        "USER": account.name,
        "LOGNAME": account.name,
        "SHELL": account.shell,
    }


@cache
def _own_account(uid: int) -> Account:
    return account_of(str(uid), None, "")


def _programs_of(start: Start | None) -> frozenset[Executed]:
    from ctl.system.programs import programs_of

    return programs_of(start)


def _from_systemd(text: str) -> BarePid:
    """The main process that systemd.exec(5) names in ExecStop= and ExecReload=."""
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and 1 < int(text) <= LARGEST_PID):
        raise Refused(f"holds {text[:24]!r}, not one process id", where="$MAINPID")
    return BarePid(int(text), None)
