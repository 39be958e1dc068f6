"""Bare pids: what a pid file, --pid or $MAINPID says, judged by the match rules."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from ctl.model.errors import Reason
from ctl.model.match import Rules
from ctl.model.outcome import Claim, ClaimVerdict
from ctl.model.record import Record
from ctl.model.service import Service
from ctl.model.verdict import NO, UNKNOWN, YES, Verdict
from ctl.system import procfs, table
from ctl.system.failure import AS_ROOT
from ctl.system.files.ours import Refused, Unreadable
from ctl.system.host import Host
from ctl.system.pid_files import BarePid
from ctl.system.pidfd import Handle
from ctl.system.portrait import started
from ctl.system.procfs import Forbidden, Gone
from ctl.verbs.unproved import line_to_add, runs_as

# A start time is known to a clock tick and a file's time to a kernel tick: 10 ms each at the coarsest.
CLOCK_ERROR = 0.02  # seconds
_UNPROVED = "names pid {}, and nothing proves or disproves that this is the service: it has no [match] rule"


def bare_claims(
    service: Service, host: Host, rules: Rules, record: Record | None
) -> Iterator[tuple[Claim, Handle | None]]:
    """The bare pids, each judged when it is asked for, with an open handle where it holds."""
    for source, where, read in host.bare_pids(service):
        try:
            bare = read()
        except (Refused, Unreadable) as error:
            yield said_nothing(source, where, error), None
            continue
        if bare is None or (source == "pid file" and record is not None and record.identity.pid == bare.pid):
            continue  # the record's other half says nothing of its own
        own_file = where if source == "stop.pid_file" and not service.has_rules else None
        belief = believe(service, host, rules_of_unit(service, host, rules, bare.pid), bare, own_file)
        claim = Claim(
            source=source, where=where, pid=bare.pid, verdict=belief.verdict, why=belief.why,
            doubt=belief.doubt, fix=belief.fix,
        )  # fmt: skip
        yield claim, belief.handle


def rules_of_unit(service: Service, host: Host, rules: Rules, pid: int) -> Rules:
    """Of a service that systemd itself started, nothing but systemd can say which process it is without match rules,
    and as which user it runs.

    It does so by the unit's control group, where it put the process; so $MAINPID is believed of a process in there.
    """
    unit = host.unit
    if unit is None or pid != unit.main_pid or not unit.holds(pid):
        return rules
    return rules.of_anyone() if service.has_rules else Rules()


def said_nothing(source: str, where: str | None, error: Refused | Unreadable) -> Claim:
    """The claim of a file that says no pid."""
    if isinstance(error, Refused):
        return Claim(source=source, where=where, pid=None, verdict="refused", why=error.what, fix=error.fix)
    return Claim(
        source=source, where=where, pid=None, verdict="unknown", why=error.what, doubt="permission_denied", fix=AS_ROOT
    )


class Belief(msgspec.Struct, frozen=True):
    """What became of a bare pid."""

    verdict: ClaimVerdict
    why: str
    handle: Handle | None = None
    ended: bool = False
    doubt: Reason | None = None  # why it is unknown
    fix: str | None = None


def believe(service: Service, host: Host, rules: Rules, bare: BarePid, own_file: str | None = None) -> Belief:
    """Whether a bare pid is this service's: visible as ours, satisfying every rule, and older than the claim.

    `own_file` is a pid file that the service may have written though ctl has not started it, and of which no rule
    tells whether it holds.
    """
    pid = bare.pid
    if pid in table.lineage():
        return Belief("refused", f"pid {pid} is ctl itself or the shell that called it")
    try:
        handle, verdict = table.judge(pid, rules)
    except Gone:
        return Belief("stale", f"pid {pid} has ended", ended=True)
    if handle is None:
        return _not_judged(pid)
    anothers = verdict == YES and host.others_than(service.name)().whose(handle) is not None
    if verdict == YES and not anothers and (bare.written is None or started(handle) <= bare.written + CLOCK_ERROR):
        return Belief("holds", f"pid {pid} satisfies every rule", handle)
    with handle:
        if own_file is not None and not anothers and _is_unproved(handle, service, host, bare):
            return Belief("unknown", _UNPROVED.format(pid), doubt="identity_unknown", fix=_ways_out(pid, own_file))
    return _disbelieve(service, rules, pid, verdict, anothers=anothers)


def _is_unproved(handle: Handle, service: Service, host: Host, bare: BarePid) -> bool:
    """Whether nothing speaks against it: its user, its age, the marker of another target, that it is the kernel's."""
    pid = handle.pid
    if pid == 1 or host.others_than(service.name)().whose(handle) is not None:
        return False
    if bare.written is not None and started(handle) > bare.written + CLOCK_ERROR:
        return False
    try:
        if set(procfs.read_users(pid)) != {host.service_uid(service)} or not procfs.read_command_line(pid):
            return False
        return not procfs.read_variable(pid, "CTL_TARGET")
    except Gone:
        return False
    except Forbidden:
        return True


def _ways_out(pid: int, file: str) -> str:
    try:
        program = procfs.read_executable(pid) or "..."
    except (Gone, Forbidden):
        program = "..."
    return f"""if it is the service, write [match] executable = "{program}", or a cmdline; if not: rm '{file}'"""


def _disbelieve(service: Service, rules: Rules, pid: int, verdict: Verdict, *, anothers: bool) -> Belief:
    if verdict == UNKNOWN:
        return _unjudged(pid, rules)
    if anothers:
        return Belief("stale", f"pid {pid} is the recorded main process of another service")
    if verdict == YES:
        return Belief("stale", f"pid {pid} started after the file was written")
    if rules.default_uid is not None and table.judges(pid, rules.of_anyone()) == YES:
        why = f"names pid {pid}, which {runs_as(service, rules, pid)}"
        return Belief("unknown", why, doubt="identity_unknown", fix=line_to_add(pid))
    return Belief("stale", f"pid {pid} is another process ({_broken_rule(pid, rules)})")


def _unjudged(pid: int, rules: Rules) -> Belief:
    try:
        why = rules.why_unsearched(procfs.ProcessLook(pid))
    except Gone:
        return Belief("stale", f"pid {pid} has ended", ended=True)
    if why is None:
        return _not_judged(pid)
    return Belief("unknown", f"names pid {pid}, and {why} there", doubt="identity_unknown")


def _not_judged(pid: int) -> Belief:
    why = f"names pid {pid}, which this user cannot judge"
    return Belief("unknown", why, doubt="permission_denied", fix=AS_ROOT)


def _broken_rule(pid: int, rules: Rules) -> str:
    try:
        broken = [name for name, verdict in rules.each(procfs.ProcessLook(pid)).items() if verdict == NO]
    except Gone:
        broken = []
    return f"match.{broken[0]} says no" if broken and rules.marker is None else "not this service's"
