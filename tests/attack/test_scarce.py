"""Where descriptors, processes, threads or memory are short, and where a filter refuses what ctl stands on: every verb
says so in a line, none calls it a fault of its own, and what needs none of that is done.

CTL_TEST_SWEEP=1 tries every limit.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator

import pytest

from support.requires import requires
from support.sandbox import ROOT, Result, Sandbox
from support.seccomp import PIDFD_OPEN, PIDFD_SEND_SIGNAL, refusing
from support.waiting import wait_file, wait_line

SWEEP = "CTL_TEST_SWEEP" in os.environ
DESCRIPTORS = range(12, 65) if SWEEP else (12, 14, 18)
CALLS = [
    ("status",), ("status", "web", "--json"), ("explain", "web"), ("logs", "web"), ("events",), ("check",),
    ("doctor",), ("doctor", "web"), ("wait", "web", "--timeout", "0.1"), ("start", "web"),
    ("stop", "web", "--dry-run"), ("reload", "web"), ("pause", "web", "--for", "0.1"), ("resume", "web"),
    ("pause", "web"), ("resume", "web"), ("restart", "web"), ("start", "web", "db", "db2"), ("status", "--json"),
    ("stop", "db", "db2"), ("kill", "web", "db", "db2"), ("start", "web"), ("stop", "web"), ("--version",),
]  # fmt: skip
FEW_CALLS = [call for number, call in enumerate(CALLS) if number % 3 != 1]
# A ctl in which something is wrong: it is called as `python -c FAULT bin/ctl ARGS`.
FAULT = f"""
import sys
sys.path.insert(0, {str(ROOT / "lib")!r})
from ctl.verbs import status
def fails(*_):
    raise RuntimeError("as if by a mistake")
status.locate = fails
sys.argv[:1] = []
from ctl.shell.cli import main
raise SystemExit(main())
"""
FAULTY = (sys.executable, "-c", FAULT)


def services(sandbox: Sandbox) -> Sandbox:
    sandbox.service(
        "web", "ignorer", stop={"schedule": "TERM/0.1/KILL/5", "before": [["true"]]}, reload={"command": ["true"]}
    )
    for name in ("db", "db2"):
        sandbox.service(name, "idle", ready={"log": "^ready", "timeout": 3})
    return sandbox


@pytest.fixture
def scarce(plain_sandbox: Sandbox) -> Iterator[Sandbox]:
    """Of a plain user, as root may have as many processes as there are."""
    requires("prlimit")
    yield services(plain_sandbox)
    for name in ("web", "db", "db2"):
        plain_sandbox.ctl("kill", name)


def assert_told(result: Result) -> None:
    """It has ended, and says why where it has failed."""
    said = result.stdout + result.stderr
    assert 0 <= result.rc < 199, result
    assert "Traceback" not in said, result
    assert "fault in ctl" not in said, result
    assert said or result.rc == 0, result


def run_up(sandbox: Sandbox) -> None:
    sandbox.ctl("start", "web").expect(0)
    wait_line(sandbox.log("web"), "ready (pid:")


@pytest.mark.timeout(600)
def test_every_verb_with_few_descriptors(scarce: Sandbox) -> None:
    calls = CALLS if SWEEP else FEW_CALLS
    for most in DESCRIPTORS:
        run_up(scarce)
        for call in calls:
            assert_told(scarce.ctl(*call, prefix=["prlimit", f"--nofile={most}:{most}", "--"]))


@pytest.mark.timeout(600)
def test_every_verb_where_no_process_or_thread_can_be_started(scarce: Sandbox) -> None:
    run_up(scarce)
    for call in CALLS:
        assert_told(scarce.ctl(*call, prefix=["prlimit", "--nproc=1:1", "--"]))


def test_many_are_stopped_without_a_thread(scarce: Sandbox) -> None:
    scarce.ctl("start", "web", "db", "db2").expect(0)
    result = scarce.ctl("stop", "web", "db", "db2", "--json", prefix=["prlimit", "--nproc=1:1", "--"])
    assert {its["after"] for its in result.json["results"]} == {"stopped"}
    assert [scarce.running(name) for name in ("web", "db", "db2")] == [[], [], []]


def test_a_lock_is_waited_for_without_a_thread(scarce: Sandbox) -> None:
    gate, held = scarce.fifo("gate"), scarce.tmp / "held"
    scarce.service("db", "idle", stop={"before": [["sh", "-c", f"echo held >'{held}'; read -r line <'{gate}'"]]})
    scarce.ctl("start", "db").expect(0)
    first = scarce.ctl_popen("stop", "db")
    wait_file(held)
    second = scarce.ctl_popen("stop", "db", prefix=["prlimit", "--nproc=1:1", "--"])
    assert second.err is not None
    second.err.wait("waiting for ctl stop")
    gate.write_text("go\n")
    scarce.collect(first).expect(0)
    scarce.collect(second).expect(0)


@pytest.mark.parametrize("suffix", ["json", "paused"])
def test_a_file_that_is_nested_too_deeply_disables_no_verb(sandbox: Sandbox, suffix: str) -> None:
    services(sandbox)
    run_up(sandbox)
    (sandbox.run_dir / f"web.{suffix}").write_text('{"a":' * 2500 + "1" + "}" * 2500)
    (sandbox.log_dir / "events.jsonl").write_text("[" * 9000 + "\n", encoding="utf-8")
    for call in CALLS if SWEEP else FEW_CALLS:
        assert_told(sandbox.ctl(*call))


def test_ctl_debug_shows_the_trace_of_a_fault_inside_a_verb(sandbox: Sandbox) -> None:
    services(sandbox)
    told = sandbox.ctl("status", "web", prefix=[*FAULTY], env={"CTL_DEBUG": "1"})
    assert "RuntimeError: as if by a mistake" in told.stderr
    assert "Traceback" in told.stderr
    assert "Traceback" not in sandbox.ctl("status", "web", prefix=[*FAULTY]).stderr


@pytest.mark.parametrize("error", [errno.EPERM, errno.ENOSYS])
@pytest.mark.parametrize(
    ("number", "call"), [(PIDFD_OPEN, "pidfd_open(2)"), (PIDFD_SEND_SIGNAL, "pidfd_send_signal(2)")]
)
def test_a_filter_that_refuses_pidfds_is_named(sandbox: Sandbox, number: int, call: str, error: int) -> None:
    services(sandbox)
    run_up(sandbox)
    filtered = refusing(number, error=error)
    for its in CALLS if SWEEP else [("status",), ("pause", "web"), ("restart", "web"), ("kill", "web")]:
        assert_told(sandbox.ctl(*its, prefix=filtered))
    result = sandbox.ctl("stop", "web", prefix=filtered).expect(4)
    assert f"a seccomp filter refuses {call}" in result.stderr
    assert "another user" not in result.stderr
    assert f"refuses {call}" in sandbox.ctl("doctor", prefix=filtered).expect(1).stdout.replace("\n             ", " ")
    assert sandbox.running("web")
