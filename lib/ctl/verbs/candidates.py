"""Every process that is a service, could be taken for it, or comes near: what each rule says of it, and what it is.

Who is a main process is told by locate, and who matches by the same scan of the process table that locate makes; here
is only found out why the others are not.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Self

from ctl.model.explanation import Candidate, Ground, Omitted
from ctl.model.match import Rules
from ctl.model.reasons import Words, answers, first_broken, near_words, nearness
from ctl.model.service import Service
from ctl.model.verdict import NO, UNKNOWN, YES, Verdict, all_of
from ctl.system import procfs, table
from ctl.system.cgroups import container_of
from ctl.system.host import Host
from ctl.system.pidfd import Handle, open_handle
from ctl.system.portrait import epoch_of, rfc3339
from ctl.system.procfs import Forbidden, Gone, ProcessLook, Stat
from ctl.system.trust import user_name
from ctl.verbs.locate import without_children
from ctl.verbs.unproved import runs_as

_LISTED = {"matching": 20, "passed_over": 5, "unknown": 5, "near": 5}  # at most, unless all are asked for
_ONE_RULE = 4.0  # of nearness: at least one rule says yes, other than that of the user


class Known(NamedTuple):
    """What locate has found out before."""

    mains: dict[int, str]  # the main processes, and how each was proved, in words
    claimed: frozenset[int]  # pids that some claim names
    too_many: bool  # whether more match than may
    left_over: bool  # whether who carries the marker is a survivor: the recorded main process has ended


class Candidates(NamedTuple):
    """Who is listed, how many are not, and whether /proc may hide more."""

    listed: list[Candidate]
    omitted: Omitted
    hidden: bool


class _Standing(NamedTuple):
    verdict: Verdict
    ground: Ground
    why: str


def candidates(
    service: Service, host: Host, rules: Rules, wanted: dict[str, str], known: Known, *, everything: bool
) -> Candidates:
    """The main processes, who is claimed to be, who satisfies every rule, who cannot be judged, and near misses."""
    with _Survey(service, host, rules, known) as survey:
        kinds = survey.kinds()
        most = dict.fromkeys(_LISTED, len(kinds)) if everything else _LISTED
        chosen: list[int] = [pid for pid, kind in kinds.items() if kind in ("main", "claimed")]
        omitted: dict[str, int] = {}
        for kind, limit in most.items():
            found = [pid for pid, its in kinds.items() if its == kind]
            chosen += found[:limit]
            omitted[kind] = len(found[limit:])
        listed = [candidate for pid in chosen if (candidate := survey.candidate(pid, wanted)) is not None]
        return Candidates(listed, Omitted(**omitted), survey.hidden)


class _Survey:
    """One look at the whole process table, for a person who compares."""

    def __init__(self, service: Service, host: Host, rules: Rules, known: Known) -> None:
        self._service, self._host, self._rules, self._known = service, host, rules, known
        self._lineage = table.lineage()
        scan = table.scan(rules)
        self.hidden = scan.hidden
        self._unknown = frozenset(scan.unknown)
        self._others: dict[int, str] = {}  # whose main process it is
        own: list[Handle] = []
        others = host.others_than(service.name)()
        for handle in scan.matching:
            if (whose := others.whose(handle)) is not None:
                self._others[handle.pid] = whose
                handle.close()
            else:
                own.append(handle)
        self._unproved = {handle.pid: runs_as(service, rules, handle.pid) for handle in scan.unproved}
        for handle in scan.unproved:
            handle.close()
        satisfying = frozenset(handle.pid for handle in own)
        self._matching = without_children(own)
        self._main_like = frozenset(handle.pid for handle in self._matching)
        self._descendants = satisfying - self._main_like
        self._family = satisfying | known.mains.keys()
        self._callers: dict[int, int] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._matching:
            handle.close()

    def kinds(self) -> dict[int, str]:
        """Everyone to be listed, as what, and the nearest first."""
        words = near_words(self._service)
        found: dict[int, tuple[str, float]] = {}
        for pid, said, look in self._looks():
            kind, near = self._kind(pid, said), 0.0
            if kind == "near":
                near = self._nearness(pid, said, look, words)
            if kind != "near" or near:
                found[pid] = kind, near
        least = _ONE_RULE if self._known.mains or self._main_like else 0.0
        near_ones = {pid for pid, (kind, near) in found.items() if kind == "near" and near >= least}
        near_ones = {pid for pid in near_ones if self._exclusion(pid) is None}

        def order(item: tuple[int, tuple[str, float]]) -> tuple[bool, float]:
            pid, (kind, near) = item
            return kind == "near" and not near_ones.isdisjoint(procfs.parents(pid)), -near

        return {pid: kind for pid, (kind, _) in sorted(found.items(), key=order) if kind != "near" or pid in near_ones}

    def candidate(self, pid: int, wanted: dict[str, str]) -> Candidate | None:
        """What is known of it, None where it has ended meanwhile."""
        look = ProcessLook(pid)
        try:
            said = answers(self._rules, look, pid, wanted, user_name)
            stat = _stat(pid)
            verdict, ground, why = self._standing(pid, stat, all_of(answer.verdict for answer in said.values()))
            if ground in ("rules", "unknown"):
                why = first_broken(said, NO if ground == "rules" else UNKNOWN)
            line = look.command_line
            return Candidate(
                pid=pid, verdict=verdict, ground=ground, why=why, rules=said,
                ppid=stat.ppid if stat else None, user=user_name(look.uid),
                since=rfc3339(epoch_of(stat.start_ticks)) if stat else None, state=stat.state if stat else None,
                command=line or (f"[{stat.comm}]" if stat else None),
            )  # fmt: skip
        except Gone:
            return None

    def _looks(self) -> Iterator[tuple[int, dict[str, Verdict], ProcessLook]]:
        """Every process with what each rule says; nothing of it is kept, as all their arguments may be megabytes."""
        for pid in procfs.pids():
            look = ProcessLook(pid)
            try:
                yield pid, self._rules.each(look), look
            except Gone:
                continue

    def _kind(self, pid: int, said: dict[str, Verdict]) -> str:
        if pid in self._known.mains:
            return "main"
        if pid in self._known.claimed:
            return "claimed"
        if pid in self._main_like or pid in self._unproved:
            return "matching"
        if pid in self._unknown:
            return "unknown"
        return "passed_over" if said and all_of(said.values()) == YES else "near"

    def _nearness(self, pid: int, said: dict[str, Verdict], look: ProcessLook, words: Words) -> float:
        # Who calls ctl names the service in many ways, and is not what anyone looks for.
        if pid in self._lineage or pid == 1:
            return 0.0
        try:
            line = look.command_line
            return nearness(said, words, line or ("" if (stat := _stat(pid)) is None else stat.comm))
        except Gone:
            return 0.0

    def _standing(self, pid: int, stat: Stat | None, rules_say: Verdict) -> _Standing:
        """The first of the reasons that locate and the scan would meet."""
        if pid in self._known.mains:
            return _Standing(YES, "main", self._known.mains[pid])
        if pid in self._main_like:
            return self._second(pid)
        if pid in self._unproved:
            return _Standing(UNKNOWN, "default_user", self._unproved[pid])
        if pid in self._others:
            return _no("others_main", f"is the recorded main process of {self._others[pid]}")
        if pid in self._descendants:
            return self._descendant(pid)
        if pid in self._unknown:
            return _Standing(UNKNOWN, "unknown", "")
        return self._passed_over(pid, stat, rules_say)

    def _second(self, pid: int) -> _Standing:
        """It satisfies every rule, and is not a main process all the same."""
        if not self._known.mains.keys().isdisjoint(procfs.parents(pid)):
            return self._descendant(pid)
        if self._known.too_many:
            most = self._service.match.max
            return _Standing(UNKNOWN, "too_many", f"one of {len(self._main_like)} that match; match.max is {most}")
        if self._known.left_over:
            return _no("survivor", "carries the service's mark, and is left of a main process that has ended")
        if self._known.mains:
            proof = next(iter(self._known.mains.values()))
            return _no("other_claim", f"satisfies every rule, but another process is {proof}")
        return _no("passing", "satisfies every rule since a moment ago; ask again")

    def _descendant(self, pid: int) -> _Standing:
        above = next((parent for parent in procfs.parents(pid) if parent in self._family), None)
        if above is None:
            return _no("passing", "changed while it was looked at; ask again")
        what = "the main process" if above in self._known.mains else "which satisfies every rule, too"
        return _no("descendant", f"descends from pid {above}, {what}")

    def _passed_over(self, pid: int, stat: Stat | None, rules_say: Verdict) -> _Standing:
        """Never a candidate, whatever the rules say; or the rules say no."""
        if pid == procfs.own_pid():
            return _no("ctl_itself", "is this ctl")
        if pid in self._lineage:
            return _no("caller", "is a process that called this ctl")
        if pid == 1:
            return _no("init", "is pid 1")
        if stat is not None and stat.state in "ZX":
            return _no("zombie", f"has ended, and waits for its parent, pid {stat.ppid}, to take note")
        excluded = self._exclusion(pid)
        if excluded is not None:
            return excluded
        if rules_say == NO:
            return _no("rules", "")
        if rules_say == UNKNOWN:
            return self._judged_without_proc(pid)
        return self._caller_of_ctl(pid)

    def _judged_without_proc(self, pid: int) -> _Standing:
        """Of whom /proc does not tell enough, and the scan knows all the same."""
        try:
            handle = open_handle(pid)
        except Forbidden:
            handle = None
        if handle is not None:
            with handle:
                if table.serves_login(handle):
                    return _no("login", "belongs to a login of this user: an agent with keys, or sshd")
        return _no("another_user", "is another user's, as the kernel lets this one not signal it")

    def _exclusion(self, pid: int) -> _Standing | None:
        try:
            handle = open_handle(pid)
            if handle is None:
                return None
            with handle:
                excluded = table.exclusion(handle)
        except Forbidden:
            return None
        if excluded is None:
            return None
        container = container_of(pid) if excluded in ("other_pid_namespace", "container") else None
        words = {
            "kernel_thread": "is a kernel thread",
            "other_pid_namespace": f"is in a container ({container or 'its pid namespace is not ours'})",
            "container": f"is in a container ({container})",
            "another_ctl": "is another ctl",
            "gated": "is a child of ctl's that has not executed its program yet",
            "service_manager": "is systemd itself, or a helper of it",
        }
        return _no(excluded, words[excluded])

    def _caller_of_ctl(self, pid: int) -> _Standing:
        if self._callers is None:
            self._callers = table.callers_of_ctl(self._rules)
        if pid in self._callers:
            return _no("caller_of_ctl", f"called another ctl, pid {self._callers[pid]}")
        return _no("passing", "came or changed while it was looked at; ask again")


def _no(ground: Ground, why: str) -> _Standing:
    return _Standing(NO, ground, why)


def _stat(pid: int) -> Stat | None:
    try:
        return procfs.read_stat(pid)
    except Forbidden:
        return None
