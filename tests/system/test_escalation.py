"""Nobody is killed untold: what a main process does not pass on, its children are told of by ctl.

The databases here are real processes behind the wrappers that people put before them. Each writes down every signal it
gets, and ends by the one it is made for: what it did not write, it was not sent.
"""

from __future__ import annotations

import os
import shlex
import shutil

import pytest

from support import proc
from support.pace import TIME_FACTOR
from support.requires import requires, requires_namespaces, requires_root
from support.sandbox import Json, Sandbox
from support.waiting import wait_file, wait_line

GRACE = 2 * TIME_FACTOR  # seconds
LONG = {"schedule": "TERM/60/KILL/5"}  # nothing waits so long: where a child is told at once, all end at once
HALF = {"schedule": f"TERM/{GRACE}/KILL/5"}
IGNORES = "trap '' HUP INT QUIT TERM\n"
DEFERS = "trap 'echo deferred; exit 0' TERM\n"  # a shell runs a trap once the command in its foreground has ended


@pytest.fixture
def name(sandbox: Sandbox) -> str:
    return f"web-{sandbox.reaper.mark}"


def database(sandbox: Sandbox, ends_by: str = "TERM", *, pid_file: str = "database") -> list[str]:
    """The argv of a database that says each signal it gets, and ends by one of them."""
    return sandbox.programs("database", sandbox.tmp / pid_file, ends_by)


def run(
    sandbox: Sandbox, name: str, command: list[str], stop: Json, *, children: int = 1, **start: str
) -> tuple[int, list[int]]:
    """The service, started, with its databases in place: its main process, and those."""
    log = str(sandbox.log(name))
    table = {"command": command, "log": log, **start}
    sandbox.define(name, {"start": table, "ready": {"log": "^ready"}, "stop": stop})
    pid: int = sandbox.ctl("start", name, "--json").expect(0).one["pid"]
    names = ["database", *(f"database{number}" for number in range(1, children))]
    return pid, [int(wait_file(sandbox.tmp / name)) for name in names]


def wrapped(shell: str, before: str, argv: list[str], after: str = "\necho after") -> list[str]:
    return [shell, "-c", f"{before}{shlex.join(argv)}{after}"]


def sent(result: Json) -> list[tuple[int, str]]:
    return [(signalled["pid"], signalled["signal"]) for signalled in result["signals"]]


def at(result: Json, pid: int, signal: str) -> float:
    """When it was first sent that, in seconds from the schedule's beginning."""
    return float(next(one["at_s"] for one in result["signals"] if (one["pid"], one["signal"]) == (pid, signal)))


def told(sandbox: Sandbox, name: str, pid: int) -> list[str]:
    """The signals that this database says it got."""
    lines = sandbox.log(name).read_text(encoding="utf-8").splitlines()
    return [line.split()[-1] for line in lines if line.startswith(f"{pid} got")]


def stopped(sandbox: Sandbox, name: str, *options: str) -> Json:
    result = sandbox.ctl("stop", name, "--json", *options).expect(0).one
    assert not proc.services(name)
    killed = {pid for pid, signal in sent(result) if signal == "KILL"}
    told_before = {pid for pid, signal in sent(result) if signal != "KILL"}
    assert killed <= told_before
    assert result["escalated"] == bool(killed)
    return result


# -- a main process that ignores the signal


@pytest.mark.parametrize("mode", ["mixed", "tree"])
@pytest.mark.parametrize("shell", ["bash", "dash"])
def test_behind_a_wrapper_that_ignores_term_the_database_is_told_at_once(
    sandbox: Sandbox, name: str, shell: str, mode: str
) -> None:
    requires(shell)
    pid, (child,) = run(sandbox, name, wrapped(shell, IGNORES, database(sandbox)), {**LONG, "kill_mode": mode})
    result = stopped(sandbox, name)
    assert sent(result) == [(pid, "TERM"), (child, "TERM")]
    assert told(sandbox, name, child) == ["TERM"]
    assert (result["reason"], result["escalated"]) == ("stopped", False)


@pytest.mark.parametrize("signal", ["HUP", "INT", "QUIT"])
def test_it_is_told_what_the_schedule_says(sandbox: Sandbox, name: str, signal: str) -> None:
    stop = {"schedule": f"{signal}/60/KILL/5"}
    pid, (child,) = run(sandbox, name, wrapped("sh", IGNORES, database(sandbox, signal)), stop)
    assert sent(stopped(sandbox, name)) == [(pid, signal), (child, signal)]
    assert told(sandbox, name, child) == [signal]


def test_only_the_step_that_is_ignored_is_passed_on_at_once(sandbox: Sandbox, name: str) -> None:
    """INT is ignored, TERM is deferred: the second step reaches the child in its middle."""
    before = "trap '' INT\n" + DEFERS
    stop = {"schedule": f"INT/0.2/TERM/{GRACE}/KILL/5"}
    pid, (child,) = run(sandbox, name, wrapped("sh", before, database(sandbox)), stop)
    result = stopped(sandbox, name)
    assert sent(result) == [(pid, "INT"), (child, "INT"), (pid, "TERM"), (child, "TERM")]
    assert at(result, child, "INT") < 0.2
    assert at(result, child, "TERM") >= 0.2 + GRACE / 2


def test_what_blocks_the_signal_does_not_ignore_it(sandbox: Sandbox, name: str) -> None:
    """It takes it with sigwait, and ends its own child: nobody else tells that."""
    pid, (child,) = run(sandbox, name, sandbox.programs("sigwaiter", *database(sandbox, "INT")), LONG)
    assert sent(stopped(sandbox, name)) == [(pid, "TERM")]
    assert told(sandbox, name, child) == ["INT"]


def test_of_two_main_processes_only_the_children_of_that_which_ignores_it_are_told(sandbox: Sandbox, name: str) -> None:
    rules = {"cmdline": f"{name}-by-hand", "max": 2}
    sandbox.define(name, {"match": rules, "stop": {"schedule": "TERM/60/KILL/5"}})
    mains = []
    for number, before in enumerate(["trap '' TERM\n", "trap 'kill -INT $!; wait; exit' TERM\n"]):
        argv = database(sandbox, ["TERM", "INT"][number], pid_file=f"database{number}")
        after = "\necho after" if number == 0 else "& \nwait; wait"
        main = sandbox.reaper.start(["sh", "-c", f"{before}{shlex.join(argv)}{after}", f"{name}-by-hand"])
        mains.append((main, int(wait_file(sandbox.tmp / f"database{number}"))))
    (deaf, deafs_child), (other, others_child) = mains
    result = sandbox.ctl("stop", name, "--json").expect(0).one
    assert sorted(sent(result)) == sorted([(deaf.pid, "TERM"), (deafs_child, "TERM"), (other.pid, "TERM")])
    assert not any(proc.alive(pid) for pid in (deaf.pid, deafs_child, other.pid, others_child))


# -- a main process that does not pass it on


@pytest.mark.parametrize("mode", ["mixed", "tree"])
@pytest.mark.parametrize("shell", ["bash", "dash"])
def test_behind_a_shell_that_defers_its_trap_the_database_is_told_in_the_middle(
    sandbox: Sandbox, name: str, shell: str, mode: str
) -> None:
    requires(shell)
    pid, (child,) = run(sandbox, name, wrapped(shell, DEFERS, database(sandbox)), {**HALF, "kill_mode": mode})
    result = stopped(sandbox, name)
    assert sent(result) == [(pid, "TERM"), (child, "TERM")]
    assert (at(result, child, "TERM") >= GRACE / 2) == (mode == "mixed")
    assert (told(sandbox, name, child), result["reason"]) == (["TERM"], "stopped")
    wait_line(sandbox.log(name), "deferred")


@pytest.mark.parametrize("shell", ["bash", "dash"])
def test_behind_exec_there_is_nobody_else(sandbox: Sandbox, name: str, shell: str) -> None:
    requires(shell)
    pid, (child,) = run(sandbox, name, wrapped(shell, "exec ", database(sandbox), after=""), LONG)
    assert child == pid
    assert sent(stopped(sandbox, name)) == [(pid, "TERM")]


def test_each_step_is_passed_on_in_its_middle(sandbox: Sandbox, name: str) -> None:
    stop = {"schedule": f"QUIT/{GRACE}/INT/{GRACE}/KILL/5"}
    pid, (child,) = run(sandbox, name, wrapped("sh", DEFERS + "trap : QUIT INT\n", database(sandbox, "never")), stop)
    result = stopped(sandbox, name)
    assert sent(result)[:4] == [(pid, "QUIT"), (child, "QUIT"), (pid, "INT"), (child, "INT")]
    assert at(result, child, "QUIT") >= GRACE / 2
    assert at(result, child, "INT") >= GRACE * 3 / 2
    assert at(result, pid, "KILL") >= GRACE * 2
    assert {(pid, "KILL"), (child, "KILL")} == set(sent(result)[4:])
    assert result["reason"] == "escalated"


def test_without_kill_it_is_told_as_well(sandbox: Sandbox, name: str) -> None:
    pid, (child,) = run(sandbox, name, wrapped("sh", DEFERS, database(sandbox)), {"schedule": f"TERM/{GRACE}"})
    assert sent(stopped(sandbox, name)) == [(pid, "TERM"), (child, "TERM")]


def test_in_a_schedule_without_an_end_it_is_told_as_well(sandbox: Sandbox, name: str) -> None:
    stop = {"schedule": f"TERM/forever/{GRACE}"}
    pid, (child,) = run(sandbox, name, wrapped("sh", DEFERS, database(sandbox)), stop)
    result = stopped(sandbox, name)
    assert sent(result) == [(pid, "TERM"), (child, "TERM")]
    assert at(result, child, "TERM") >= GRACE / 2


@pytest.mark.parametrize("before", [IGNORES, DEFERS, ""], ids=["ignores", "defers", "ends"])
@pytest.mark.parametrize("mode", ["mixed", "tree"])
def test_without_a_wait_each_is_told_before_it_is_killed(sandbox: Sandbox, name: str, mode: str, before: str) -> None:
    stop = {"schedule": "TERM/0/KILL/5", "kill_mode": mode}
    _, (child,) = run(sandbox, name, wrapped("sh", before, database(sandbox, "never")), stop)
    result = stopped(sandbox, name)
    assert [signal for pid, signal in sent(result) if pid == child] == ["TERM", "KILL"]


def test_a_silent_step_is_part_of_the_one_before_it(sandbox: Sandbox, name: str) -> None:
    stop = {"schedule": f"TERM/0/{GRACE}/KILL/5"}
    _, (child,) = run(sandbox, name, wrapped("sh", DEFERS, database(sandbox)), stop)
    assert at(stopped(sandbox, name), child, "TERM") >= GRACE / 2


@pytest.mark.parametrize("mode", ["mixed", "tree"])
def test_who_is_born_in_the_first_half_is_told_in_the_middle(sandbox: Sandbox, name: str, mode: str) -> None:
    """The wrapper starts a second database when the first has ended, as one that restarts it would."""
    first, second = database(sandbox), database(sandbox, pid_file="database1")
    command = wrapped("sh", IGNORES, first, after=f"\n{shlex.join(second)}")
    pid, (child,) = run(sandbox, name, command, {**HALF, "kill_mode": mode})
    result = stopped(sandbox, name)
    born = int(wait_file(sandbox.tmp / "database1"))
    assert sent(result) == [(pid, "TERM"), (child, "TERM"), (born, "TERM")]
    assert at(result, born, "TERM") >= GRACE / 2


def test_what_ends_its_children_itself_is_not_interfered_with(sandbox: Sandbox, name: str) -> None:
    script = f"trap 'kill -INT $!; wait; exit 0' TERM\n{shlex.join(database(sandbox, 'INT'))} &\nwait"
    pid, (child,) = run(sandbox, name, ["sh", "-c", script], LONG)
    assert sent(stopped(sandbox, name)) == [(pid, "TERM")]
    assert told(sandbox, name, child) == ["INT"]


@pytest.mark.parametrize("before", [IGNORES, DEFERS], ids=["ignores", "defers"])
def test_in_mode_process_the_children_are_sent_nothing(sandbox: Sandbox, name: str, before: str) -> None:
    stop = {"schedule": "TERM/0.2/KILL/5", "kill_mode": "process"}
    pid, (child,) = run(sandbox, name, wrapped("sh", before, database(sandbox)), stop)
    result = sandbox.ctl("stop", name, "--json").expect(0).one
    assert sent(result) == [(pid, "TERM"), (pid, "KILL")]
    assert proc.alive(child)
    assert told(sandbox, name, child) == []


# -- real wrappers


def test_mysqld_safe(sandbox: Sandbox, name: str) -> None:
    """MariaDB's own script, with a database that is quicker to start."""
    script = shutil.which("mysqld_safe")
    if script is None:
        pytest.skip("needs mysqld_safe (Debian: mariadb-server)")
    programs = sandbox.tmp / "libexec"
    programs.mkdir()
    server = programs / "mysqld"
    server.write_text(f"#!/bin/sh\nexec {shlex.join(database(sandbox))} >>{sandbox.log(name)}\n", encoding="utf-8")
    server.chmod(0o755)
    data = sandbox.tmp / "data"
    (data / "mysql").mkdir(parents=True)
    options = ["--no-defaults", f"--ledir={programs}", "--mysqld=mysqld", f"--datadir={data}", "--user=root"]
    options += [f"--pid-file={data}/pid", f"--log-error={data}/error.err", f"--socket={data}/socket"]
    pid, (child,) = run(sandbox, name, ["env", f"PATH={os.environ['PATH']}", script, *options], LONG)
    result = stopped(sandbox, name)
    assert {(pid, "TERM"), (child, "TERM")} <= set(sent(result))
    assert (told(sandbox, name, child), result["escalated"]) == (["TERM"], False)


def test_unshare_fork(sandbox: Sandbox, name: str) -> None:
    requires_namespaces()
    command = ["unshare", "--pid", "--fork", "--mount-proc", *database(sandbox)]
    log = str(sandbox.log(name))
    sandbox.define(name, {"start": {"command": command, "log": log}, "ready": {"log": "^ready"}, "stop": HALF})
    pid: int = sandbox.ctl("start", name, "--json").expect(0).one["pid"]
    (child,) = proc.children(pid)
    result = stopped(sandbox, name)
    assert {(pid, "TERM"), (child, "TERM")} <= set(sent(result))
    assert (told(sandbox, name, 1), result["escalated"]) == (["TERM"], False)


@pytest.mark.parametrize("init", ["tini", "dumb-init"])
def test_an_init_passes_it_on_itself(sandbox: Sandbox, name: str, init: str) -> None:
    """Both block signals and take them one by one: neither ignores them."""
    requires(init)
    options = ["-s"] if init == "tini" else []
    pid, (child,) = run(sandbox, name, [init, *options, "--", *database(sandbox)], LONG)
    assert sent(stopped(sandbox, name)) == [(pid, "TERM")]
    assert told(sandbox, name, child) == ["TERM"]


def test_su(sandbox: Sandbox, name: str) -> None:
    """It passes TERM on, and kills the child two seconds later."""
    requires_root()
    requires("su")
    pid, (child,) = run(sandbox, name, ["su", "root", "-s", "/bin/sh", "-c", shlex.join(database(sandbox))], LONG)
    result = stopped(sandbox, name)
    assert sent(result)[0] == (pid, "TERM")
    assert told(sandbox, name, child) == ["TERM"]
    assert not result["escalated"]


def test_a_storm_behind_a_wrapper_moves_no_step(sandbox: Sandbox, name: str) -> None:
    """What comes and goes too fast to be found delays neither the database's TERM nor its end.

    It is another user's than other tests' services: of these it could not be told whether all of their own are gone.
    """
    requires_root()
    storm = shlex.join(sandbox.programs("storm", 2, 2000, 20000))
    command = ["sh", "-c", f"{IGNORES}{storm} >/dev/null &\n{shlex.join(database(sandbox))}\nwait"]
    pid, (child,) = run(sandbox, name, command, HALF, user="daemon")
    result = sandbox.ctl("stop", name, "--json").one
    assert sent(result)[0] == (pid, "TERM")
    assert at(result, child, "TERM") < GRACE / 2
    assert told(sandbox, name, child)[0] == "TERM"


# -- what is foreseen


@pytest.mark.parametrize("before", [IGNORES, DEFERS], ids=["ignores", "defers"])
@pytest.mark.parametrize("mode", ["mixed", "tree", "process"])
def test_what_is_foreseen_is_what_is_sent(sandbox: Sandbox, name: str, mode: str, before: str) -> None:
    stop = {"schedule": f"TERM/{GRACE}/KILL/5", "kill_mode": mode}
    pid, (child,) = run(sandbox, name, wrapped("sh", before, database(sandbox, "never")), stop)
    step = sandbox.ctl("stop", name, "--dry-run", "--json").expect(0).one["plan"]["steps"][0]
    explained = sandbox.ctl("explain", name, "--json").expect(0).one
    assert step in explained["plans"]["stop"]["steps"]
    result = sandbox.ctl("stop", name, "--json").expect(0).one
    at_once = [told for told, signal in sent(result) if signal == "TERM" and at(result, told, "TERM") < GRACE / 2]
    later = [told for told, signal in sent(result) if signal == "TERM" and told not in at_once]
    ignored = f" (ignored by {pid})" if mode == "mixed" and before == IGNORES else ""
    passed_on = f"; after {GRACE / 2:g} s also to {', '.join(map(str, later))}" if later else ""
    assert step == f"TERM to {', '.join(map(str, at_once))}{ignored}, then wait up to {GRACE:g} s{passed_on}"
    assert (child in at_once, child in later) == {
        "mixed": (before == IGNORES, before == DEFERS), "tree": (True, False), "process": (False, False),
    }[mode]  # fmt: skip


@pytest.mark.parametrize(("before", "says"), [(IGNORES, True), (DEFERS, False)], ids=["ignores", "defers"])
def test_doctor_says_that_the_stop_signal_is_ignored(sandbox: Sandbox, name: str, before: str, says: bool) -> None:
    pid, _ = run(sandbox, name, wrapped("sh", before, database(sandbox)), HALF)
    findings = sandbox.ctl("doctor", name, "--json").one["findings"]
    found = [finding["what"] for finding in findings if finding["id"] == "stop-signal-ignored"]
    assert found == ([f"pid {pid} ignores TERM: TERM goes to its children at once"] if says else [])
