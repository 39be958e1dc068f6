"""What stands in front of the match rules drops only processes that cannot satisfy them, whatever state they are in.

For the rules of a few services that is a sieve, for those of many a list of what every process says.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Collection

import pytest

from ctl.model.match import Marker, Rules, glob, necessary_literals
from ctl.model.verdict import NO, YES
from ctl.system import procfs
from ctl.system.procfs import Gone, ProcessLook
from ctl.system.shortlist import Shortlist
from ctl.system.sieve import worth_a_look
from support.reaper import Process
from support.requires import requires_root
from support.sandbox import PLAIN_UID, Sandbox
from support.strace import calls

RUN_DIR = "/run/of-the-sieve"
MARK = {"CTL_TARGET": "web", "CTL_RUN_DIR": RUN_DIR}
WORDS = "words-of-the-sieve"
# Its entries in /proc are root's from now on, as it has not executed a program since it changed its user.
CHANGES_USER = """
import os, signal, sys
os.setgroups([]), os.setgid(int(sys.argv[1])), os.setuid(int(sys.argv[1]))
print(f"ready (pid: {os.getpid()})", flush=True)
signal.pause()
"""


def by_line(pattern: str, uid: int | None = None) -> Rules:
    regex = re.compile(pattern)
    return Rules(cmdline=regex, literals=necessary_literals(regex), uid=uid)


def worded(sandbox: Sandbox) -> Process:
    return sandbox.reaper.start([*sandbox.programs("recorder", "-"), WORDS], env=MARK)


def deleted(sandbox: Sandbox) -> Process:
    program = sandbox.tmp / "idle-of-the-sieve"
    program.write_bytes(sandbox.programs.path("idle").read_bytes())
    program.chmod(0o755)
    process = sandbox.reaper.start([program])
    program.unlink()
    return process


def talkative(sandbox: Sandbox) -> Process:
    """More arguments than are read at a time, and what is looked for comes last."""
    return sandbox.reaper.start([*sandbox.programs("recorder", "-"), "x" * 100_000, WORDS])


def punctuated(sandbox: Sandbox) -> Process:
    return sandbox.reaper.start([*sandbox.programs("recorder", "-"), f"a:b,{WORDS};:,;"])


def leaderless(sandbox: Sandbox) -> Process:
    """Its first thread has ended: the files of that are empty, or there is none."""
    return sandbox.reaper.start([*sandbox.programs("leaderless"), WORDS], env=MARK)


def changed_user(sandbox: Sandbox) -> Process:
    requires_root()
    return sandbox.reaper.start([sys.executable, "-c", CHANGES_USER, str(PLAIN_UID), WORDS])


def java(sandbox: Sandbox) -> Process:
    return sandbox.reaper.start(["/bin/java", "-cp", "x", "org.Sieve"], executable=sandbox.programs.path("idle"))


def sieve(rules: Rules) -> Collection[int]:
    return set(worth_a_look(rules, []))


def shortlist(rules: Rules) -> Collection[int]:
    return Shortlist().candidates(rules)


LOOKS = pytest.mark.parametrize("look", [sieve, shortlist])
Look = Callable[[Rules], Collection[int]]

FITS: dict[str, tuple[Callable[[Sandbox], Process], Rules]] = {
    "cmdline": (worded, by_line(WORDS)),
    "cmdline without a literal": (worded, by_line(f"(?i){WORDS.upper()}")),
    "cmdline of two arguments": (worded, by_line(f"- {WORDS}")),
    "cmdline across words": (punctuated, by_line(f"a:b,{WORDS}")),
    "cmdline of what is between words": (punctuated, by_line(";:,;$")),
    "long cmdline": (talkative, by_line(f"{WORDS}$")),
    "cmdline of a leaderless one": (leaderless, by_line(WORDS)),
    "user": (changed_user, by_line(WORDS, PLAIN_UID)),
    "java_main": (java, Rules(java_main="org.Sieve")),
    "java_main and cmdline": (java, Rules(java_main="org.Sieve", cmdline=re.compile("-cp"), literals=(b"-cp",))),
    "executable": (deleted, Rules(executable=glob("*/idle-of-the-sieve"))),
    "executable of a leaderless one": (leaderless, Rules(executable=glob("*/leaderless"))),
    "marker": (worded, Rules(marker=Marker("web", RUN_DIR))),
    "marker of a leaderless one": (leaderless, Rules(marker=Marker("web", RUN_DIR))),
    "all of them": (worded, Rules(cmdline=re.compile(WORDS), executable=glob("*python*"), uid=os.geteuid())),
}
BREAKS = {
    "cmdline": by_line("words-of-nobody"),
    "cmdline, but for one word": by_line(f"{WORDS}.*nobody"),
    "user": Rules(uid=PLAIN_UID + 1),
    "java_main": Rules(java_main="org.Nobody"),
    "executable": Rules(executable=glob("*/nobody")),
    "marker": Rules(marker=Marker("nobody", RUN_DIR)),
}


@LOOKS
@pytest.mark.parametrize("kind", FITS)
def test_who_satisfies_the_rules_is_worth_a_look(sandbox: Sandbox, kind: str, look: Look) -> None:
    start, rules = FITS[kind]
    process = start(sandbox)
    assert rules.verdict(ProcessLook(process.pid)) == YES
    assert process.pid in look(rules)


@LOOKS
@pytest.mark.parametrize("kind", BREAKS)
def test_who_does_not_is_dropped(sandbox: Sandbox, kind: str, look: Look) -> None:
    process = worded(sandbox)
    assert BREAKS[kind].verdict(ProcessLook(process.pid)) == NO
    assert process.pid not in look(BREAKS[kind])


@LOOKS
@pytest.mark.parametrize("kind", FITS)
def test_of_all_processes_of_this_host_none_is_dropped_that_could_be_it(
    sandbox: Sandbox, kind: str, look: Look
) -> None:
    """Kernel threads, zombies and the like: who came, went or executed a program meanwhile is not counted."""
    start, rules = FITS[kind]
    start(sandbox)
    before, looked_at = set(procfs.pids()), set(look(rules))
    dropped = before & set(procfs.pids()) - looked_at
    for pid in dropped:
        try:
            assert rules.verdict(ProcessLook(pid)) == NO or pid in look(rules), pid
        except Gone:
            continue


CHEAPER: dict[str, dict[str, object]] = {"user": {"user": PLAIN_UID + 1}, "executable": {"executable": "/nobody"}}


@pytest.mark.parametrize("rule", [None, *CHEAPER])
def test_arguments_are_read_of_those_alone_whom_no_cheaper_rule_excludes(sandbox: Sandbox, rule: str | None) -> None:
    requires_root()
    pid = worded(sandbox).pid
    sandbox.define("web", {"match": {"cmdline": "words-of-nobody", **(CHEAPER[rule] if rule else {})}})
    read = [call for call in calls(sandbox, "status", "web") if f'{pid}/cmdline"' in call.line]
    assert len(read) == (0 if rule else 1)


def test_whose_executable_is_a_secret_is_excluded_by_his_arguments(plain_sandbox: Sandbox) -> None:
    pid = plain_sandbox.reaper.start([*plain_sandbox.programs("recorder", "-"), WORDS], user=0).pid
    plain_sandbox.define("web", {"match": {"cmdline": "words-of-nobody", "executable": "/nobody"}})
    traced = [call.line for call in calls(plain_sandbox, "status", "web")]
    assert any(f'"{pid}/exe"' in line and "EACCES" in line for line in traced)
    assert any(f'"{pid}/cmdline"' in line for line in traced)
    assert not any(f"/proc/{pid}/" in line for line in traced), "it came through the sieve"


def test_where_there_are_too_many_words_to_keep_the_rest_is_judged_without_them(sandbox: Sandbox) -> None:
    for first in (0, 250_000):
        words = [" ".join(map(str, range(start, start + 10_000))) for start in range(first, first + 250_000, 10_000)]
        sandbox.reaper.start([*sandbox.programs("recorder", "-"), *words])
    last = worded(sandbox)
    assert last.pid in shortlist(by_line(WORDS))
    assert last.pid in shortlist(by_line("words-of-nobody")), "kept all words of everybody"


def test_a_process_directory_belongs_to_its_user_although_what_is_in_there_is_roots(sandbox: Sandbox) -> None:
    """So its owner is a rule's answer, and not only a hint, however old the kernel."""
    pid = changed_user(sandbox).pid
    assert os.stat(f"/proc/{pid}/status").st_uid == 0
    assert procfs.read_owner(pid) == PLAIN_UID
