"""What a local user can do to keep root's ctl busy: each of these ends in its time, tells what it could not tell, and
hears INT meanwhile."""

from __future__ import annotations

import contextlib
import os
import signal
import socket

import pytest

from support import proc
from support.programs import public_python
from support.reaper import Process
from support.requires import requires_root
from support.sandbox import NOBODY_UID, PLAIN_UID, Sandbox
from support.waiting import wait_gone, wait_line, wait_until

EXPONENTIAL = r"^(gate|gateway|way|[a-z ])+ --id ID$"  # of ID each sandbox has its own
CUBIC = r"gateway .*gateway .*--id ID$"
PER_INSTANCE = "(worker *)+ --id ID --name {instance}$"
WAITS = "import signal; signal.pause()"
pytestmark = pytest.mark.root


@pytest.fixture(autouse=True)
def _root() -> None:
    requires_root()


def hostile(sandbox: Sandbox, *words: str) -> Process:
    """A process of nobody's with these arguments, also as its name."""
    words = tuple(word.replace("ID", sandbox.reaper.mark) for word in words)
    return sandbox.reaper.start(words, executable=sandbox.programs.path("idle"), user=NOBODY_UID)


def with_pattern(sandbox: Sandbox, pattern: str) -> None:
    """A service of nobody's, as the hostile processes are: those of other users are no candidates."""
    sandbox.service("web", "idle", match={"cmdline": pattern.replace("ID", sandbox.reaper.mark), "user": "nobody"})


def helpers_of(ctl: Process) -> list[int]:
    """The processes that search for patterns for this ctl, or did."""
    found = []
    for pid in proc.pids():
        with contextlib.suppress(OSError):
            found += [pid] if "regex_child.py" in " ".join(proc.argv(pid)) and proc.parent(pid) == ctl.pid else []
    return found


@pytest.mark.parametrize("pattern", [EXPONENTIAL, CUBIC])
def test_no_argv_keeps_ctl_from_its_answer(sandbox: Sandbox, pattern: str) -> None:
    evil = hostile(sandbox, *["gateway " * 12_000] * 8, "--id IDx")
    with_pattern(sandbox, pattern)
    told = f"match.cmdline took longer than 1 s on pid {evil.pid}"
    status = sandbox.ctl("status", "web", "--json").expect(4).one
    assert status["state"] == "unknown"
    assert told in status["errors"][0]["what"]
    for verb in ("start", "stop"):
        result = sandbox.ctl(verb, "web", "--json").expect(152).one
        assert told in result["errors"][0]["what"], "it may be running: nothing is done"
    assert sandbox.running("web") == []
    explained = sandbox.ctl("explain", "web").expect(152)
    assert "took longer than 1 s" in explained.stdout
    assert evil.alive()


def test_the_right_process_is_found_beside_it(sandbox: Sandbox) -> None:
    hostile(sandbox, *["gateway " * 12_000] * 8, "--id IDx")
    main = hostile(sandbox, "gateway gateway --id ID")
    with_pattern(sandbox, EXPONENTIAL)
    assert sandbox.ctl("status", "web", "--json").expect(0).one["pid"] == main.pid


def test_an_interrupt_is_heard_while_it_searches(sandbox: Sandbox) -> None:
    hostile(sandbox, *["gateway " * 12_000] * 8, "--id IDx")
    with_pattern(sandbox, EXPONENTIAL)
    stop = sandbox.ctl_popen("stop", "web")
    wait_until(lambda: bool(helpers_of(stop)), "a helper that searches")
    stop.signal(signal.SIGINT)
    sandbox.collect(stop).expect(130)


def test_a_helper_does_not_outlive_its_ctl_for_long(sandbox: Sandbox) -> None:
    hostile(sandbox, *["gateway " * 12_000] * 8, "--id IDx")
    with_pattern(sandbox, EXPONENTIAL)
    status = sandbox.ctl_popen("status", "web")
    wait_until(lambda: bool(helpers_of(status)), "a helper that searches")
    (helper,) = map(os.pidfd_open, helpers_of(status))
    try:
        status.signal(signal.SIGKILL)
        wait_gone(helper)
    finally:
        os.close(helper)


def test_instances_of_a_template_may_be_missed_and_that_is_told(sandbox: Sandbox) -> None:
    pattern = PER_INSTANCE.replace("ID", sandbox.reaper.mark)
    sandbox.define("worker@", {"start": {"command": ["sleep", "9"]}, "match": {"cmdline": pattern}})
    evil = hostile(sandbox, *["worker " * 12_000] * 8, "--id ID --name 1 x")
    result = sandbox.ctl("stop", "worker@").expect(152)
    assert f"match.cmdline took longer than 1 s on pid {evil.pid}" in result.stderr
    sandbox.ctl("stop", "--all", "--yes").expect(152)
    assert f"pid {evil.pid}" in sandbox.ctl("doctor", "--json").by_target["worker@"]["errors"][0]["what"]


def test_a_line_of_the_log_does_not_move_the_deadline_of_a_start(sandbox: Sandbox) -> None:
    line = f"print('a' * 60 + '!', flush=True); {WAITS}"
    sandbox.service(
        "web", "idle", start={"command": [public_python(), "-c", line]}, ready={"log": "^(a+)+$", "timeout": 1}
    )
    started = sandbox.ctl("start", "web", "--json", timeout=20).expect(151)
    assert "on one of its lines" in started.one["errors"][0]["what"]
    assert sandbox.running("web") == []


def test_a_line_that_took_too_long_does_not_hide_the_one_that_matches(sandbox: Sandbox) -> None:
    lines = f"print('a' * 60 + '!\\n' + 'a' * 9, flush=True); {WAITS}"
    sandbox.service("web", "idle", start={"command": [public_python(), "-c", lines]}, ready={"log": "^(a+)+$"})
    sandbox.ctl("start", "web").expect(0)


def test_check_and_doctor_name_the_patterns(sandbox: Sandbox) -> None:
    with_pattern(sandbox, EXPONENTIAL)
    said = "has a repeat within a repeat"
    assert said in sandbox.ctl("check", "web").expect(0).stderr
    assert said in sandbox.ctl("check", "web", "--json").expect(0).by_target["web"]["notes"][0]
    assert said in sandbox.ctl("doctor", "web").expect(0).stdout.replace("\n             ", " ")


# --------------------------------------------------------------------------------------------- the readiness socket

NEVER_READY = """
import os, socket, signal
address = os.environ["NOTIFY_SOCKET"]
print("listens at", address, flush=True)
signal.pause()
"""
FLOODS = """
import os, socket
for _ in range(2):
    os.fork()
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
    out.connect(os.environ["NOTIFY_SOCKET"])
    while os.getppid() != 0:
        out.send(b"STATUS=busy")
"""


def notifying(sandbox: Sandbox, program: str, *, timeout: float, **start: object) -> None:
    command = [public_python(), "-c", program]
    sandbox.service("web", "idle", start={"command": command, "type": "notify", **start}, ready={"timeout": timeout})


def test_no_stranger_may_send_a_message(sandbox: Sandbox) -> None:
    """Where others may send, they can keep the service's own READY=1 out of the queue."""
    notifying(sandbox, NEVER_READY, timeout=30, user=str(PLAIN_UID))
    starting = sandbox.ctl_popen("start", "web")
    address = wait_line(sandbox.log("web"), "listens at ").partition("listens at ")[2].strip()
    assert os.stat(address).st_uid == PLAIN_UID
    sends = f"import socket; socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b'READY=1', {address!r})"
    stranger = sandbox.reaper.start([public_python(), "-c", sends], user=NOBODY_UID, ready=None, stderr=-1)
    assert stranger.wait() == 1
    assert stranger.err is not None
    assert "PermissionError" in "".join(stranger.err.rest())
    assert starting.alive()
    starting.signal(signal.SIGINT)
    sandbox.collect(starting).expect(130)
    assert not os.path.exists(address)


def test_messages_do_not_move_the_deadline(sandbox: Sandbox) -> None:
    notifying(sandbox, FLOODS, timeout=1)
    assert "sent no READY=1 within 1 s" in sandbox.ctl("start", "web", timeout=30).expect(151).stderr
    assert sandbox.running("web") == []


@pytest.mark.parametrize("why", ["long", "closed"])
def test_the_socket_is_elsewhere_where_the_service_could_not_reach_it(sandbox: Sandbox, why: str) -> None:
    run_dir = sandbox.root / ("r" * 100 if why == "long" else "closed") / "run"
    run_dir.mkdir(parents=True)
    run_dir.parent.chmod(0o755 if why == "long" else 0o700)
    sandbox.service("web", "notifier", start={"type": "notify", "user": str(PLAIN_UID)})
    try:
        sandbox.ctl("start", "web", "--run-dir", run_dir).expect(0)
        assert [path.name for path in run_dir.iterdir() if path.name.endswith(".notify")] == []
    finally:
        sandbox.ctl("kill", "web", "--run-dir", run_dir)


def test_what_a_killed_ctl_left_is_replaced(sandbox: Sandbox) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as left:
        left.bind(str(sandbox.run_dir / ".web.notify"))
    sandbox.service("web", "notifier", start={"type": "notify"})
    sandbox.ctl("start", "web").expect(0)
    assert not (sandbox.run_dir / ".web.notify").exists()
