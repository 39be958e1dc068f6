"""A kill waits for nobody. Whatever another ctl is in the midst of, it is over at once, and both tell the truth.

Each phase here would go on for a minute or more. Those of test_concurrency.py and test_drain.py are not repeated.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from support import proc
from support.bystander import assert_untouched, start_bystander
from support.freezer import frozen
from support.reaper import MARK, Process
from support.requires import requires_root, requires_strace
from support.sandbox import Json, Result, Sandbox
from support.strace import calls
from support.waiting import wait_file, wait_gone, wait_line, wait_until

LITTLE = 5.0  # seconds: far less than any phase would take, far more than a busy machine needs
LONG = {"schedule": "TERM/600/KILL/5"}
# Says where it is, then never ends.
FOREVER = 'echo $$ >"$0.new"; mv "$0.new" "$0"; exec tail -f /dev/null'
Act = Callable[[Sandbox], Process]


def begin(sandbox: Sandbox, verb: str, *options: object) -> Process:
    return sandbox.ctl_popen(verb, "web", "--json", *options)


def run(sandbox: Sandbox, program: str, *args: object, **tables: Json) -> None:
    sandbox.service("web", program, *args, **tables)
    sandbox.ctl("start", "web").expect(0)
    wait_line(sandbox.log("web"), "ready (pid:")


def kill(sandbox: Sandbox) -> Json:
    """It returns at once, and has told how long it took."""
    result = sandbox.ctl("kill", "web", "--json").expect(0).one
    assert result["duration_s"] < LITTLE
    assert (result["after"], result["ok"]) == ("stopped", True)
    return result


def end_of(sandbox: Sandbox, process: Process, rc: int, status: int = 3) -> Json:
    """What the ctl that was cut short says, which it does at once; nothing is left then."""
    result = sandbox.collect(process, 4 * LITTLE).expect(rc)
    assert "Traceback" not in result.stderr
    assert result.one["after"] == "stopped"
    assert_nothing_left(sandbox, status)
    return result.one


def assert_nothing_left(sandbox: Sandbox, status: int = 3) -> None:
    wait_until(lambda: not proc.with_environment(MARK, sandbox.reaper.mark), "nothing is left", LITTLE)
    assert sandbox.ctl("status", "web", "--json").expect(status).one["claim"] == []
    assert not sandbox.has_run("web")
    kept = {".lock", ".json"}
    assert not [path.name for path in sandbox.run_dir.iterdir() if path.suffix not in kept and path.name != ".key"]


# -- stop


def test_in_the_grace_of_the_survivors(sandbox: Sandbox) -> None:
    run(sandbox, "escapee", sandbox.tmp / "escaped", stop=LONG)
    main = sandbox.adopt("web")
    survivor = sandbox.reaper.adopt(escaped := int((sandbox.tmp / "escaped").read_text(encoding="ascii")))
    stop = begin(sandbox, "stop")
    wait_gone(main)
    killed = kill(sandbox)
    wait_gone(survivor, 0)
    assert (killed["reason"], [sent["pid"] for sent in killed["signals"]]) == ("killed", [escaped])
    stopped = end_of(sandbox, stop, 0)
    assert (stopped["reason"], stopped["escalated"], stopped["survivors"]) == ("stopped", False, [])
    assert "KILL" not in [sent["signal"] for sent in stopped["signals"]]


def test_in_the_after_hook_there_is_nobody_left_to_kill(sandbox: Sandbox) -> None:
    """The hook is no process of the service any more: it has its time, and the stop its end."""
    at, gate = sandbox.tmp / "at", sandbox.fifo("gate")
    hook = ["sh", "-c", f'echo $$ >"$0.new"; mv "$0.new" "$0"; read -r _ <"{gate}"', str(at)]
    run(sandbox, "polite", stop={"after": [{"command": hook, "timeout": 600}]})
    stop = begin(sandbox, "stop")
    hook_pid = int(wait_file(at))
    assert kill(sandbox)["reason"] == "already_stopped"
    assert proc.alive(hook_pid)
    gate.write_text("go\n", encoding="ascii")
    assert end_of(sandbox, stop, 0)["reason"] == "stopped"


# -- start


def ready(key: str) -> Act:
    """A start that waits for what never comes."""
    probe = {"tcp": "127.0.0.1:1", "log": "listening", "settle": 600}[key]

    def act(sandbox: Sandbox) -> Process:
        sandbox.service("web", "never_ready", ready={key: probe, "timeout": 600})
        return begin(sandbox, "start")

    return act


def ready_command(sandbox: Sandbox) -> Process:
    at = sandbox.tmp / "at"
    sandbox.service("web", "never_ready", ready={"command": ["sh", "-c", FOREVER, str(at)], "timeout": 600})
    start = begin(sandbox, "start")
    wait_file(at)
    return start


def notify(sandbox: Sandbox) -> Process:
    sandbox.service("web", "never_ready", start={"type": "notify"}, ready={"timeout": 600})
    return begin(sandbox, "start")


def forking_command_hangs(sandbox: Sandbox) -> Process:
    sandbox.service("web", "forker", "--no-pidfile", "--hang", start={"type": "forking"}, ready={"timeout": 600})
    return begin(sandbox, "start")


def forked_daemon_is_not_ready(sandbox: Sandbox) -> Process:
    probe = {"tcp": "127.0.0.1:1", "timeout": 600}
    sandbox.service("web", "forker", "--no-pidfile", start={"type": "forking"}, ready=probe)
    return begin(sandbox, "start")


STARTS = {
    "tcp": ready("tcp"), "settle": ready("settle"), "command": ready_command, "notify": notify,
    "forking command": forking_command_hangs, "forked daemon": forked_daemon_is_not_ready,
}  # fmt: skip


@pytest.mark.parametrize("act", STARTS.values(), ids=STARTS.keys())
def test_in_a_start(sandbox: Sandbox, act: Act) -> None:
    start = act(sandbox)
    wait_line(sandbox.log("web"), "ready (pid:")
    assert kill(sandbox)["reason"] == "killed"
    failed = end_of(sandbox, start, 151)
    assert (failed["reason"], failed["changed"]) == ("not_ready", False)


@pytest.mark.parametrize("moment", ["recorded", "let go"])
def test_at_the_gate_of_a_start(sandbox: Sandbox, moment: str) -> None:
    """The child waits behind the gate, or has just been let go: strace stops ctl as it has made that call."""
    requires_strace()
    sandbox.service("web", "polite", ready={"settle": 0.5})
    sandbox.ctl("start", "web").expect(0)  # the first start makes the key of the run directory
    sandbox.ctl("kill", "web").expect(0)
    sandbox.log("web").unlink()  # to rotate it takes another rename
    found = calls(sandbox, "start", "web")
    sandbox.ctl("kill", "web").expect(0)
    sandbox.log("web").unlink()
    opening = next(index for index, call in enumerate(found) if call.name == "write" and '"open\\n"' in call.line)
    renaming = next(call for call in reversed(found[:opening]) if call.name == "rename" and "/web.json" in call.line)
    call = renaming if moment == "recorded" else found[opening]
    inject = f"--inject={call.name}:signal=STOP:when={call.nth}"
    start = sandbox.ctl_popen("start", "web", "--json", prefix=["strace", "-o", "/dev/null", inject])
    wait_until(lambda: sandbox.has_run("web"), "it is recorded")
    (ctl,) = proc.children(start.pid)
    wait_until(lambda: proc.state(ctl) in {"T", "t"}, "it is stopped")
    pid = sandbox.pid("web")
    if moment == "let go":
        wait_until(lambda: proc.argv(pid)[0] != "/bin/sh", "it has been let go")
    assert is_gated(pid) is (moment == "recorded")
    killed = kill(sandbox)
    assert not proc.alive(pid)
    assert (killed["reason"], killed["pid"]) == ("killed", pid)
    signal.pidfd_send_signal(sandbox.reaper.adopt(ctl), signal.SIGCONT)
    # Stopped as it has written its record, ctl keeps others from writing that kill was asked for: the end was unasked.
    status = 1 if moment == "recorded" else 3
    assert end_of(sandbox, start, 151, status)["reason"] == "not_ready"


def is_gated(pid: int) -> bool:
    if proc.argv(pid)[0] != "/bin/sh":
        return False
    wait_until(lambda: proc.state(pid) == "S", "it waits")
    return True


# -- restart and pause


def test_in_the_drain_of_a_restart(sandbox: Sandbox) -> None:
    """What was asked for last is that it be down."""
    at = sandbox.tmp / "at"
    run(sandbox, "recorder", drain={"command": ["sh", "-c", FOREVER, str(at)], "timeout": 600})
    old = sandbox.pid("web")
    restart = begin(sandbox, "restart")
    wait_file(at)
    assert kill(sandbox)["pid"] == old
    result = sandbox.collect(restart, 4 * LITTLE).expect(151).one
    assert (result["reason"], result["after"], result["signals"]) == ("not_ready", "stopped", [])
    assert sandbox.running("web") == []


def test_in_the_drain_of_a_pause(sandbox: Sandbox) -> None:
    at = sandbox.tmp / "at"
    run(sandbox, "polite", drain={"command": ["sh", "-c", FOREVER, str(at)], "timeout": 600})
    pause = begin(sandbox, "pause", "--for", "1h")
    wait_file(at)
    assert kill(sandbox)["reason"] == "killed"
    assert end_of(sandbox, pause, 7)["reason"] == "not_running"


# -- many at once


def test_twenty_that_ignore_term_take_one_grace(sandbox: Sandbox) -> None:
    names = [f"web{number}" for number in range(20)]
    for name in names:
        sandbox.service(name, "ignorer", stop={"schedule": "TERM/1/KILL/5"}, ready={"log": "^ready"})
    sandbox.ctl("start", *names).expect(0)
    result = sandbox.ctl("stop", *names, "--json").expect(0)
    assert result.seconds < 10, "one after the other they would have taken 20 s"
    for name in names:
        one = result.by_target[name]
        assert (one["reason"], [sent["signal"] for sent in one["signals"]]) == ("escalated", ["TERM", "KILL"])
        assert 1 <= one["signals"][1]["at_s"] <= one["duration_s"] < 10


PROGRAMS = {
    "fine": ("polite", "TERM/5/KILL/5"),
    "slow": ("ignorer", "TERM/0.3/KILL/5"),
    "vanishes": ("recorder", "USR1/600/KILL/5"),
    "stays": ("ignorer", "TERM/0.3"),
    "frozen": ("polite", "TERM/0.3/KILL/0.3"),
}


@contextmanager
def troubled(plain: Sandbox) -> Iterator[dict[str, str]]:
    """Those above and two more. What is given is which of them cannot be stopped, each for a reason of its own."""
    word = f"orders-{plain.reaper.mark}"
    for name, (program, schedule) in PROGRAMS.items():
        plain.service(name, program, stop={"schedule": schedule}, ready={"log": "^ready"})
    started = plain.ctl("start", *PROGRAMS, "--json").expect(0).by_target
    plain.service("unreadable", "polite")
    plain.record("unreadable").write_text("{}", encoding="ascii")
    plain.record("unreadable").chmod(0)
    os.chown(plain.record("unreadable"), 0, 0)
    plain.define("anothers", {"match": {"cmdline": word, "user": "root"}})
    other = start_bystander(plain.reaper, plain.programs("recorder", "-", word), 0)
    with frozen(started["frozen"]["pid"]):
        yield {
            "stays": f"still alive after the whole schedule: pid {started['stays']['pid']} (state S)",
            "frozen": f"still alive after the whole schedule: pid {started['frozen']['pid']} (state D)",
            "unreadable": "cannot tell whether it is running: its record may not be read"
            f" ({plain.record('unreadable')}); to fix: try again as root",
            "anothers": f"not allowed to signal pid {other.pid}, which belongs to another user"
            "; to fix: try again as root",
        }
    assert_untouched(other)


@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
def test_each_of_a_troubled_batch_is_told_with_its_reason(plain_sandbox: Sandbox, as_json: bool) -> None:
    requires_root()
    with troubled(plain_sandbox) as troubles:
        names = [*PROGRAMS, "unreadable", "anothers"]
        stop = plain_sandbox.ctl_popen("stop", *names, *(["--json"] if as_json else []))
        wait_line(plain_sandbox.log("vanishes"), f"got USR1 from {stop.pid}")
        vanishing = plain_sandbox.adopt("vanishes")
        signal.pidfd_send_signal(vanishing, signal.SIGKILL)
        result = plain_sandbox.collect(stop).expect(1)
        told = dict(line.removeprefix("ctl: ").split(": ", 1) for line in result.stderr.splitlines())
        assert told.keys() == troubles.keys()
        for name, what in troubles.items():
            assert told[name].startswith(what)
        if as_json:
            assert_each(result, troubles)
        else:
            fine = [line.partition(":")[0] for line in result.stdout.splitlines()]
            assert fine == [name for name in names if name not in troubles]
        assert {name for name in names if plain_sandbox.running(name)} == {"stays", "frozen"}


def assert_each(result: Result, troubles: dict[str, str]) -> None:
    assert (result.json["ok"], result.json["changed"]) == (False, True)
    codes = {"unreadable": 4, "anothers": 4, "stays": 150, "frozen": 150}
    for name, one in result.by_target.items():
        assert one["ok"] is (name not in troubles), json.dumps(one)
        assert one["exit_code"] == codes.get(name, 0)
        assert one["after"] == ("stopped" if name not in troubles else one["after"])
    reasons = {name: one["reason"] for name, one in result.by_target.items() if one["ok"]}
    assert reasons == {"fine": "stopped", "slow": "escalated", "vanishes": "stopped"}
