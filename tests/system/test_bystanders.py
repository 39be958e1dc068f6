"""Who looks like the service and is not it survives, and where two may be it, neither is touched.

The rule of these services is a word that their argv holds, as in most real definitions. So does the argv of the shell
that calls ctl, of another ctl, of a container's process: each of them is there for real, and proves that it got no
signal.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import pytest

from support import proc
from support.bystander import assert_untouched, start_bystander
from support.pidns import start_in_child_namespace
from support.pty import Terminal
from support.reaper import Process
from support.requires import requires_root, requires_strace
from support.sandbox import CTL, NOBODY_UID, PLAIN_UID, Sandbox
from support.waiting import wait_file, wait_gone, wait_line, wait_until

PF_KTHREAD = 0x00200000  # linux/sched.h
SHELL = '"$@"; echo "alive: $?"'  # a command after it, or the shell would become ctl instead of waiting for it


@pytest.fixture
def word(sandbox: Sandbox) -> str:
    """What the rules of this test look for, and nothing else on this machine holds."""
    return f"orders-{sandbox.reaper.mark}"


def watched(sandbox: Sandbox, name: str, **match: object) -> None:
    """A service that somebody else starts: ctl knows its processes by these rules alone."""
    sandbox.define(name, {"match": match, "stop": {"schedule": "TERM/5/KILL/5"}})


def by_hand(sandbox: Sandbox, word: str, program: str = "polite", *args: object, user: int | None = None) -> Process:
    """A test program with the word in its argv; without arguments `polite`, which takes its exit status first."""
    return sandbox.reaper.start(sandbox.programs(program, *(args or [0]), word), user=user)


def ended(process: Process) -> bool:
    return not process.alive()


# -- ctl's own side


@pytest.mark.parametrize("levels", [1, 2, 4])
@pytest.mark.parametrize("verb", ["stop", "kill"])
@pytest.mark.parametrize("running", [True, False], ids=["running", "not running"])
def test_the_shells_that_called_ctl_survive(sandbox: Sandbox, word: str, verb: str, levels: int, running: bool) -> None:
    watched(sandbox, "web", cmdline=word)
    service = by_hand(sandbox, word) if running else None
    result = sandbox.ctl(verb, "web", prefix=["sh", "-c", SHELL, word] * levels).expect(0)
    first, *shells = result.stdout.splitlines()
    assert shells == ["alive: 0"] * levels
    if service:
        assert re.match(rf"web: (stopped|killed), pid {service.pid}, ", first)
        wait_gone(service.pidfd)
    else:
        assert first == "web: already stopped"


def test_a_shell_on_a_terminal_survives(sandbox: Sandbox, word: str) -> None:
    watched(sandbox, "web", cmdline=word)
    service = by_hand(sandbox, word)
    command = ["bash", "-c", SHELL, word, "sh", "-c", SHELL, word, str(CTL), "kill", "web"]
    with Terminal(sandbox.reaper, command, sandbox.environment()) as terminal:
        terminal.expect(f"web: killed, pid {service.pid}")
        terminal.expect("alive: 0")
        terminal.expect("alive: 0")
        assert terminal.wait() == 0
    wait_gone(service.pidfd)


def test_the_shell_that_starts_a_service_is_not_adopted_as_that_service(sandbox: Sandbox, word: str) -> None:
    sandbox.service("web", "polite", 0, word, match={"cmdline": word})
    result = sandbox.ctl("start", "web", prefix=["sh", "-c", SHELL, word])
    assert result.stdout.splitlines()[0].startswith("web: started, pid ")
    assert proc.argv(sandbox.pid("web"))[-1] == word


def test_a_pid_file_that_names_the_calling_shell_is_not_believed(sandbox: Sandbox, word: str) -> None:
    watched(sandbox, "web", cmdline=word)
    script = f'echo $$ >"{sandbox.pid_file("web")}"; "$@"; echo "alive: $?"'
    result = sandbox.ctl("kill", "web", prefix=["sh", "-c", script, word]).expect(0)
    assert result.stdout.splitlines()[-1] == "alive: 0"
    assert "is ctl itself or the shell that called it" in result.stderr


def test_another_ctl_with_the_word_in_its_argv_survives(sandbox: Sandbox, word: str) -> None:
    """One stops it and waits, one waits for the lock, a third kills it: none of them is the service."""
    watched(sandbox, word, cmdline="{name}")
    service = by_hand(sandbox, word, "recorder", "-")
    first = sandbox.ctl_popen("stop", word, "--schedule", "TERM/60/KILL/5")
    service.wait_line("got TERM")
    second = sandbox.ctl_popen("stop", word)
    assert second.err
    second.err.wait("waiting for ctl stop")

    status = sandbox.ctl("status", word, "--json").expect(0)
    assert status.one["pid"] == service.pid
    kill = sandbox.ctl("kill", word, "--json").expect(0)
    assert {sent["pid"] for sent in kill.one["signals"]} == {service.pid}
    assert sandbox.collect(first).rc == 0
    assert sandbox.collect(second).expect(0).stdout == f"{word}: already stopped\n"


def test_another_ctl_that_is_still_its_launcher_survives(sandbox: Sandbox, word: str) -> None:
    """bin/ctl is a shell script for a few milliseconds. Here it is held before it executes Python."""
    requires_strace()
    watched(sandbox, word, cmdline=r"^\S*/sh .*{name}")  # not the argv of strace
    trace = sandbox.tmp / "trace"
    strace = ["strace", "-o", str(trace), "--inject=close:signal=STOP:when=1"]
    other = sandbox.ctl_popen("status", word, prefix=strace)

    wait_line(trace, "stopped by SIGSTOP")
    # Not the children by which strace first finds out what the kernel can do.
    (launcher,) = [pid for pid in proc.children(other.pid) if word in proc.argv(pid)]
    assert proc.argv(launcher)[0].endswith("sh"), "it is Python already"
    pidfd = sandbox.reaper.adopt(launcher)
    assert sandbox.ctl("kill", word).expect(0).stdout == f"{word}: already stopped\n"
    signal.pidfd_send_signal(pidfd, signal.SIGCONT)
    assert sandbox.collect(other).rc == 3


def test_the_shell_above_another_ctl_survives(sandbox: Sandbox, word: str) -> None:
    """`sudo ctl stop orders` on one terminal, `ctl kill orders` on the next: sudo is not orders."""
    watched(sandbox, word, cmdline="{name}")
    service = by_hand(sandbox, word, "recorder", "-")
    first = sandbox.ctl_popen("stop", word, "--schedule", "TERM/60/KILL/5", prefix=["sh", "-c", SHELL, "sudo"])
    service.wait_line("got TERM")
    kill = sandbox.ctl("kill", word, "--json").expect(0)
    assert {sent["pid"] for sent in kill.one["signals"]} == {service.pid}
    assert sandbox.collect(first).expect(0).stdout.splitlines()[-1] == "alive: 0"


def test_a_child_that_still_waits_behind_the_gate_is_nobodys_main_process(sandbox: Sandbox, word: str) -> None:
    """It is a shell with the service's argv. Here ctl is held while it makes the record durable, the gate closed."""
    requires_strace()
    sandbox.service(word, "recorder", "-", word)
    watched(sandbox, "scripts", cmdline=word, executable="*/*sh")
    strace = ["strace", "-o", str(sandbox.tmp / "trace"), "--inject=fsync:signal=STOP:when=1"]
    start = sandbox.ctl_popen("start", word, prefix=strace)
    wait_until(lambda: bool(proc.services(word)), "the child behind the gate is there")
    (gate,) = proc.services(word)
    (ctl,) = proc.children(start.pid)
    pidfd = sandbox.reaper.adopt(ctl)
    wait_until(lambda: proc.state(ctl) in {"T", "t"}, "ctl is held")
    assert word in proc.argv(gate)
    assert "sh" in os.readlink(f"/proc/{gate}/exe"), "it has passed the gate"

    assert sandbox.ctl("kill", "scripts").expect(0).stdout == "scripts: already stopped\n"
    assert sandbox.ctl("status", "scripts").rc == 3
    signal.pidfd_send_signal(pidfd, signal.SIGCONT)
    assert sandbox.collect(start).expect(0).stdout.startswith(f"{word}: started, pid {gate}, ")
    assert proc.alive(gate)


# -- the others'


def test_a_process_of_a_container_survives(sandbox: Sandbox, word: str) -> None:
    """Seen from here it has another pid, and everything else as ours has."""
    watched(sandbox, "web", cmdline=rf"^\S*python\S* .*{word}")  # not the argv of unshare(1), which is one of us
    recorder = sandbox.programs("recorder", sandbox.tmp / "log", word)
    announced = ["sh", "-c", 'echo "ready (pid: $$)"; exec "$@"', "sh", *recorder]  # its own line goes to the file
    inside = start_in_child_namespace(sandbox.reaper, announced)
    wait_line(sandbox.tmp / "log", "ready")
    ours = by_hand(sandbox, word)
    assert sandbox.ctl("status", "web", "--json").expect(0).one["pid"] == ours.pid
    sandbox.ctl("stop", "web").expect(0)
    wait_gone(ours.pidfd)
    sandbox.ctl("kill", "web").expect(0)
    assert sandbox.ctl("status", "web").rc == 3

    refused = sandbox.ctl("kill", "web", "--pid", inside, "--json").expect(152)
    assert refused.one["reason"] == "identity_mismatch"
    sandbox.pid_file("web").write_text(f"{inside}\n", encoding="ascii")
    sandbox.ctl("kill", "web").expect(0)
    signal.pidfd_send_signal(sandbox.reaper.adopt(inside), signal.SIGRTMAX)
    wait_line(sandbox.tmp / "log", "got RTMAX")
    got = (sandbox.tmp / "log").read_text(encoding="ascii").splitlines()[1:]
    assert [line.split(" from ")[0] for line in got] == ["got RTMAX"]


def test_a_kernel_thread_is_never_the_service(sandbox: Sandbox) -> None:
    requires_root()
    threads = [pid for pid in proc.pids() if (fields := proc.stat(pid)) and int(fields[6]) & PF_KTHREAD]
    if not threads:
        pytest.skip("needs a kernel thread: in a container there is none to be seen")
    for _ in range(2):
        sandbox.reaper.start(sandbox.programs("recorder", "-"))
    watched(sandbox, "web", executable="/usr/*", user="root")
    matched = sandbox.ctl("status", "web", "--json").expect(4).one["errors"][0]
    assert matched["reason"] == "ambiguous"
    assert len(matched["details"]) > 1
    assert not {int(line.split()[1].rstrip(",")) for line in matched["details"]} & set(threads)
    for verb in ("stop", "kill"):
        refused = sandbox.ctl(verb, "web", "--pid", threads[0], "--json").expect(152)
        assert (refused.one["reason"], refused.one["changed"]) == ("identity_mismatch", False)
    watched(sandbox, "all", executable="*", user="root")  # a link that a kernel thread does not have reads as ""
    refused = sandbox.ctl("status", "all")
    assert "match.executable: '*' matches everything" in refused.stderr


def test_another_users_process_survives_where_the_rules_name_a_user(sandbox: Sandbox, word: str) -> None:
    requires_root()
    watched(sandbox, "web", cmdline=word, user=str(PLAIN_UID))
    others = [
        start_bystander(sandbox.reaper, sandbox.programs("recorder", "-", word), uid) for uid in (None, NOBODY_UID)
    ]
    ours = by_hand(sandbox, word, user=PLAIN_UID)
    status = sandbox.ctl("status", "web", "--json").expect(0)
    assert status.one["pid"] == ours.pid
    sandbox.ctl("kill", "web").expect(0)
    wait_gone(ours.pidfd)
    assert sandbox.ctl("kill", "web").expect(0).stdout == "web: already stopped\n"
    for other in others:
        refused = sandbox.ctl("kill", "web", "--pid", other.pid).expect(152)
        assert f"pid {other.pid} is another process (match.user says no)" in refused.stderr
        assert_untouched(other)


def test_a_zombie_is_not_the_service(sandbox: Sandbox, word: str) -> None:
    """Nor is it a second match beside the living one."""
    sandbox.service("web", "polite", 0, word, match={"cmdline": word})
    dead = by_hand(sandbox, word)
    dead.signal(signal.SIGKILL)
    wait_gone(dead.pidfd)  # and we do not reap it
    assert proc.state(dead.pid) == "Z"
    sandbox.pid_file("web").write_text(f"{dead.pid}\n", encoding="ascii")
    assert sandbox.ctl("status", "web").rc == 1  # dead, but its pid file remains
    started = sandbox.ctl("start", "web", "--json").expect(0).one
    assert started["reason"] == "started"
    assert started["pid"] != dead.pid
    sandbox.ctl("stop", "web").expect(0)


# -- two that may be it


def test_two_matches_where_one_may_be_are_listed_and_left_alone(sandbox: Sandbox, word: str) -> None:
    watched(sandbox, "web", cmdline=word)
    both = [by_hand(sandbox, word, "recorder", "-", number) for number in (1, 2)]
    for verb in ("stop", "kill"):
        refused = sandbox.ctl(verb, "web").expect(152)
        first, *listed = refused.stderr.splitlines()
        assert refused.stdout == ""
        assert first == (
            "ctl: web: 2 processes match and at most 1 may: none was touched"
            f" ({sandbox.services / 'web.toml'}, match.max); to fix: name the right one with --pid"
        )
        assert len(listed) == 2
        for process, line in zip(both, sorted(listed), strict=True):
            user = os.stat(f"/proc/{process.pid}").st_uid
            name = "root" if user == 0 else r"\S+"
            argv = " ".join(proc.argv(process.pid))
            since = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d"
            assert re.fullmatch(rf"  pid {process.pid}, {name}, since {since}, state S: {re.escape(argv)}", line)
    assert sandbox.ctl("status", "web").expect(4).stdout.startswith("web: unknown")
    for process in both:
        assert_untouched(process)

    chosen = sandbox.ctl("kill", "web", "--pid", both[0].pid, "--json").expect(0)
    assert [sent["pid"] for sent in chosen.one["signals"]] == [both[0].pid]
    assert ended(both[0])
    assert_untouched(both[1])


def test_a_service_of_two_matches_is_not_started_a_third_time(sandbox: Sandbox, word: str) -> None:
    sandbox.service("web", "polite", 0, word, match={"cmdline": word})
    both = [by_hand(sandbox, word, "recorder", "-", number) for number in (1, 2)]
    refused = sandbox.ctl("start", "web", "--json").expect(152)
    assert refused.one["reason"] == "ambiguous"
    assert not sandbox.pid_file("web").exists()
    for process in both:
        assert_untouched(process)


def test_two_matches_where_two_may_be_are_both_stopped(sandbox: Sandbox, word: str) -> None:
    watched(sandbox, "web", cmdline=word, max=2)
    both = [by_hand(sandbox, word) for _ in range(2)]
    stopped = sandbox.ctl("stop", "web", "--json").expect(0).one
    assert sorted((sent["pid"], sent["signal"]) for sent in stopped["signals"]) == sorted(
        (process.pid, "TERM") for process in both
    )
    assert all(map(ended, both))


def test_three_matches_where_two_may_be_are_refused(sandbox: Sandbox, word: str) -> None:
    watched(sandbox, "web", cmdline=word, max=2)
    three = [start_bystander(sandbox.reaper, sandbox.programs("recorder", "-", word)) for _ in range(3)]
    refused = sandbox.ctl("stop", "web").expect(152)
    assert "3 processes match and at most 2 may" in refused.stderr
    assert len(refused.stderr.splitlines()) == 4
    for process in three:
        assert_untouched(process)


PARENT_AND_CHILD = {
    # The shell holds the word in its own argv, as $0, and each child in its own.
    "parent and child": ['"$@" & wait'],
    # The shell in between knows its program by the environment alone.
    "another between": ["sh -c 'eval \"$PROGRAM & wait\"' & wait"],
}


@pytest.mark.parametrize("scripts", PARENT_AND_CHILD.values(), ids=PARENT_AND_CHILD.keys())
def test_of_matching_parent_and_child_the_parent_is_the_main_process(
    sandbox: Sandbox, word: str, scripts: Sequence[str]
) -> None:
    (script,) = scripts
    watched(sandbox, "web", cmdline=word)
    polite = [*sandbox.programs("polite"), "0", word]
    parent = sandbox.reaper.start(
        ["sh", "-c", script, word, *(polite if "$@" in script else [])], env={"PROGRAM": " ".join(polite)}
    )
    assert parent.out
    child = int(parent.out.seen[-1].partition("pid: ")[2].rstrip(")"))
    pidfd = sandbox.reaper.adopt(child)
    assert child != parent.pid
    assert (proc.parent(child) == parent.pid) == ("$@" in script)
    assert sandbox.ctl("status", "web", "--json").expect(0).one["pid"] == parent.pid
    assert sandbox.ctl("stop", "web", "--json").expect(0).one["pid"] == parent.pid
    wait_gone(pidfd)
    assert ended(parent)


# -- by its mark alone: a service without rules whose record is lost


def lose_record(sandbox: Sandbox, target: str) -> None:
    sandbox.record(target).unlink()
    sandbox.pid_file(target).unlink()


def test_a_lost_record_is_written_anew_by_start(sandbox: Sandbox, word: str) -> None:
    sandbox.service(word, "polite")
    pid = sandbox.ctl("start", word, "--json").expect(0).one["pid"]
    lose_record(sandbox, word)
    assert sandbox.ctl("status", word, "--json").expect(0).one["pid"] == pid
    assert sandbox.ctl("start", word).expect(0).stdout.startswith(f"{word}: already running (adopted), pid {pid}")
    assert sandbox.pid(word) == pid
    assert sandbox.ctl("start", word).expect(0).stdout == f"{word}: already running, pid {pid}\n"
    assert sandbox.ctl("stop", word, "--json").expect(0).one["reason"] == "stopped"
    assert not proc.services(word)


def test_a_service_with_a_lost_record_is_stopped_with_its_children(sandbox: Sandbox, word: str) -> None:
    sandbox.service(word, "tree", "--ignore-term", 2, 1, stop={"schedule": "TERM/0.2/KILL/5"})
    pid = sandbox.ctl("start", word, "--json").expect(0).one["pid"]
    wait_until(lambda: len(proc.services(word)) == 3, "it has its two children")
    lose_record(sandbox, word)
    assert sandbox.ctl("stop", word, "--json").expect(0).one["pid"] == pid
    assert not proc.services(word)


def test_the_mark_of_another_target_says_nothing(sandbox: Sandbox, word: str) -> None:
    for name in (word, f"{word}.2"):
        sandbox.service(name, "polite")
    pid = sandbox.ctl("start", f"{word}.2", "--json").expect(0).one["pid"]
    assert sandbox.ctl("kill", word).expect(0).stdout == f"{word}: already stopped\n"
    assert sandbox.ctl("status", word).rc == 3
    assert proc.alive(pid)


def test_the_same_target_of_another_run_directory_is_left_alone(
    sandbox: Sandbox, new_sandbox: Callable[[], AbstractContextManager[Sandbox]], word: str
) -> None:
    """Two configurations on one host, staging and production, each with a service of this name."""
    with new_sandbox() as production:
        production.service(word, "recorder", "-")
        sandbox.service(word, "polite")
        pid = production.ctl("start", word, "--json").expect(0).one["pid"]
        for verb in ("stop", "kill"):
            assert sandbox.ctl(verb, word).expect(0).stdout == f"{word}: already stopped\n"
        assert sandbox.ctl("status", word).rc == 3
        started = sandbox.ctl("start", word, "--json").expect(0).one
        assert started["reason"] == "started"
        sandbox.ctl("kill", word).expect(0)
        assert production.ctl("status", word, "--json").expect(0).one["pid"] == pid
        assert "got" not in production.log(word).read_text(encoding="utf-8")


def test_the_mark_in_another_users_process_is_not_believed(sandbox: Sandbox, word: str) -> None:
    """Anybody can put CTL_TARGET=web into an environment. Only the service's own user is heard."""
    requires_root()
    sandbox.service(word, "polite")
    recorder = sandbox.programs("recorder", "-")
    foreign = sandbox.reaper.start(recorder, env={"CTL_TARGET": word}, user=NOBODY_UID)
    for verb in ("stop", "kill"):
        assert sandbox.ctl(verb, word).expect(0).stdout == f"{word}: already stopped\n"
    assert sandbox.ctl("status", word).rc == 3
    started = sandbox.ctl("start", word, "--json").expect(0).one
    assert started["reason"] == "started"
    assert started["pid"] != foreign.pid
    sandbox.ctl("kill", word).expect(0)
    assert_untouched(foreign)


def test_a_survivor_of_an_earlier_run_is_not_taken_for_the_main_process(sandbox: Sandbox, word: str) -> None:
    """Its main process died by accident. What is left of it carries the mark, and is no service."""
    file = sandbox.tmp / "escapee"
    sandbox.service(word, "escapee", file)
    pid = sandbox.ctl("start", word, "--json").expect(0).one["pid"]
    escapee = int(wait_file(file))
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not proc.alive(pid), "its main process has ended")

    assert sandbox.ctl("status", word, "--json").expect(1).one["state"] == "ended"
    file.unlink()
    again = sandbox.ctl("start", word, "--json").expect(0).one
    assert again["reason"] == "started"
    assert again["pid"] not in {pid, escapee}
    assert proc.alive(escapee)
    (fault,) = again["errors"]
    assert fault["what"] == "1 process of an earlier run still there"
    assert fault["fix"] == f"ctl stop {word}, which ends them too"
    assert fault["details"][0].startswith(f"pid {escapee}, ")
    wait_file(file)
    sandbox.ctl("stop", word, "--schedule", "TERM/0.2/KILL/5").expect(0)
    assert not proc.services(word)


def test_rules_that_fit_two_services_do_not_mix_them_up(sandbox: Sandbox, word: str) -> None:
    for name in ("one", "two"):
        sandbox.service(name, "recorder", "-", word, match={"cmdline": word})
    first = sandbox.ctl("start", "one", "--json").expect(0).one
    second = sandbox.ctl("start", "two", "--json").expect(0).one
    assert (second["reason"], second["pid"] != first["pid"]) == ("started", True)
    assert sandbox.ctl("kill", "two", "--json").expect(0).one["pid"] == second["pid"]
    sandbox.ctl("kill", "two").expect(0)
    assert proc.alive(first["pid"])
    assert sandbox.ctl("status", "one", "--json").expect(0).one["pid"] == first["pid"]


@pytest.mark.parametrize("verb", ["stop", "kill"])
def test_what_another_service_has_recorded_is_taken_neither_as_one_of_several_nor_by_its_pid(
    sandbox: Sandbox, word: str, verb: str
) -> None:
    for name in ("one", "two"):
        sandbox.service(name, "recorder", "-", word, match={"cmdline": word, "max": 2})
        sandbox.ctl("start", name).expect(0)
    theirs, ours = sandbox.pid("one"), sandbox.pid("two")
    refused = sandbox.ctl(verb, "two", "--pid", theirs, "--json").expect(152).one
    assert (refused["reason"], refused["changed"]) == ("identity_mismatch", False)
    assert {sent["pid"] for sent in sandbox.ctl(verb, "two", "--json").expect(0).one["signals"]} == {ours}
    sandbox.pid_file("two").write_text(f"{theirs}\n", encoding="ascii")
    assert sandbox.ctl(verb, "two", "--json").expect(0).one["claims"][0]["verdict"] == "stale"
    assert proc.alive(theirs)
