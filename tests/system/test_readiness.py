"""When a start is over: each kind of readiness, what keeps it from coming, and that nothing of a probe is left behind.

The services are held by fifos and signals, so each test sees ctl waiting before it lets the service become ready.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support import proc
from support.programs import public_python
from support.reaper import MARK, Process
from support.requires import requires, requires_namespaces, requires_root
from support.sandbox import NOBODY_UID, PLAIN_UID, Sandbox
from support.waiting import wait_file, wait_gone, wait_line

PYTHON = [public_python(), "-S", "-E", "-c"]
NOTIFY = (
    "import os, socket; s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); s.connect(os.environ['NOTIFY_SOCKET']); "
)


@pytest.fixture
def occupied() -> Iterator[int]:
    """One on which something else accepts connections."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as server:
        yield server.getsockname()[1]


def starting(sandbox: Sandbox, *args: object) -> Process:
    """`ctl start web`, under way."""
    return sandbox.ctl_popen("start", "web", "--json", *args)


def state(sandbox: Sandbox) -> str:
    found: str = sandbox.ctl("status", "web", "--json").one["state"]
    return found


def left(sandbox: Sandbox) -> list[int]:
    """Every process of this test that still runs: services, probes, and what they have forked."""
    return proc.with_environment(MARK, sandbox.reaper.mark)


def assert_nothing_left(sandbox: Sandbox) -> None:
    assert left(sandbox) == []
    assert not sandbox.has_run("web")
    assert not sandbox.pid_file("web").exists()


def assert_ready(sandbox: Sandbox, process: Process) -> int:
    """The start has succeeded, and only the service is left of it. Its pid."""
    result = sandbox.collect(process).expect(0).one
    assert (result["reason"], result["after"], result["errors"]) == ("started", "ready", [])
    assert state(sandbox) == "ready"
    pid: int = result["pid"]
    assert pid == sandbox.pid("web")
    return pid


# -------------------------------------------------------------------------------------------------------- the six kinds


def test_tcp_waits_until_somebody_listens(sandbox: Sandbox, port: int) -> None:
    gate = sandbox.fifo("gate")
    sandbox.service("web", "listener", "--port", port, "--gate", gate, ready={"tcp": f"127.0.0.1:{port}"})
    start = starting(sandbox)
    wait_line(sandbox.log("web"), "ready (pid:")
    assert state(sandbox) == "starting"
    assert start.alive()
    gate.write_text("go")
    assert_ready(sandbox, start)


def test_http_waits_for_a_2xx(sandbox: Sandbox, port: int) -> None:
    sandbox.service(
        "web", "listener", "--port", port, "--bad", ready={"http": f"http://127.0.0.1:{port}/healthz?full=1"}
    )
    start = starting(sandbox)
    wait_line(sandbox.log("web"), "listening on")
    pid = sandbox.pid("web")
    assert state(sandbox) == "starting"
    assert start.alive()
    signal.pidfd_send_signal(sandbox.reaper.adopt(pid), signal.SIGUSR1)
    assert assert_ready(sandbox, start) == pid


def test_http_that_stays_at_503_is_not_ready(sandbox: Sandbox, port: int) -> None:
    url = f"http://127.0.0.1:{port}/"
    sandbox.service("web", "listener", "--port", port, "--bad", ready={"http": url, "timeout": 1})
    result = sandbox.ctl("start", "web").expect(151)
    assert f"http {url}: answered 503" in result.stderr
    assert_nothing_left(sandbox)


def test_http_that_never_answers_ends_with_the_timeout(sandbox: Sandbox, occupied: int) -> None:
    sandbox.service("web", "never_ready", ready={"http": f"http://127.0.0.1:{occupied}/", "timeout": 1.5})
    result = sandbox.ctl("start", "web").expect(151)
    assert result.seconds < 15
    assert_nothing_left(sandbox)


def test_command_is_asked_until_it_says_yes(sandbox: Sandbox) -> None:
    asked, flag = sandbox.tmp / "asked", sandbox.tmp / "flag"
    check = f"echo asked >> {asked}; test -e {flag}"
    sandbox.service("web", "polite", ready={"command": ["/bin/sh", "-c", check]})
    start = starting(sandbox)
    wait_line(asked, "asked")
    sandbox.pid("web")
    assert state(sandbox) == "starting"
    assert start.alive()
    flag.touch()
    assert_ready(sandbox, start)


def test_log_waits_for_a_line(sandbox: Sandbox, port: int) -> None:
    gate = sandbox.fifo("gate")
    sandbox.service("web", "listener", "--gate", gate, ready={"log": r"^listening on \d+$"})
    start = starting(sandbox)
    wait_line(sandbox.log("web"), "ready (pid:")
    assert start.alive()
    gate.write_text("go")
    assert_ready(sandbox, start)


def test_notify_waits_for_its_message(sandbox: Sandbox) -> None:
    trigger = sandbox.fifo("trigger")
    sandbox.service("web", "notifier", "--trigger", trigger, start={"type": "notify"})
    start = starting(sandbox)
    wait_line(sandbox.log("web"), "ready (pid:")
    assert state(sandbox) == "starting"
    assert start.alive()
    trigger.write_text("go")
    assert_ready(sandbox, start)


def test_settle_is_staying_alive(sandbox: Sandbox) -> None:
    sandbox.service("web", "polite", ready={"settle": 0.3})
    result = sandbox.ctl("start", "web", "--json").expect(0)
    assert result.one["duration_s"] >= 0.3
    assert state(sandbox) == "ready"


def test_settle_sees_an_early_death(sandbox: Sandbox) -> None:
    gate = sandbox.fifo("gate")
    script = f"cat {gate}; echo gave up; exit 9"
    sandbox.define("web", {"start": {"command": ["/bin/sh", "-c", script]}, "ready": {"settle": 3600}})
    start = starting(sandbox)
    gate.write_text("go")
    result = sandbox.collect(start).expect(151)
    assert "exited with status 9 while starting" in result.stderr
    assert_nothing_left(sandbox)


# ---------------------------------------------------------------------------------------------- command, behaving badly

NEVER: dict[str, str] = {
    "hangs": "echo $$ > {asked}; exec sleep 600",
    "ignores TERM": "trap '' TERM INT HUP; echo $$ > {asked}; while :; do sleep 600; done",
    "leaves children": "sleep 600 & setsid sleep 600 & echo $$ > {asked}; wait",
    "leaves orphans and says no": "(setsid sleep 600 &) ; echo $$ > {asked}; exit 1",
    "spews megabytes and hangs": "head -c 5000000 /dev/zero | tr '\\0' x; echo $$ > {asked}; exec sleep 600",
    "spews without end": "echo $$ > {asked}; exec yes",
    "closes its output and hangs": "echo $$ > {asked}; exec >&- 2>&-; exec sleep 600",
}


def bad_probe(sandbox: Sandbox, script: str, **ready: Any) -> Path:
    asked = sandbox.tmp / "asked"
    command = ["/bin/bash", "-c", script.replace("{asked}", str(asked))]
    sandbox.service("web", "never_ready", ready={"command": command, **ready})
    return asked


@pytest.mark.parametrize("script", NEVER.values(), ids=NEVER.keys())
def test_nothing_is_left_of_a_command_that_never_says_yes(sandbox: Sandbox, script: str) -> None:
    asked = bad_probe(sandbox, script, timeout=0.8)
    result = sandbox.ctl("start", "web").expect(151)
    assert asked.exists()
    assert "Traceback" not in result.stderr
    assert result.stderr.startswith("ctl: web: ")
    assert "waiting for a database" in result.stderr
    assert result.seconds < 15
    assert_nothing_left(sandbox)


@pytest.mark.parametrize("script", NEVER.values(), ids=NEVER.keys())
def test_nothing_is_left_of_a_command_when_its_service_dies(sandbox: Sandbox, script: str) -> None:
    asked = bad_probe(sandbox, script, timeout=60)
    start = starting(sandbox)
    service = sandbox.adopt("web")
    wait_file(asked)
    signal.pidfd_send_signal(service, signal.SIGKILL)
    result = sandbox.collect(start).expect(151)
    assert "was killed by KILL while starting" in result.stderr
    assert_nothing_left(sandbox)


def test_nothing_is_left_of_a_command_when_ctl_is_interrupted(sandbox: Sandbox) -> None:
    asked = bad_probe(sandbox, NEVER["leaves children"], timeout=60)
    start = starting(sandbox)
    service = sandbox.adopt("web")
    wait_file(asked)
    start.signal(signal.SIGINT)
    sandbox.collect(start).expect(130)
    wait_gone(service)
    assert_nothing_left(sandbox)


YES: dict[str, str] = {
    "spews megabytes": "head -c 5000000 /dev/zero | tr '\\0' x; exit 0",
    "leaves children": "sleep 600 & setsid sleep 600 & exit 0",
    "leaves an orphan without its output": "setsid sleep 600 >/dev/null 2>&1 & exit 0",
    "prints no UTF-8": "printf '\\377\\376\\n'; exit 0",
}


@pytest.mark.parametrize("script", YES.values(), ids=YES.keys())
def test_only_the_service_is_left_of_a_start_whose_command_says_yes(sandbox: Sandbox, script: str) -> None:
    flag = sandbox.tmp / "flag"
    sandbox.service("web", "polite", ready={"command": ["/bin/sh", "-c", f"test -e {flag} || exit 1; {script}"]})
    start = starting(sandbox)
    pid = sandbox.pid("web")
    flag.touch()
    result = sandbox.collect(start).expect(0)
    assert result.stderr == ""
    assert left(sandbox) == [pid]


def test_what_a_command_says_last_is_shown(sandbox: Sandbox) -> None:
    bad_probe(sandbox, "echo checking; echo replica is 40 s behind >&2; exit 3", timeout=0.7)
    result = sandbox.ctl("start", "web").expect(151)
    assert "exit status 3: replica is 40 s behind" in result.stderr.splitlines()[0]


def test_what_a_command_has_said_is_shown_though_its_last_question_was_cut_short(sandbox: Sandbox) -> None:
    bad_probe(sandbox, "mkdir {asked} || exec sleep 600; echo replica is 40 s behind; exit 3", timeout=0.7)
    result = sandbox.ctl("start", "web").expect(151)
    told = "bash: no answer in 0[.][0-9]+ s: .*; before that: command /bin/bash: exit status 3: replica is 40 s behind"
    assert re.search(told, result.stderr.splitlines()[0]), result


def test_a_command_that_is_not_installed_is_named(sandbox: Sandbox) -> None:
    sandbox.service("web", "polite", ready={"command": ["/opt/none/check"], "timeout": 0.5})
    result = sandbox.ctl("start", "web").expect(151)
    assert re.search("/opt/none/check: (not installed|cannot be executed)", result.stderr)
    assert_nothing_left(sandbox)


def test_a_fifo_is_no_program_and_nobody_waits_for_its_other_end(sandbox: Sandbox) -> None:
    path = sandbox.tmp / "fifo"
    os.mkfifo(path)
    path.chmod(0o755)
    sandbox.service("web", "polite", start={"command": [str(path)]})
    result = sandbox.ctl("start", "web", timeout=30).expect(5)
    assert result.stderr.startswith(f"ctl: web: {path} cannot be executed: Permission denied (")
    assert_nothing_left(sandbox)


def test_a_command_runs_as_the_service_does(sandbox: Sandbox) -> None:
    requires_root()
    seen = sandbox.tmp / "seen"
    check = f'printf \'%s %s %s %s\\n\' $(id -u) $(id -g) "$PWD" "$COLOUR" > {seen}; exit 0'
    sandbox.service(
        "web",
        "polite",
        start={"user": str(PLAIN_UID), "directory": str(sandbox.tmp), "environment": {"COLOUR": "blue"}},
        ready={"command": ["/bin/sh", "-c", check], "timeout": 5},
    )
    sandbox.ctl("start", "web").expect(0)
    assert seen.read_text() == f"{PLAIN_UID} {PLAIN_UID} {sandbox.tmp} blue\n"


# ------------------------------------------------------------------------------------------------------------------ log


@pytest.mark.parametrize("keep", [0, 3], ids=["appended", "rotated"])
def test_a_line_of_an_earlier_start_does_not_count(sandbox: Sandbox, keep: int) -> None:
    sandbox.log("web").write_text("listening on 80\n")
    sandbox.service("web", "never_ready", start={"log_keep": keep}, ready={"log": "listening", "timeout": 0.5})
    result = sandbox.ctl("start", "web").expect(151)
    assert "no line matches 'listening'" in result.stderr
    assert "listening on 80" not in "\n".join(result.stderr.splitlines()[1:]), "the tail shows an earlier start"
    assert_nothing_left(sandbox)


@pytest.mark.parametrize("flood", ["before", "after"])
def test_a_line_is_found_in_a_flood(sandbox: Sandbox, flood: str) -> None:
    noise, line = "seq 1 700000", "echo listening on 80"
    script = f"{noise}; {line}; exec sleep 600" if flood == "before" else f"{line}; {noise}; exec sleep 600"
    sandbox.define(
        "web",
        {
            "start": {"command": ["/bin/sh", "-c", script], "log": str(sandbox.log("web"))},
            "ready": {"log": "^listening on", "timeout": 10},
        },
    )
    sandbox.ctl("start", "web").expect(0)


# --------------------------------------------------------------------------------------------------------------- notify


def notifying(sandbox: Sandbox, script: str, timeout: float = 10, schedule: str = "TERM/5/KILL/5") -> None:
    """A service in Python: `say(text)` sends a message to $NOTIFY_SOCKET."""
    body = f"{NOTIFY}say = lambda text: s.send(text.encode())\n{script}\nimport signal\nsignal.pause()"
    start = {"command": [*PYTHON, body], "type": "notify", "log": str(sandbox.log("web"))}
    sandbox.define("web", {"start": start, "ready": {"timeout": timeout}, "stop": {"schedule": schedule}})


def test_mainpid_makes_a_child_the_main_process(sandbox: Sandbox) -> None:
    sandbox.service("web", "notifier", "--mainpid", start={"type": "notify"})
    pid = assert_ready(sandbox, starting(sandbox))
    assert wait_line(sandbox.log("web"), "ready (pid:") == f"ready (pid: {pid})"
    first = proc.parent(pid)
    assert proc.services("web") == sorted([first, pid])
    sandbox.ctl("stop", "web").expect(0)
    assert_nothing_left(sandbox)


def test_what_announced_the_main_process_is_stopped_with_it(sandbox: Sandbox) -> None:
    """The parent is older than the main process it named, and would live on."""
    script = """
import signal
child = os.fork()
if child == 0:
    signal.pause()
signal.signal(signal.SIGTERM, signal.SIG_IGN)
say(f"READY=1\\nMAINPID={child}")
os.waitpid(child, 0)"""
    notifying(sandbox, script, schedule="TERM/0.5/KILL/5")
    pid = assert_ready(sandbox, starting(sandbox))
    assert len(left(sandbox)) == 2
    assert sandbox.ctl("stop", "web", "--json").expect(0).one["pid"] == pid
    assert_nothing_left(sandbox)


def test_mainpid_of_a_process_of_nobody_knows_whom_is_not_followed(sandbox: Sandbox) -> None:
    stranger = sandbox.reaper.start(["/bin/sleep", "600"], ready=None)
    notifying(sandbox, f"say('READY=1\\nMAINPID={stranger.pid}')")
    pid = assert_ready(sandbox, starting(sandbox))
    assert pid != stranger.pid
    sandbox.ctl("kill", "web").expect(0)
    assert stranger.alive()


@pytest.mark.parametrize(
    "message",
    ["READY=0", "READY=yes", "XREADY=1", "STATUS=READY=1", "MAINPID=-1", "MAINPID=99999999999999999999", "", "\0\n=\n"],
)
def test_other_messages_are_not_ready(sandbox: Sandbox, message: str) -> None:
    notifying(sandbox, f"say({message!r})", timeout=0.6)
    result = sandbox.ctl("start", "web").expect(151)
    assert "sent no READY=1" in result.stderr
    assert_nothing_left(sandbox)


def test_a_message_of_another_user_is_ignored(sandbox: Sandbox) -> None:
    requires_root()
    sandbox.service("web", "never_ready", start={"type": "notify", "user": str(PLAIN_UID)}, ready={"timeout": 2})
    start = starting(sandbox)
    wait_line(sandbox.log("web"), "ready (pid:")
    address = proc.environment(sandbox.pid("web"))["NOTIFY_SOCKET"]
    script = f"{NOTIFY}s.send(b'READY=1')"
    stranger = sandbox.reaper.start([*PYTHON, script], user=NOBODY_UID, env={"NOTIFY_SOCKET": address}, ready=None)
    stranger.wait()
    result = sandbox.collect(start).expect(151)
    assert "sent no READY=1" in result.stderr
    assert_nothing_left(sandbox)


def test_a_service_of_another_user_can_notify(sandbox: Sandbox) -> None:
    requires_root()
    sandbox.service("web", "notifier", start={"type": "notify", "user": str(PLAIN_UID)})
    assert_ready(sandbox, starting(sandbox))


def test_a_service_that_hangs_before_its_message_is_not_ready(sandbox: Sandbox) -> None:
    sandbox.service(
        "web", "notifier", "--trigger", sandbox.fifo("never"), start={"type": "notify"}, ready={"timeout": 0.5}
    )
    result = sandbox.ctl("start", "web").expect(151)
    assert "sent no READY=1" in result.stderr
    assert_nothing_left(sandbox)


# ------------------------------------------------------------------------------------------------ the wrong one answers


def test_somebody_elses_answer_is_said_when_the_service_stays_alive(sandbox: Sandbox, occupied: int) -> None:
    sandbox.service("web", "never_ready", ready={"tcp": f"127.0.0.1:{occupied}", "timeout": 5, "listener": "any"})
    result = sandbox.ctl("start", "web")
    assert "ctl: web: its ready probe answered before it was started: something else listens there" in result.stderr
    assert f"{sandbox.services}/web.toml, ready" in result.stderr


def test_somebody_elses_answer_does_not_hide_that_the_service_died(sandbox: Sandbox, occupied: int) -> None:
    sandbox.service(
        "web", "listener", "--port", occupied, ready={"tcp": f"127.0.0.1:{occupied}", "settle": 3, "timeout": 10}
    )
    result = sandbox.ctl("start", "web").expect(151)
    assert "Address already in use" in result.stderr
    assert_nothing_left(sandbox)


# In a network of its own each connection is given the port that it goes to as its own end.
ONE_PORT = """
set -e
ip link set lo up
echo 40000 40001 >/proc/sys/net/ipv4/ip_local_port_range
echo 40001 >/proc/sys/net/ipv4/ip_local_reserved_ports
exec "$@"
"""


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_connection_of_the_probe_with_itself_is_no_answer(sandbox: Sandbox, host: str) -> None:
    requires("ip")
    requires_namespaces()
    prefix = ["unshare", "--net", "sh", "-c", ONE_PORT, "sh"]
    with_itself = "import socket; assert socket.create_connection(('127.0.0.1', 40000)).getsockname()[1] == 40000"
    subprocess.run([*prefix, public_python(), "-c", with_itself], check=True)
    sandbox.service("web", "never_ready")
    sandbox.ctl("start", "web").expect(0)
    sandbox.service("web", "never_ready", ready={"tcp": f"{host}:40000"})
    assert sandbox.ctl("status", "web", "--json", prefix=prefix).one["state"] == "running"


@pytest.fixture
def unanswered() -> Iterator[socket.socket]:
    """A socket that listens, and whose queue is full: the kernel answers nobody, and who connects tries again."""
    server = socket.create_server(("127.0.0.1", 0), backlog=0)
    with server, socket.create_connection(server.getsockname()):
        yield server


def test_a_connection_that_is_not_decided_at_once_is_waited_for(sandbox: Sandbox, unanswered: socket.socket) -> None:
    ready = {"tcp": f"127.0.0.1:{unanswered.getsockname()[1]}", "listener": "any"}
    sandbox.service("web", "never_ready", ready=ready)
    start = starting(sandbox)
    wait_line(sandbox.log("web"), "ready (pid:")
    assert start.alive()
    unanswered.listen(100)
    assert_ready(sandbox, start)


def test_who_does_not_answer_is_asked_for_no_longer_than_there_is_time(
    sandbox: Sandbox, unanswered: socket.socket
) -> None:
    address = f"127.0.0.1:{unanswered.getsockname()[1]}"
    sandbox.service("web", "never_ready", ready={"tcp": address, "timeout": 2})
    result = sandbox.ctl("start", "web").expect(151)
    assert f"was not ready within 2 s (ready.timeout): tcp {address}: timed out" in result.stderr
    assert_nothing_left(sandbox)


# ------------------------------------------------------------------------------------------------------------- timeouts


def test_the_command_line_may_give_more_time_than_the_definition(sandbox: Sandbox) -> None:
    trigger = sandbox.fifo("trigger")
    sandbox.service("web", "notifier", "--trigger", trigger, start={"type": "notify"}, ready={"timeout": 0.01})
    start = starting(sandbox, "--timeout", "30")
    wait_line(sandbox.log("web"), "ready (pid:")
    trigger.write_text("go")
    assert_ready(sandbox, start)


def test_timeouts_of_several_targets_run_side_by_side(sandbox: Sandbox) -> None:
    for name in ("one", "two", "three", "four"):
        sandbox.service(name, "never_ready", ready={"log": "no such line"})
    sandbox.service("well", "polite")
    result = sandbox.ctl("start", "one", "two", "three", "four", "well", "--timeout", "2", "--json").expect(151)
    assert result.seconds < 7
    assert {name: found["reason"] for name, found in result.by_target.items()} == {
        **dict.fromkeys(("one", "two", "three", "four"), "not_ready"),
        "well": "started",
    }


# -------------------------------------------------------------------------------------------------------------- forking


def forking(sandbox: Sandbox, *args: object, **stop: object) -> None:
    sandbox.service("web", "forker", *args, start={"type": "forking"}, ready={"timeout": 3}, stop=stop)


def test_a_daemon_is_found_by_its_own_pid_file(sandbox: Sandbox) -> None:
    path = sandbox.run_dir / "own.pid"
    forking(sandbox, "--pidfile", path, pid_file=str(path))
    pid = assert_ready(sandbox, starting(sandbox))
    assert pid == int(path.read_text())
    assert left(sandbox) == [pid]
    sandbox.ctl("stop", "web").expect(0)
    assert_nothing_left(sandbox)


def test_a_daemon_without_a_pid_file_is_found(sandbox: Sandbox) -> None:
    forking(sandbox, "--no-pidfile")
    pid = assert_ready(sandbox, starting(sandbox))
    assert proc.session(pid) != pid, "the program did not fork twice"
    sandbox.ctl("stop", "web").expect(0)
    assert_nothing_left(sandbox)


def test_a_daemon_is_found_by_its_rule(sandbox: Sandbox) -> None:
    mark = f"mark-{sandbox.reaper.mark}"
    sandbox.service(
        "web", "forker", "--no-pidfile", mark, start={"type": "forking"}, match={"cmdline": mark}, ready={"timeout": 3}
    )
    pid = assert_ready(sandbox, starting(sandbox))
    assert left(sandbox) == [pid]


@pytest.mark.parametrize("content", ["gone", "garbage", "empty"])
def test_a_wrong_pid_file_misleads_nobody(sandbox: Sandbox, content: str) -> None:
    path = sandbox.run_dir / "own.pid"
    path.write_text({"gone": "4194303\n", "garbage": "hello\n", "empty": ""}[content])
    forking(sandbox, "--no-pidfile", pid_file=str(path))
    sandbox.ctl("start", "web", "--json").expect(0)
    sandbox.ctl("stop", "web").expect(0)
    assert left(sandbox) == []


def test_a_command_that_never_exits_is_no_daemon(sandbox: Sandbox) -> None:
    forking(sandbox, "--no-pidfile", "--hang")
    result = sandbox.ctl("start", "web", "--timeout", "0.7").expect(151)
    assert 'as a command of type = "forking" does' in result.stderr
    assert_nothing_left(sandbox)


def test_a_command_that_fails_is_told_with_its_status(sandbox: Sandbox) -> None:
    sandbox.service("web", "crash", 9, start={"type": "forking"})
    result = sandbox.ctl("start", "web").expect(151)
    assert result.stderr.splitlines()[0].startswith("ctl: web: exited with status 9 while starting")
    assert result.stderr.splitlines()[1] == "  fatal: cannot go on"
    assert_nothing_left(sandbox)


def test_what_a_failing_command_has_forked_is_ended(sandbox: Sandbox) -> None:
    script = "setsid sleep 600 & echo cannot bind; exit 9"
    sandbox.define("web", {"start": {"command": ["/bin/sh", "-c", script], "type": "forking"}})
    sandbox.ctl("start", "web").expect(151)
    assert_nothing_left(sandbox)


@pytest.mark.parametrize(
    "program", [["true"], ["forker", "--no-pidfile", "--die"]], ids=["nothing forked", "daemon died"]
)
def test_a_command_that_leaves_no_process_is_not_started(sandbox: Sandbox, program: list[str]) -> None:
    command = ["/bin/true"] if program == ["true"] else sandbox.programs(*program)
    sandbox.define("web", {"start": {"command": command, "type": "forking"}, "ready": {"settle": 0.2, "timeout": 3}})
    result = sandbox.ctl("start", "web").expect(151)
    assert result.seconds < 10, "it waited for what cannot come"
    assert result.stderr.startswith("ctl: web: ")
    assert_nothing_left(sandbox)


def test_a_daemon_that_ignores_term_does_not_outlive_a_failed_start(sandbox: Sandbox) -> None:
    sandbox.service(
        "web", "forker", "--no-pidfile", "--ignore-term", start={"type": "forking"},
        ready={"log": "never", "timeout": 0.7}, stop={"schedule": "TERM/0.2/KILL/5"},
    )  # fmt: skip
    sandbox.ctl("start", "web").expect(151)
    assert_nothing_left(sandbox)


# --------------------------------------------------------------------------------------------------------- what remains


def test_leftovers_of_an_earlier_run_are_ended_by_the_next_stop(sandbox: Sandbox) -> None:
    """The main process is killed from outside; its child in a session of its own lives on, into the next run."""
    sandbox.service("web", "escapee", sandbox.tmp / "escapee.pid")
    sandbox.ctl("start", "web").expect(0)
    escapee = int(wait_file(sandbox.tmp / "escapee.pid"))
    main = sandbox.adopt("web")
    signal.pidfd_send_signal(main, signal.SIGKILL)
    wait_gone(main)
    sandbox.service("web", "polite", stop={"schedule": "TERM/0.5/KILL/5"})
    result = sandbox.ctl("start", "web").expect(0)
    assert "1 process of an earlier run still there" in result.stderr
    assert f"pid {escapee}," in result.stderr
    sandbox.ctl("stop", "web").expect(0)
    assert_nothing_left(sandbox)
    sandbox.ctl("status", "web").expect(3)


def test_two_run_directories_do_not_know_each_others_services(sandbox: Sandbox) -> None:
    """The same definition under another --run-dir is another service, as in two checkouts on one host."""
    sandbox.service("web", "polite")
    first = sandbox.ctl("start", "web", "--json").expect(0).one["pid"]
    other = sandbox.root / "other"
    second = sandbox.ctl("start", "web", "--json", "--run-dir", other).expect(0).one
    assert second["reason"] == "started"
    assert second["pid"] != first
    sandbox.ctl("kill", "web", "--run-dir", other).expect(0)
    assert left(sandbox) == [first]
    assert sandbox.run_on_record("web")["identity"]["pid"] == first


def test_nothing_of_ctl_is_inherited(sandbox: Sandbox) -> None:
    """Beside stdin, stdout and stderr the service holds no descriptor: no lock, gate or socket of ctl."""
    dump = sandbox.tmp / "dump"
    sandbox.service("web", "env_dump", dump)
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as holder:
        assert holder.stdin
        sandbox.collect(sandbox.ctl_popen("start", "web", pass_fds=[holder.stdin.fileno()])).expect(0)
        holder.stdin.close()
        assert holder.wait(20) == 0, "the service keeps the pipe open"
    seen = json.loads(wait_file(dump))
    assert sorted(map(int, seen["fds"])) == [0, 1, 2]


def test_the_question_before_it_starts_has_its_own_time(sandbox: Sandbox) -> None:
    """Something that accepts connections there and says nothing takes up a second, and none of ready.timeout."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        sandbox.service("web", "idle", ready={"http": url, "timeout": 1})
        what = sandbox.ctl("start", "web", "--json").expect(151).one["errors"][0]["what"]
    assert what.startswith("was not ready within 1 s (ready.timeout): ")
    assert "no time to ask" not in what
