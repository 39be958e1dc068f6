"""The process table: who satisfies a service's match rules, read straight from /proc, the cheapest question first."""

from __future__ import annotations

import contextlib
import os
import re
import select
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Literal

import msgspec

from ctl.model.match import Rules, Unsearched, necessary_literals
from ctl.model.verdict import NO, UNKNOWN, YES, Verdict
from ctl.system import procfs
from ctl.system.gate import is_gated
from ctl.system.pidfd import Handle, is_anothers, open_handle
from ctl.system.procfs import Forbidden, Gone, ProcessLook
from ctl.system.sieve import worth_a_look
from ctl.system.turns import let_others
from ctl.system.wait import Wait, now

_BECOMES_WITHIN = 0.5  # seconds
_LOOK_EVERY = 10  # milliseconds
_AGENTS = ("ssh-agent", "gpg-agent")
_SSHD = ("sshd", "sshd-session")
Exclusion = Literal["kernel_thread", "other_pid_namespace", "container", "another_ctl", "gated", "service_manager"]


class Scan(msgspec.Struct, frozen=True):
    """What a scan found: open handles on those who match, and who could not be judged."""

    matching: list[Handle]
    unknown: list[int]
    hidden: bool  # whether there may be processes that /proc did not even list
    unsearched: dict[int, str] = {}  # why, of those whose arguments could be read, but not searched for the pattern
    # Where nobody matches: who satisfies every rule, and runs as another user than the one that is taken by default.
    unproved: list[Handle] = []

    def close(self) -> None:
        for handle in (*self.matching, *self.unproved):
            handle.close()


class Instances(msgspec.Struct, frozen=True):
    """The instances that were found, and why others may have been missed, by template."""

    claimed: set[str]
    unsearched: dict[str, str]


def lineage() -> frozenset[int]:
    """ctl itself and its ancestors: the shell, ssh or Ansible that called it may hold the pattern in its own argv."""
    return frozenset({os.getpid(), *procfs.parents(os.getpid())})


def scan(rules: Rules, candidates: Callable[[Rules], Collection[int]] | None = None) -> Scan:
    """Judge every process but ctl's lineage, pid 1, kernel threads, zombies and those of other pid namespaces.

    With `candidates` only those that this names: it is known of the others that they do not satisfy the rules.
    """
    of_others: list[str] = []
    found = _judge_each(worth_a_look(rules, of_others) if candidates is None else candidates(rules), rules)
    unknown = found.unknown
    if unknown and not found.matching and rules.owner == os.geteuid():
        came, unknown = _judge_again(unknown, rules)
        found.matching.extend(came)
    if rules.default_uid is not None:  # then other users' ctls were not looked at
        calling = {handle.pid for handle in found.matching if _has_called_ctl(handle.pid)}
        found.matching[:] = _without(calling, found.matching)
    # Of whom /proc hides, none may be seen to run as another user than the default.
    is_anyones = rules.uid is None or rules.uid != os.geteuid()
    hidden = not found.matching and is_anyones and procfs.hides_others()
    unsearched = _unsearched(unknown, rules)
    unproved: list[Handle] = []
    if rules.default_uid is not None and not found.matching:
        rules = rules.of_anyone()
        pids = worth_a_look(rules, [], of_others) if candidates is None else candidates(rules)
        unproved = _judge_each(pids, rules).matching
    return Scan(found.matching, unknown, hidden, unsearched, unproved)


def _judge_each(pids: Iterable[int], rules: Rules) -> Scan:
    """Those of `pids` who match, without those that have called another ctl, and those who cannot be judged."""
    matching: list[Handle] = []
    unknown: list[int] = []
    callers: set[int] = set()
    never: frozenset[int] | None = None
    for pid in pids:
        never = never or lineage() | {1}
        if pid in never:
            continue
        try:
            if rules.verdict(ProcessLook(pid)) == NO:
                continue
            from ctl.system.another import arguments_of_ctl, callers_of

            if (arguments := arguments_of_ctl(pid)) is not None:
                callers |= callers_of(pid, arguments)
                continue
            # What was read may have been of a process that is gone: judge again with an open handle.
            handle, verdict = judge(pid, rules)
        except Gone:
            continue
        if verdict == YES and handle is not None:
            matching.append(handle)
        else:
            if verdict == UNKNOWN:
                unknown.append(pid)
            if handle is not None:
                handle.close()
    return Scan(_without(callers, matching), unknown, hidden=False)


def _unsearched(unknown: list[int], rules: Rules) -> dict[int, str]:
    """Those that can be read, and could not be searched for the pattern: why."""
    found: dict[int, str] = {}
    for pid in unknown if rules.unsearched else ():
        with contextlib.suppress(Gone):
            if (why := rules.why_unsearched(ProcessLook(pid))) is not None:
                found[pid] = why
    return found


def _has_called_ctl(pid: int) -> bool:
    """Whether a ctl descends from it, and has its arguments from there."""
    from ctl.system.another import arguments_of_ctl

    try:
        called = (arguments_of_ctl(child) for child in procfs.descendants(pid) or ())
        line = procfs.read_command_line(pid) or ""
        return any(arguments is not None and " ".join(arguments) in line for arguments in called)
    except Gone:
        return False


def _without(pids: set[int], handles: list[Handle]) -> list[Handle]:
    for handle in handles:
        if handle.pid in pids:
            handle.close()
    return [handle for handle in handles if handle.pid not in pids]


def _judge_again(unknown: list[int], rules: Rules) -> tuple[list[Handle], list[int]]:
    """Those that match after all, and those that still cannot be judged.

    A process that has just become this user's, by su(1), cron(8) or systemd, cannot be read by that user until it has
    executed its program, PR_SET_DUMPABLE in prctl(2): it is given the time for that.
    """
    matching: list[Handle] = []
    until = now() + _BECOMES_WITHIN
    while unknown and now() < until:
        with let_others():
            select.poll().poll(_LOOK_EVERY)
        for pid in list(unknown):
            try:
                handle, verdict = judge(pid, rules)
            except Gone:
                unknown.remove(pid)
                continue
            if verdict != UNKNOWN:
                unknown.remove(pid)
            if verdict == YES and handle is not None:
                matching.append(handle)
            elif handle is not None:
                handle.close()
    return matching, unknown


def instances(patterns: Mapping[str, re.Pattern[str] | None], run_dir: str, wait: Wait) -> Instances:
    """The instances of these templates that any process claims to be, by what ctl put into its environment or by argv.

    A claim is no proof: each is still to be located. Raises what `wait` raises.
    """
    from ctl.system.regex import Budget, Searcher

    claimed: set[str] = set()
    unsearched: dict[str, str] = {}
    budget = Budget()
    told_by_argv = {
        template: (Searcher(regex, "match.cmdline", wait, budget), necessary_literals(regex))
        for template, regex in patterns.items()
        if regex is not None
    }
    never = lineage() | {1}
    for pid in procfs.pids():
        if pid in never:
            continue
        look = ProcessLook(pid)
        try:
            marker = look.marker
            if marker is not None and marker.run_dir == run_dir and marker.target.partition("@")[0] in patterns:
                claimed.add(marker.target)
            for template, (searcher, literals) in told_by_argv.items():
                try:
                    found = searcher.search(look.command_line or "") if all(map(look.mentions, literals)) else None
                except Unsearched as error:
                    unsearched.setdefault(template, f"{error} on pid {pid}")
                    continue
                if found is not None and found["instance"]:  # a pattern may match without it
                    claimed.add(f"{template}@{found['instance']}")
        except Gone:
            continue
    return Instances({target for target in claimed if "@" in target}, unsearched)


def judge(pid: int, rules: Rules) -> tuple[Handle | None, Verdict]:
    """An open handle on the process and whether it can be a main process under these rules. Raises Gone."""
    try:
        handle = open_handle(pid)
    except Forbidden:
        return None, NO if rules.owner == os.geteuid() and is_anothers(pid) else UNKNOWN
    if handle is None:
        raise Gone(pid)
    try:
        if exclusion(handle) is not None:
            verdict: Verdict = NO
        else:
            verdict = rules.verdict(ProcessLook(pid))
    except Forbidden:
        verdict = UNKNOWN
    except Gone:
        handle.close()
        raise
    if verdict == UNKNOWN and rules.owner == os.geteuid() and not handle.may_signal():
        verdict = NO  # the kernel knows whose it is, even where /proc does not tell
    if verdict == UNKNOWN and serves_login(handle):
        verdict = NO
    if handle.is_gone:  # then what was read may be another's
        handle.close()
        raise Gone(pid)
    return handle, verdict


def judges(pid: int, rules: Rules) -> Verdict:
    """What `judge` says of it, NO where it has ended."""
    try:
        handle, verdict = judge(pid, rules)
    except Gone:
        return NO
    if handle is not None:
        handle.close()
    return verdict


def exclusion(handle: Handle) -> Exclusion | None:
    """Why the process is nobody's main process, whatever the rules say; None where it can be one.

    Raises Gone or Forbidden.
    """
    if handle.stat.is_kernel_thread:
        return "kernel_thread"
    if not procfs.in_our_pid_namespace(handle.pid):
        return "other_pid_namespace"
    from ctl.system.another import arguments_of_ctl
    from ctl.system.cgroups import is_in_another_container
    from ctl.system.managers import is_service_manager

    if is_in_another_container(handle.pid):
        return "container"
    if arguments_of_ctl(handle.pid) is not None:
        return "another_ctl"
    if is_gated(handle.pid):
        return "gated"
    return "service_manager" if is_service_manager(handle.pid) else None


def serves_login(handle: Handle) -> bool:
    """Whether it is what a login leaves in every user's process list: an agent with keys, or the user's half of sshd.

    These keep even their own user from reading their environment. Whoever logs in twice could otherwise start nothing
    that is known by its environment alone. As a service, such a program is known by a match rule.
    """
    stat = handle.stat
    return stat.comm in _AGENTS or (stat.comm in _SSHD and is_anothers(stat.ppid))


def callers_of_ctl(rules: Rules) -> dict[int, int]:
    """Who called another ctl that these rules fit, so that `scan` leaves it out: its pid, and that of the ctl."""
    from ctl.system.another import arguments_of_ctl, callers_of

    callers: dict[int, int] = {}
    for pid in procfs.pids():
        try:
            if rules.verdict(ProcessLook(pid)) != NO and (arguments := arguments_of_ctl(pid)) is not None:
                callers |= dict.fromkeys(callers_of(pid, arguments), pid)
        except Gone:
            continue
    return callers
