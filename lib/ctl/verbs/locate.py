"""Finding a service's main process: by its record, by bare pids, by the process table. Each is a claim until proved."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import msgspec

from ctl.model import outcome
from ctl.model.errors import CtlError, Reason
from ctl.model.identity import same_process
from ctl.model.match import Rules
from ctl.model.outcome import Claim, ClaimVerdict
from ctl.model.record import Record
from ctl.model.service import Service
from ctl.model.state import State
from ctl.system import procfs, table
from ctl.system.failure import AS_ROOT
from ctl.system.files.ours import Refused, Unreadable
from ctl.system.host import Host
from ctl.system.pid_files import BarePid
from ctl.system.pidfd import Handle, boot_id, namespace_is_alive, open_handle, pid_namespace
from ctl.system.portrait import describe, seen
from ctl.system.procfs import Forbidden, Gone, ProcessLook
from ctl.verbs.bare_pids import bare_claims, believe, rules_of_unit, said_nothing
from ctl.verbs.unproved import line_to_add, owner_of, runs_as


class _Doubt(TypedDict):
    doubt: Reason | None
    fix: str | None


_OF_HOST = 0xEFFFFFFC  # PROC_PID_INIT_INO, include/linux/proc_ns.h: the pid namespace of the host itself
_CANNOT_TELL = "cannot tell whether it is running"


class Located(msgspec.Struct, frozen=True):
    """What is known of a service. Without `mains` and without `doubt`, it is not running."""

    mains: list[Handle]
    claims: list[Claim]
    state: State | None
    source: str | None  # which claim holds, or "table"
    doubt: CtlError | None  # why "not running" cannot be said
    unproved: list[Handle] = []  # who satisfies every rule, and runs as another user than the one taken by default
    may_start: bool = False  # whether the doubt is only about a process that this service cannot have become

    @property
    def record(self) -> Record | None:
        """The run that is on record."""
        return None if self.state is None else self.state.run

    @property
    def runs(self) -> tuple[Record, ...]:
        """Every run that is on record."""
        return () if self.state is None else self.state.runs

    @property
    def is_stale(self) -> bool:
        """Whether a file still says that it runs, although it does not."""
        return not self.mains and any(claim.says_it_runs for claim in self.claims)

    @property
    def is_record_stale(self) -> bool:
        """Whether the run that is on record is over."""
        return any(claim.source == "record" and claim.verdict == "stale" for claim in self.claims)

    @property
    def state_without_main(self) -> outcome.State:
        """What it is, where it has no main process and nothing is in doubt, as far as its files tell.

        "crashed" where it is on record that it has failed: else its end was not seen.
        """
        if self.state is not None and self.state.is_unasked_end(boot_id()):
            end = self.state.last_end if self.state.run is None else None
            return "crashed" if end is not None and end.is_failure else "ended"
        return "stale" if self.is_stale else "stopped"

    def close(self) -> None:
        for handle in (*self.mains, *self.unproved):
            handle.close()


def locate(service: Service, host: Host, given_pid: int | None = None) -> Located:
    """The main process, proved. `given_pid` (--pid) restricts it to that one process.

    Raises CtlError: ambiguous where more match than `match.max`, identity_mismatch where `given_pid` is another
    process, permission_denied or identity_unknown where `given_pid` cannot be judged.
    """
    rules = host.rules(service)
    state, claim, handle = by_record(service, host)
    claims = [claim] if claim else []
    if given_pid is not None:
        return _given(given_pid, service, host, rules, state, handle, claims)
    if handle is not None:
        others = _others(service, host, rules, state, handle) if service.has_rules and service.match.max > 1 else []
        return Located([handle, *others], claims, state, "record", None)
    return _by_other_claims(service, host, rules, state, claims)


def _by_other_claims(service: Service, host: Host, rules: Rules, state: State | None, claims: list[Claim]) -> Located:
    """Without a record that holds: by the bare pids, then by the process table."""
    for claim, handle in bare_claims(service, host, rules, run_of(state)):
        claims.append(claim)
        if handle is not None:
            return Located([handle], claims, state, claim.source, None)
    return _by_table(service, host, rules, state, claims)


def by_record(service: Service, host: Host) -> tuple[State | None, Claim | None, Handle | None]:
    """What the state file says of the run, judged, with an open handle where it holds."""
    where = str(host.records.record_file(service.name))

    try:
        state = host.records.read_state(service.name)
    except (Refused, Unreadable) as error:
        return None, said_nothing("record", where, error), None
    record = run_of(state)
    if record is None:
        return state, None, None
    verdict, why, handle = _still_there(record)
    is_here = record.identity.pid_ns == pid_namespace()
    claim = Claim(
        source="record", where=where, pid=record.identity.pid, verdict=verdict, why=why,
        **_doubt_of(verdict, "permission_denied" if is_here else "identity_unknown"),
    )  # fmt: skip
    return state, claim, handle


def has_runs(located: Located, host: Host) -> bool:
    """Whether there may be processes of a run though no main process was found.

    Where nothing is recorded, the record may be lost: that was never written where there is no key either.
    """
    if located.state is not None:
        return bool(located.runs)
    try:
        return host.key() is not None
    except CtlError:
        return True


def run_of(state: State | None) -> Record | None:
    """The run that is on record."""
    return None if state is None else state.run


def _doubt_of(verdict: ClaimVerdict, doubt: Reason = "permission_denied") -> _Doubt:
    """As what kind of doubt a claim counts, and what would tell whether it holds; nothing where that is known."""
    if verdict != "unknown":
        return {"doubt": None, "fix": None}
    return {"doubt": doubt, "fix": AS_ROOT if doubt == "permission_denied" else "ask ctl in that pid namespace"}


def _still_there(record: Record) -> tuple[ClaimVerdict, str, Handle | None]:
    identity = record.identity
    if identity.boot_id != boot_id():
        return "stale", "was written before the last boot", None
    if identity.pid_ns != pid_namespace():
        if namespace_is_alive(identity.pid_ns):
            return "unknown", f"is about another pid namespace, pid:[{identity.pid_ns}]", None
        return "stale", "is about a pid namespace that is not here any more", None
    try:
        handle = open_handle(identity.pid)
    except Forbidden:
        return "unknown", f"/proc hides pid {identity.pid} from this user", None
    if handle is None:
        return "stale", f"pid {identity.pid} has ended", None
    if not same_process(identity, handle.identity):
        handle.close()
        return "stale", f"pid {identity.pid} is another process now", None
    if record.adopted:
        from ctl.system.cgroups import is_in_another_container

        if is_in_another_container(identity.pid):
            handle.close()
            return "refused", f"names pid {identity.pid}, which is in a container", None
    return "holds", f"pid {identity.pid} is the process that was recorded", handle


def _given(
    pid: int,
    service: Service,
    host: Host,
    rules: Rules,
    state: State | None,
    recorded: Handle | None,
    claims: list[Claim],
) -> Located:
    """--pid: this process or none."""
    if recorded is not None and recorded.pid == pid:
        return Located([recorded], claims, state, "record", None)
    if recorded is not None:
        recorded.close()
        if service.match.max == 1:
            what = f"its main process is pid {recorded.pid}, as recorded, not pid {pid}"
            raise CtlError("identity_mismatch", what, where="--pid")
    belief = believe(service, host, rules_of_unit(service, host, rules, pid), BarePid(pid, None))
    claims = [*claims, Claim(source="--pid", where=None, pid=pid, verdict=belief.verdict, why=belief.why)]
    if belief.handle is not None:
        return Located([belief.handle], claims, state, "--pid", None)
    if belief.doubt is not None:
        raise CtlError(belief.doubt, belief.why, where="--pid", fix=belief.fix)
    if not belief.ended:
        raise CtlError("identity_mismatch", belief.why, where="--pid")
    # One that has ended says nothing of the service, which may run all the same.
    located = _by_other_claims(service, host, rules, state, claims)
    if located.mains:
        found = located.mains[0].pid
        located.close()
        what = f"{belief.why}, and is not its main process: that is pid {found}, by {located.source}"
        raise CtlError("identity_mismatch", what, where="--pid")
    return located


def _by_table(service: Service, host: Host, rules: Rules, state: State | None, claims: list[Claim]) -> Located:
    run = run_of(state)
    if marks_survivors(service, run):
        return Located([], claims, state, None, _doubt_of_claims(claims))
    # A forking service's command has ended when its daemon is looked for, which descends from it.
    ended = () if state is None or (run is not None and run.forking) else state.runs
    scan = _scan(service, host, rules, ended)
    mains = scan.matching
    if len(mains) > service.match.max:
        lines = tuple(describe(seen(handle)) for handle in mains)
        for handle in mains:
            handle.close()
        raise CtlError(
            "ambiguous",
            f"{len(mains)} processes match and at most {service.match.max} may: none was touched",
            where=f"{service.file}, match.max",
            fix="name the right one with --pid",
            details=lines,
        )
    if not mains and pid_namespace() != _OF_HOST:
        from ctl.verbs.first_process import first_process

        mains = first_process(service, host)
    if mains:
        return Located(sorted(mains, key=lambda handle: handle.stat.start_ticks), claims, state, "table", None)
    doubt = _doubt(claims, scan, rules, service.file)
    if doubt is not None or not scan.unproved:
        return Located([], claims, state, "table", doubt, scan.unproved)
    first = scan.unproved[0].pid
    doubt = CtlError(
        "identity_unknown",
        f"{_CANNOT_TELL}: pid {first} {runs_as(service, rules, first)}",
        where=service.file,
        fix=line_to_add(first),
        details=tuple(describe(seen(handle)) for handle in scan.unproved),
    )
    # Nobody but root and the owner of the run directory could have started it as another user: anyone else's look-alike
    # must not keep it from being started.
    trusted = {0, host.run_dir_owner}
    may_start = trusted.isdisjoint(owner_of(handle) for handle in scan.unproved)
    return Located([], claims, state, "table", doubt, scan.unproved, may_start)


def marks_survivors(service: Service, record: Record | None) -> bool:
    """Whether who carries the service's marker, and is not as recorded, is a survivor and not its main process.

    The marker is inherited by all that the service ever started. So it finds a main process only where the record is
    lost: beside a record of a main process that has ended it would name a survivor, which must not be adopted.
    """
    return not service.has_rules and record is not None and not record.forking


def _others(service: Service, host: Host, rules: Rules, state: State | None, main: Handle) -> list[Handle]:
    """The further main processes of a service that may have several; the record names one."""
    others: list[Handle] = []
    scan = _scan(service, host, rules, () if state is None else state.older)
    for handle in scan.unproved:
        handle.close()
    for handle in scan.matching:
        if handle.pid == main.pid or main.pid in procfs.parents(handle.pid):
            handle.close()
        else:
            others.append(handle)
    return others


def _scan(service: Service, host: Host, rules: Rules, ended: Sequence[Record]) -> table.Scan:
    """The process table, of those who match only the main processes: none that is another service's, and none that is
    left over of runs that have `ended`.
    """
    scan = host.scan(rules)
    # Rules of two services may fit one process. Whose it is, is proved where the record of the other names it.
    others = host.others_than(service.name)() if scan.matching or scan.unproved else None
    own: list[Handle] = []
    unproved: list[Handle] = []
    for handle in (*scan.matching, *scan.unproved):
        if others is not None and others.whose(handle) is not None:
            handle.close()
        else:
            (own if handle in scan.matching else unproved).append(handle)
    if ended and own:
        from ctl.verbs.leftovers import split_left_over

        own, left = split_left_over(own, ended, host.service_uid(service), host)
        for handle in left:
            handle.close()
    return msgspec.structs.replace(
        scan,
        matching=without_children(own),
        unproved=without_children(unproved),
        unknown=[pid for pid in scan.unknown if _may_be(service, host, pid)],
    )


def _may_be(service: Service, host: Host, pid: int) -> bool:
    """Whether one that could not be judged may be the service: it is not known to be another one."""
    from ctl.system.cgroups import unit_of

    try:
        handle = open_handle(pid)
        if handle is None:
            return False
        with handle:
            if host.others_than(service.name)().whose(handle) is not None:
                return False
            unit = unit_of(pid) if ProcessLook(pid).is_overwritten else None
            own = {f"{service.name}.service", f"ctl@{service.name}.service"}
            return unit is None or unit.name in own or unit == unit_of(procfs.own_pid())
    except Forbidden:
        return True
    except Gone:
        return False


def without_children(matching: list[Handle]) -> list[Handle]:
    """Of a matching parent and child, however many generations apart, the parent is the main process."""
    pids = {handle.pid for handle in matching}
    mains: list[Handle] = []
    for handle in matching:
        if pids.isdisjoint(procfs.parents(handle.pid)):
            mains.append(handle)
        else:
            handle.close()
    return mains


def _doubt_of_claims(claims: list[Claim]) -> CtlError | None:
    """Why it may be running by what a claim says, though none holds."""
    for claim in claims:
        if claim.verdict == "unknown":
            reason = claim.doubt or "permission_denied"
            return CtlError(reason, f"{_CANNOT_TELL}: its {claim.source} {claim.why}", where=claim.where, fix=claim.fix)
    return None


def _doubt(claims: list[Claim], scan: table.Scan, rules: Rules, file: str) -> CtlError | None:
    """Why it may be running although it was not found. Unknown is never taken as "not running"."""
    if (doubt := _doubt_of_claims(claims)) is not None:
        return doubt
    forbidden = [pid for pid in scan.unknown if pid not in scan.unsearched]
    if forbidden and (blank := _blank(forbidden, rules)) is not None:
        what = f"{_CANNOT_TELL}: pid {blank} executes the same, and has overwritten its arguments or environment"
        return CtlError("unknown", what, fix="see what it is, with ctl explain; give the service a [match] rule")
    if forbidden:
        shown = ", ".join(map(str, forbidden[:5])) + (", ..." if len(forbidden) > 5 else "")
        why = f"not allowed to see whether pid {shown} is it"
    elif scan.unsearched:
        pid, why = next(iter(scan.unsearched.items()))
        others = f", and {len(scan.unsearched) - 1} more" if len(scan.unsearched) > 1 else ""
        return CtlError("identity_unknown", f"{_CANNOT_TELL}: {why} on pid {pid}{others}", where=file)
    elif scan.hidden:
        why = "/proc hides the processes of other users (hidepid)"
    else:
        return None
    return CtlError("permission_denied", f"{_CANNOT_TELL}: {why}", fix=AS_ROOT)


def _blank(pids: list[int], rules: Rules) -> int | None:
    """The first that executes what the service does and shows nothing of itself, though it may be read."""
    for pid in pids:
        try:
            look = ProcessLook(pid)
            if (look.is_overwritten or look.command_line == "") and rules.may_be(look):
                return pid
        except Gone:
            continue
    return None
