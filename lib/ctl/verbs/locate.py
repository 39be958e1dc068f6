"""Finding a service's main process: by its record, by bare pids, by the process table. Each is a claim until proved."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypedDict

import msgspec

from ctl.model.errors import CtlError, Reason
from ctl.model.identity import same_process
from ctl.model.match import Rules
from ctl.model.outcome import Claim, ClaimVerdict
from ctl.model.record import Record
from ctl.model.service import Service
from ctl.model.target import parse_target
from ctl.model.verdict import NO, UNKNOWN, YES
from ctl.system import procfs, table
from ctl.system.failure import AS_ROOT
from ctl.system.files.ours import Refused, Unreadable
from ctl.system.host import Host
from ctl.system.pid_files import BarePid
from ctl.system.pidfd import Handle, boot_id, namespace_is_alive, open_handle, pid_namespace
from ctl.system.portrait import describe, seen, started
from ctl.system.procfs import Forbidden, Gone

# A start time is known to a clock tick and a file's time to a kernel tick: 10 ms each at the coarsest.
_CLOCK_ERROR = 0.02


class _Doubt(TypedDict):
    doubt: Reason | None
    fix: str | None


class Located(msgspec.Struct, frozen=True):
    """What is known of a service. Without `mains` and without `doubt`, it is not running."""

    mains: list[Handle]
    claims: list[Claim]
    record: Record | None
    source: str | None  # which claim holds, or "table"
    doubt: CtlError | None  # why "not running" cannot be said

    @property
    def is_stale(self) -> bool:
        """Whether a file still says that it runs, although it does not."""
        return not self.mains and any(claim.says_it_runs for claim in self.claims)

    @property
    def run_ids(self) -> tuple[str, ...]:
        return self.record.run_ids if self.record is not None else ()

    def close(self) -> None:
        for handle in self.mains:
            handle.close()


def locate(service: Service, host: Host, given_pid: int | None = None) -> Located:
    """The main process, proved. `given_pid` (--pid) restricts it to that one process.

    Raises CtlError: ambiguous where more match than `match.max`, identity_mismatch where `given_pid` is another
    process, permission_denied or identity_unknown where `given_pid` cannot be judged.
    """
    rules = host.rules(service)
    record, claim, handle = by_record(service, host)
    claims = [claim] if claim else []
    if given_pid is not None:
        return _given(given_pid, service, host, rules, record, handle, claims)
    if handle is not None:
        others = _others(service, host, rules, handle) if service.has_rules and service.match.max > 1 else []
        return Located([handle, *others], claims, record, "record", None)
    for claim, handle in bare_claims(service, host, rules, record):
        claims.append(claim)
        if handle is not None:
            return Located([handle], claims, record, claim.source, None)
    return _by_table(service, host, rules, record, claims)


def by_record(service: Service, host: Host) -> tuple[Record | None, Claim | None, Handle | None]:
    """What the record says, judged, with an open handle where it holds."""
    where = str(host.records.record_file(service.name))

    try:
        record = host.records.read(service.name)
    except (Refused, Unreadable) as error:
        return None, _said_nothing("record", where, error), None
    if record is None:
        return None, None, None
    verdict, why, handle = _still_there(record)
    is_here = record.identity.pid_ns == pid_namespace()
    claim = Claim(
        source="record", where=where, pid=record.identity.pid, verdict=verdict, why=why,
        **_doubt_of(verdict, "permission_denied" if is_here else "identity_unknown"),
    )  # fmt: skip
    return record, claim, handle


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
    return "holds", f"pid {identity.pid} is the process that was recorded", handle


def bare_claims(
    service: Service, host: Host, rules: Rules, record: Record | None
) -> Iterator[tuple[Claim, Handle | None]]:
    """The bare pids, each judged when it is asked for, with an open handle where it holds."""
    for source, where, read in host.bare_pids(service):
        try:
            bare = read()
        except (Refused, Unreadable) as error:
            yield _said_nothing(source, where, error), None
            continue
        if bare is None or (source == "pid file" and record is not None and record.identity.pid == bare.pid):
            continue  # the record's other half says nothing of its own
        belief = _believe(service, host, _rules_of_unit(service, host, rules, bare.pid), bare)
        claim = Claim(
            source=source, where=where, pid=bare.pid, verdict=belief.verdict, why=belief.why,
            doubt=belief.doubt, fix=AS_ROOT if belief.doubt == "permission_denied" else None,
        )  # fmt: skip
        yield claim, belief.handle


def _rules_of_unit(service: Service, host: Host, rules: Rules, pid: int) -> Rules:
    """Of a service without match rules that systemd itself started, nothing but systemd can say which process it is.

    It does so by the unit's control group, where it put the process; so $MAINPID is believed of a process in there.
    """
    unit = host.unit
    if unit is None or service.has_rules or pid != unit.main_pid or not unit.holds(pid):
        return rules
    return Rules()


def _said_nothing(source: str, where: str | None, error: Refused | Unreadable) -> Claim:
    if isinstance(error, Refused):
        return Claim(source=source, where=where, pid=None, verdict="refused", why=error.what, fix=error.fix)
    doubt = _doubt_of("unknown")
    return Claim(source=source, where=where, pid=None, verdict="unknown", why=error.what, **doubt)


class Belief(msgspec.Struct, frozen=True):
    """What became of a bare pid."""

    verdict: ClaimVerdict
    why: str
    handle: Handle | None = None
    ended: bool = False
    doubt: Reason | None = None  # why it is unknown


def _believe(service: Service, host: Host, rules: Rules, bare: BarePid) -> Belief:
    """Whether a bare pid is this service's: visible as ours, satisfying every rule, and older than the claim."""
    pid = bare.pid
    if pid in table.lineage():
        return Belief("refused", f"pid {pid} is ctl itself or the shell that called it")
    try:
        handle, verdict = table.judge(pid, rules)
    except Gone:
        return Belief("stale", f"pid {pid} has ended", ended=True)
    if handle is None:
        return Belief("unknown", f"names pid {pid}, which this user cannot judge", doubt="permission_denied")
    anothers = verdict == YES and whose_main(service, host, handle) is not None
    if verdict == YES and not anothers and (bare.written is None or started(handle) <= bare.written + _CLOCK_ERROR):
        return Belief("holds", f"pid {pid} satisfies every rule", handle)
    handle.close()
    if verdict == UNKNOWN:
        return _unjudged(pid, rules)
    if anothers:
        return Belief("stale", f"pid {pid} is the recorded main process of another service")
    if verdict == YES:
        return Belief("stale", f"pid {pid} started after the file was written")
    return Belief("stale", f"pid {pid} is another process ({_broken_rule(pid, rules)})")


def _unjudged(pid: int, rules: Rules) -> Belief:
    try:
        why = rules.why_unsearched(procfs.ProcessLook(pid))
    except Gone:
        return Belief("stale", f"pid {pid} has ended", ended=True)
    if why is None:
        return Belief("unknown", f"names pid {pid}, which this user cannot judge", doubt="permission_denied")
    return Belief("unknown", f"names pid {pid}, and {why} there", doubt="identity_unknown")


def _broken_rule(pid: int, rules: Rules) -> str:
    try:
        broken = [name for name, verdict in rules.each(procfs.ProcessLook(pid)).items() if verdict == NO]
    except Gone:
        broken = []
    return f"match.{broken[0]} says no" if broken and rules.marker is None else "not this service's"


def _given(
    pid: int,
    service: Service,
    host: Host,
    rules: Rules,
    record: Record | None,
    recorded: Handle | None,
    claims: list[Claim],
) -> Located:
    """--pid: this process or none."""
    if recorded is not None and recorded.pid == pid:
        return Located([recorded], claims, record, "record", None)
    if recorded is not None:
        recorded.close()
        if service.match.max == 1:
            what = f"its main process is pid {recorded.pid}, as recorded, not pid {pid}"
            raise CtlError("identity_mismatch", what, where="--pid")
    belief = _believe(service, host, _rules_of_unit(service, host, rules, pid), BarePid(pid, None))
    claims = [*claims, Claim(source="--pid", where=None, pid=pid, verdict=belief.verdict, why=belief.why)]
    if belief.handle is not None:
        return Located([belief.handle], claims, record, "--pid", None)
    if belief.doubt is not None:
        fix = AS_ROOT if belief.doubt == "permission_denied" else None
        raise CtlError(belief.doubt, belief.why, where="--pid", fix=fix)
    if not belief.ended:
        raise CtlError("identity_mismatch", belief.why, where="--pid")
    return Located([], claims, record, None, None)


def _by_table(service: Service, host: Host, rules: Rules, record: Record | None, claims: list[Claim]) -> Located:
    if marks_survivors(service, record):
        return Located([], claims, record, None, _doubt(claims))
    scan = _scan(service, host, rules)
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
    doubt = None if mains else _doubt(claims, scan, service.file)
    return Located(sorted(mains, key=lambda handle: handle.stat.start_ticks), claims, record, "table", doubt)


def marks_survivors(service: Service, record: Record | None) -> bool:
    """Whether who carries the service's marker, and is not as recorded, is a survivor and not its main process.

    The marker is inherited by all that the service ever started. So it finds a main process only where the record is
    lost: beside a record of a main process that has ended it would name a survivor, which must not be adopted.
    """
    return not service.has_rules and record is not None and not record.forking


def _others(service: Service, host: Host, rules: Rules, main: Handle) -> list[Handle]:
    """The further main processes of a service that may have several; the record names one."""
    others: list[Handle] = []
    for handle in _scan(service, host, rules).matching:
        if handle.pid == main.pid or main.pid in procfs.parents(handle.pid):
            handle.close()
        else:
            others.append(handle)
    return others


def _scan(service: Service, host: Host, rules: Rules) -> table.Scan:
    """The process table, of those who match only the main processes, and none that is another service's."""
    scan = host.scan(rules)
    own: list[Handle] = []
    for handle in scan.matching:
        if whose_main(service, host, handle) is not None:
            handle.close()
        else:
            own.append(handle)
    return msgspec.structs.replace(scan, matching=without_children(own))


def whose_main(service: Service, host: Host, handle: Handle) -> str | None:
    """The other service whose main process this is, None where it is no other's.

    Rules of two services may fit one process. Whose it is, is proved where the record of the other names it.
    """
    own = host.marker(service)
    try:
        marker = procfs.read_marker(handle.pid)
        if marker is None or marker.run_dir != own.run_dir or marker.target == own.target:
            return None
        other = host.records.read(str(parse_target(marker.target)))
    except (Gone, Refused, Unreadable, CtlError):
        return None
    return other.target if other is not None and same_process(other.identity, handle.identity) else None


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


def _doubt(claims: list[Claim], scan: table.Scan | None = None, file: str = "") -> CtlError | None:
    """Why it may be running although it was not found. Unknown is never taken as "not running"."""
    cannot_tell = "cannot tell whether it is running"
    for claim in claims:
        if claim.verdict == "unknown":
            reason = claim.doubt or "permission_denied"
            what = f"{cannot_tell}: its {claim.source} {claim.why}"
            return CtlError(reason, what, where=claim.where, fix=claim.fix)
    if scan is None:
        return None
    if forbidden := [pid for pid in scan.unknown if pid not in scan.unsearched]:
        shown = ", ".join(map(str, forbidden[:5])) + (", ..." if len(forbidden) > 5 else "")
        why = f"not allowed to see whether pid {shown} is it"
    elif scan.unsearched:
        pid, why = next(iter(scan.unsearched.items()))
        others = f", and {len(scan.unsearched) - 1} more" if len(scan.unsearched) > 1 else ""
        return CtlError("identity_unknown", f"{cannot_tell}: {why} on pid {pid}{others}", where=file)
    elif scan.hidden:
        why = "/proc hides the processes of other users (hidepid)"
    else:
        return None
    return CtlError("permission_denied", f"{cannot_tell}: {why}", fix=AS_ROOT)
