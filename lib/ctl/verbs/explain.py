"""Explain: all that locate, stop and kill conclude from, and what these would do. It has no effect at all."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ctl.model.errors import CtlError
from ctl.model.explanation import (
    Defined,
    ExplainedClaim,
    Explanation,
    LockHolder,
    Member,
)
from ctl.model.match import Rules
from ctl.model.outcome import Claim, ClaimVerdict, Fault
from ctl.model.pause import Pause
from ctl.model.record import Record
from ctl.model.service import Drain, Service
from ctl.system import lock
from ctl.system.failure import as_ctl_error
from ctl.system.host import Host
from ctl.system.pidfd import Handle
from ctl.system.portrait import seen
from ctl.system.trust import user_name
from ctl.verbs.bare_pids import bare_claims
from ctl.verbs.candidates import Known, candidates
from ctl.verbs.intents import intents, some_pids
from ctl.verbs.locate import Located, by_record, locate, marks_survivors, run_of
from ctl.verbs.misfit import misfit
from ctl.verbs.rule_texts import wanted_by
from ctl.verbs.runs import members_of
from ctl.verbs.stop import state_before
from ctl.verbs.supervision import Supervision

_PROOFS = {
    "record": "named by its record",
    "pid file": "named by its pid file",
    "stop.pid_file": "named by stop.pid_file",
    "$MAINPID": "named by $MAINPID",
    "--pid": "named by --pid",
    "table": "found in the process table",
}
_MISFIT = "; its own rules do not fit it"
_OWN = {"record": "its record", "pid file": "its pid file"}
_HEADS = {"ambiguous": "ambiguous: ", "identity_mismatch": "refused: "}


def explain_each(
    services: Sequence[Service], host: Host, given_pid: int | None = None, *, everything: bool = False
) -> list[Explanation]:
    """One after the other. `everything`: all candidates, not only the nearest of each kind."""
    return [explain(service, host, given_pid, everything=everything) for service in services]


def explain(service: Service, host: Host, given_pid: int | None = None, *, everything: bool = False) -> Explanation:
    """What is known of the service and why. What cannot be told is "unknown", never "stopped"."""
    try:
        return _explain(service, host, given_pid, everything=everything)
    except Exception as error:  # noqa: BLE001 - what cannot be told of one must not cost the others their explanation
        known = as_ctl_error(error)
        return Explanation(
            target=service.name, ok=False, state="unknown", answer=f"cannot be explained: {known.what}",
            exit_code=known.exit_code, errors=_faults(service, known),
        )  # fmt: skip


def _explain(service: Service, host: Host, given_pid: int | None, *, everything: bool) -> Explanation:
    rules = host.rules(service)
    located = _located(service, host, given_pid)
    members = members_of(located, service, host)
    try:
        related = [_member(handle, members.kinship(handle)) for handle in members.refresh()]
        record, claims = _claims(service, host, rules, located, given_pid)
        wanted = wanted_by(service, rules)
        known = _known(service, located, record, {claim.pid for claim in claims if claim.pid} | {given_pid or 0})
        found = candidates(service, host, rules, wanted, known, everything=everything)
        holder = _holder(service, host)
        misfits = _misfits(service, host, located)
        is_paused = state_before(located) == "paused"
        paused = host.pause_of(service, located.mains[0]) if is_paused else None
        return Explanation(
            target=service.name,
            given_pid=given_pid,
            ok=located.doubt is None,
            state=state_before(located),
            answer=_answer(located, paused, claims, related, given_pid) + (_MISFIT if misfits else ""),
            exit_code=located.doubt.exit_code if located.doubt is not None else 0,
            pids=[main.pid for main in located.mains],
            paused_since=None if paused is None else paused.since,
            paused_until=None if paused is None else paused.until,
            proved_by=located.source if located.mains else None,
            defined=_defined(service, host),
            rules=wanted,
            record=record,
            older=() if located.state is None else located.state.older,
            claims=claims,
            candidates=found.listed,
            omitted=found.omitted,
            hidden=found.hidden,
            members=related,
            plans=intents(service, host, located, holder),
            lock=holder,
            supervisor=Supervision(service.name, located.mains).by("stop"),
            errors=_faults(service, located.doubt) if located.doubt is not None else misfits,
        )
    finally:
        members.close()
        located.close()


def _faults(service: Service, error: CtlError) -> list[Fault]:
    return [msgspec.structs.replace(fault, target=service.name) for fault in Fault.each_of(error)]


def _misfits(service: Service, host: Host, located: Located) -> list[Fault]:
    found = [fault for main in located.mains if (fault := misfit(service, host, main)) is not None]
    return [msgspec.structs.replace(fault, target=service.name) for fault in found]


def _located(service: Service, host: Host, given_pid: int | None) -> Located:
    """What locate finds. Where it refuses, that is the doubt: whoever wants to act meets the same error."""
    try:
        return locate(service, host, given_pid)
    except CtlError as error:
        return Located([], [], None, None, error)


def _claims(
    service: Service, host: Host, rules: Rules, located: Located, given_pid: int | None
) -> tuple[Record | None, list[ExplainedClaim]]:
    """Every claim: as locate has judged it, or judged now where locate had no need to."""
    found: list[Claim] = []
    state, recorded, handle = by_record(service, host)
    record = run_of(state)
    _close(handle)
    found += [recorded] if recorded is not None else []
    for claim, holding in bare_claims(service, host, rules, record):
        _close(holding)
        found.append(claim)
    sources = {claim.source for claim in found}
    if recorded is not None and record is not None and "pid file" not in sources:
        bare = host.records.read_pid(service.name)
        if bare is not None:
            where, why = str(host.records.pid_file(service.name)), "says what the record says"
            half = Claim(source="pid file", where=where, pid=bare.pid, verdict=recorded.verdict, why=why)
            found.insert(1, half)
    judged = {claim.source: claim for claim in located.claims}
    refusal = located.doubt if given_pid is not None and located.doubt is not None else None
    asked = {"record", *judged} if located.mains or given_pid is not None else sources
    return record, [
        *_given_claim(judged, given_pid, refusal),
        *(_explained(judged.get(claim.source, claim), asked=claim.source in asked) for claim in found),
    ]


def _given_claim(judged: dict[str, Claim], given_pid: int | None, refusal: CtlError | None) -> list[ExplainedClaim]:
    """What became of --pid."""
    if "--pid" in judged:
        return [_explained(judged["--pid"], asked=True)]
    if refusal is None:
        return []
    verdict: ClaimVerdict = "unknown" if refusal.reason == "permission_denied" else "refused"
    return [
        ExplainedClaim(source="--pid", where=None, pid=given_pid, verdict=verdict, why=refusal.what, fix=refusal.fix)
    ]


def _explained(claim: Claim, *, asked: bool) -> ExplainedClaim:
    return ExplainedClaim(**msgspec.structs.asdict(claim), asked=asked)


def _close(handle: Handle | None) -> None:
    if handle is not None:
        handle.close()


def _known(service: Service, located: Located, record: Record | None, claimed: set[int]) -> Known:
    proof = _PROOFS.get(located.source or "", "")
    mains = {
        main.pid: _PROOFS["table"] if index and located.source == "record" else proof
        for index, main in enumerate(located.mains)
    }
    return Known(
        mains=mains,
        claimed=frozenset(claimed),
        too_many=located.doubt is not None and located.doubt.reason == "ambiguous",
        left_over=not located.mains and marks_survivors(service, record),
    )


def _member(handle: Handle, known_by: list[str]) -> Member:
    return Member(**msgspec.structs.asdict(seen(handle)), ppid=handle.stat.ppid, known_by=known_by)


def _defined(service: Service, host: Host) -> Defined:
    start, stop = service.start, service.stop
    return Defined(
        file=service.file,
        description=service.description,
        command=start.command if start is not None else (),
        type=start.type if start is not None else None,
        user=_user(service, host),
        ready="READY=1" if service.notifies else service.ready.kind,
        drain=None if service.drain is None else _drain_kind(service.drain),
        schedule=str(service.schedule),
        kill_mode=stop.kill_mode,
        protected=stop.protected,
        pid_file=stop.pid_file,
        max=service.match.max,
    )


def _user(service: Service, host: Host) -> str:
    try:
        return user_name(host.service_uid(service))
    except CtlError:
        return f"{service.start.user if service.start else None} (no such user on this host)"


def _drain_kind(drain: Drain) -> str:
    named = (("tcp", drain.tcp), ("http", drain.http), ("command", " ".join(drain.command or ())))
    return next((f"{kind} {value}" for kind, value in named if value), "")


def _holder(service: Service, host: Host) -> LockHolder | None:
    held = lock.holder(host.records.lock_file(service.name))
    return None if held is None else LockHolder(verb=held[0], pid=held[1])


# -- the answer, in a sentence


def _answer(
    located: Located,
    paused: Pause | None,
    claims: Sequence[Claim],
    members: Sequence[Member],
    given_pid: int | None,
) -> str:
    if located.mains:
        return _running(located, paused)
    if located.doubt is not None:
        return f"{_HEADS.get(located.doubt.reason, '')}{located.doubt.what}"
    said = [f"its {claim.source} is {claim.verdict} ({claim.why})" for claim in claims if claim.says_it_runs]
    said += [f"pid {given_pid} has ended"] if given_pid is not None else []
    said += [f"{len(members)} of its processes {'is' if len(members) == 1 else 'are'} left"] if members else []
    return "; ".join(["not running", *said])


def _running(located: Located, paused: Pause | None) -> str:
    state = "paused" if state_before(located) == "paused" else "running"
    pids = f"pid{'s' if len(located.mains) > 1 else ''} {some_pids(main.pid for main in located.mains)}"
    proof = (
        "found by its rules in the process table"
        if located.source == "table"
        else f"proved by {_OWN.get(located.source or '', located.source)}"
    )
    held = f", since {paused.since} until {paused.until or 'it is resumed'}" if paused is not None else ""
    return f"{state} as {pids}, {proof}{held}"
