"""What cannot be told is unknown: neither "stopped" nor "paused", and nothing is forgotten for it."""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support import proc
from support.reaper import Process
from support.requires import requires, requires_root, requires_strace
from support.sandbox import Sandbox
from support.waiting import wait_gone, wait_until

HELD = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
if libc.ptrace(16, int(sys.argv[1]), None, None):  # PTRACE_ATTACH
    sys.exit(os.strerror(ctypes.get_errno()))
os.waitpid(int(sys.argv[1]), 0)
print(f"ready (pid: {os.getpid()})", flush=True)
sys.stdin.read()
"""
CONTAINER = "f" * 64


# -- a look that fails


@pytest.mark.parametrize("error", ["EMFILE", "ENFILE", "ENOMEM", "EIO"])
@pytest.mark.parametrize("file", ["stat", "task"])
def test_a_look_that_fails_ends_no_pause(sandbox: Sandbox, file: str, error: str) -> None:
    requires_strace()
    sandbox.service("web", "polite")
    sandbox.ctl("start", "web").expect(0)
    pid = sandbox.pid("web")
    sandbox.ctl("pause", "web").expect(0)
    inject = ["-P", f"/proc/{pid}/{file}", "-e", "trace=openat", "-e", f"inject=openat:error={error}"]
    failed = sandbox.ctl("resume", "web", "--json", prefix=["strace", "-qq", "-o", "/dev/null", *inject])
    assert failed.rc in (1, 4), failed
    assert proc.state(pid) == "T"
    assert sandbox.record("web").with_suffix(".paused").exists()
    assert sandbox.ctl("resume", "web", "--json").expect(0).one["reason"] == "resumed"


# What a status that looks for the process reads of it, and by which call.
READS = [
    ("openat", "stat"),
    ("openat", "cmdline"),
    ("openat", "status"),
    ("openat", "cgroup"),
    ("openat", ""),
    ("newfstatat", "exe"),
    ("readlink", "exe"),
    ("newfstatat", ""),
]


@pytest.mark.parametrize("error", ["EMFILE", "ENOMEM", "EIO"])
@pytest.mark.parametrize(("call", "file"), READS)
def test_a_look_that_fails_is_not_a_no(sandbox: Sandbox, call: str, file: str, error: str) -> None:
    """Found by a rule, without a record: whatever cannot be read, it is found all the same or unknown."""
    requires_strace()
    word = f"looked-for-{sandbox.reaper.mark}"
    rules = {"cmdline": word, "executable": "*python*"} if file == "exe" else {"cmdline": word}
    sandbox.service("web", "polite", match={**rules, "user": str(os.geteuid())})
    pid = sandbox.reaper.start([*sandbox.programs("polite"), "0", word]).pid
    place = f"/proc/{pid}/{file}".rstrip("/") if file else "/proc"
    inject = ["-P", place, "-e", f"trace={call}", "-e", f"inject={call}:error={error}"]
    trace = sandbox.tmp / "trace"
    said = sandbox.ctl("status", "web", "--json", prefix=["strace", "-qq", "-o", trace, *inject])
    assert "(INJECTED)" in trace.read_text(), "it was not asked"
    if not said.json["results"]:  # nothing at all could be told
        assert said.rc in (1, 4)
        return
    told = said.one
    assert (told["pid"] == pid) if told["state"] in ("running", "ready") else told["state"] == "unknown", said
    assert len(told["errors"]) == (told["state"] == "unknown")


@pytest.mark.parametrize("error", ["EMFILE", "EIO"])
def test_a_record_that_cannot_be_read_now_is_not_refused(sandbox: Sandbox, error: str) -> None:
    requires_strace()
    sandbox.service("web", "polite")
    sandbox.ctl("start", "web").expect(0)
    inject = ["-P", str(sandbox.record("web")), "-e", "trace=openat", "-e", f"inject=openat:error={error}"]
    strace = ["strace", "-qq", "-o", "/dev/null", *inject]
    sandbox.pid_file("web").unlink()
    assert sandbox.ctl("stop", "web", prefix=strace).rc in (0, 1, 4, 152)
    sandbox.ctl("start", "web").expect(0)
    assert len(sandbox.running("web")) == 1


@pytest.mark.parametrize("verb", ["stop", "kill"])
def test_a_pid_that_has_ended_says_nothing_of_the_service(sandbox: Sandbox, verb: str) -> None:
    sandbox.service("web", "polite")
    sandbox.ctl("start", "web").expect(0)
    pid = sandbox.pid("web")
    sandbox.record("web").unlink()
    gone = sandbox.reaper.start(["/bin/true"], ready=None)
    gone.wait()
    refused = sandbox.ctl(verb, "web", "--pid", gone.pid, "--json").expect(152).one
    assert refused["reason"] == "identity_mismatch"
    assert f"pid {gone.pid} has ended" in refused["errors"][0]["what"]
    assert f"pid {pid}" in refused["errors"][0]["what"]
    assert proc.alive(pid)
    sandbox.ctl("kill", "web").expect(0)
    assert sandbox.ctl(verb, "web", "--pid", gone.pid, "--json").expect(0).one["reason"] == "already_stopped"


# -- overwritten evidence


@pytest.mark.parametrize("rules", [{}, {"cmdline": "/blank$"}], ids=["marker", "cmdline"])
def test_what_has_overwritten_all_that_tells_of_it_may_be_the_service(sandbox: Sandbox, rules: dict[str, str]) -> None:
    """Its record is lost: it is neither stopped nor started a second time. Nobody else's program is in the way."""
    blank = sandbox.root / "blank"
    shutil.copy(sandbox.programs.path("blank"), blank)
    sandbox.service("web", "blank", start={"command": [str(blank)]}, match=rules)
    sandbox.service("other", "blank", start={"command": [str(blank)]})
    other_file = sandbox.reaper.start(sandbox.programs("blank"))
    sandbox.ctl("start", "other").expect(0)
    assert sandbox.ctl("status", "web").rc == 3, "one is another service's, and one another program"
    sandbox.ctl("start", "web").expect(0)
    pid = sandbox.pid("web")
    pidfd = sandbox.adopt("web")
    sandbox.record("web").unlink()
    sandbox.pid_file("web").unlink()
    status = sandbox.ctl("status", "web", "--json").expect(4).one
    assert f"pid {pid} executes the same" in status["errors"][0]["what"]
    for verb in ("stop", "start", "kill"):
        assert sandbox.ctl(verb, "web", "--json").expect(4).one["signals"] == []
    assert proc.alive(pid)
    assert other_file.alive()
    os.kill(pid, 9)
    wait_gone(pidfd)
    sandbox.ctl("start", "web").expect(0)


@pytest.mark.parametrize("number", [1, 12], ids=["one", "many"])
def test_one_that_ends_while_it_is_looked_at_is_no_fault_of_ctl(sandbox: Sandbox, number: int) -> None:
    """Many are looked for in one reading of the process table."""
    requires_strace()
    blank = sandbox.root / "blank"
    shutil.copy(sandbox.programs.path("blank"), blank)
    names = [f"web{count}" for count in range(number)]
    for name in names:
        sandbox.service(name, "blank", start={"command": [str(blank)]}, match={"cmdline": f"/blank {name}$"})
    pid = sandbox.reaper.start([str(blank)], ready="ready").pid
    trace = sandbox.tmp / "trace"
    paths = ["-P", f"/proc/{pid}", "-P", f"/proc/{pid}/task/{pid}/exe"]
    inject = [*paths, "-e", "trace=newfstatat,readlink", "-e", "inject=newfstatat,readlink:error=ESRCH"]
    told = sandbox.ctl("status", *names, "--json", prefix=["strace", "-qq", "-o", trace, *inject]).expect(3).by_target
    assert "(INJECTED)" in trace.read_text(), "it was not asked"
    assert [(one["state"], one["errors"]) for one in told.values()] == [("stopped", [])] * number


# -- a tracer


@contextmanager
def traced(sandbox: Sandbox, pid: int) -> Iterator[int]:
    """Inside, a tracer holds the process; it lets go of it after that."""
    held = sandbox.reaper.start([sandbox.programs("polite")[0], "-c", HELD, str(pid)], stdin=subprocess.PIPE)
    assert proc.state(pid) == "t"
    yield held.pid
    assert held.popen.stdin
    held.popen.stdin.close()
    held.wait()


def test_what_a_tracer_holds_is_not_paused(sandbox: Sandbox) -> None:
    """Once the tracer leaves, it goes on."""
    sandbox.service("web", "polite")
    sandbox.ctl("start", "web").expect(0)
    pid = sandbox.pid("web")
    with traced(sandbox, pid) as tracer:
        status = sandbox.ctl("status", "web", "--json").expect(0).one
        assert status["state"] in ("running", "ready")
        assert f"pid {tracer}" in status["errors"][0]["what"]
        plan = sandbox.ctl("pause", "web", "--dry-run", "--json").expect(0).one
        assert plan["reason"] == "planned"
        assert [process["pid"] for process in plan["plan"]["processes"]] == [pid]
        told = sandbox.ctl("pause", "web", "--json").expect(150).one
        assert (told["changed"], told["after"]) == (False, "running")
        assert f"held by its tracer, pid {tracer}" in told["errors"][-1]["what"]
        assert not sandbox.record("web").with_suffix(".paused").exists()
    wait_until(lambda: proc.state(pid) == "S", "it goes on")


# -- what is another's, by the files that it executes


@pytest.mark.parametrize("script", ["ctl/__main__.py", "bin/ctl"])
def test_a_service_that_is_called_ctl_is_not_taken_for_ctl(sandbox: Sandbox, script: str) -> None:
    requires_root()
    program = sandbox.root / script
    program.parent.mkdir()
    is_python = script.endswith(".py")
    program.write_text(
        sandbox.programs.path("polite").read_text()
        if is_python
        else 'echo "ready (pid: $$)"; while :; do read -r _; done'
    )
    command = [sandbox.programs("polite")[0] if is_python else "/bin/sh", str(program)]
    sandbox.service("web", "polite", start={"command": command}, match={"cmdline": str(program)})
    own = sandbox.reaper.start(command, stdin=subprocess.PIPE)
    assert sandbox.ctl("status", "web", "--json").expect(0).one["pid"] == own.pid


@contextmanager
def container() -> Iterator[Path]:
    """The control group of one, as docker makes it."""
    requires_root()
    groups = control_groups()
    group = groups / "docker" / CONTAINER.replace("f" * 32, uuid.uuid4().hex, 1)
    group.mkdir(parents=True)
    try:
        yield group
    finally:
        for pid in (group / "cgroup.procs").read_text().split():
            (groups / "cgroup.procs").write_text(pid)
        group.rmdir()


def test_a_process_of_a_container_in_our_pid_namespace_is_no_candidate(sandbox: Sandbox) -> None:
    """It was started with --pid=host; its control group tells."""
    word = f"contained-{sandbox.reaper.mark}"
    sandbox.service("web", "polite", match={"cmdline": word})
    contained = sandbox.reaper.start([*sandbox.programs("polite"), "0", word])
    with container() as group:
        (group / "cgroup.procs").write_text(str(contained.pid))
        assert_never_touched(sandbox, contained)
        said = sandbox.ctl("explain", "web", "--json").one
        grounds = {candidate["pid"]: candidate["ground"] for candidate in said["candidates"]}
        assert grounds[contained.pid] == "container"


@pytest.mark.parametrize("claim", ["record", "pid file", "stop.pid_file"])
def test_no_claim_makes_a_process_of_a_container_the_service(sandbox: Sandbox, claim: str) -> None:
    word = f"contained-{sandbox.reaper.mark}"
    own = sandbox.tmp.parent / "own.pid"
    stop = {"pid_file": str(own)} if claim == "stop.pid_file" else {}
    sandbox.service("web", "polite", match={"cmdline": word}, stop=stop)
    contained = sandbox.reaper.start([*sandbox.programs("polite"), "0", word], start_new_session=True)
    if claim == "record":
        assert sandbox.ctl("start", "web", "--json").expect(0).one["reason"] == "already_running"
        assert sandbox.record("web").exists()
    else:
        (own if claim == "stop.pid_file" else sandbox.pid_file("web")).write_text(f"{contained.pid}\n")
    with container() as group:
        (group / "cgroup.procs").write_text(str(contained.pid))
        assert_never_touched(sandbox, contained)


def assert_never_touched(sandbox: Sandbox, contained: Process) -> None:
    assert sandbox.ctl("status", "web", "--json").one["pid"] is None
    sandbox.ctl("kill", "web", "--pid", contained.pid).expect(152)
    for verb in ("reload", "stop", "kill"):
        sandbox.ctl(verb, "web")
    assert contained.alive()
    sandbox.ctl("start", "web").expect(0)
    assert sandbox.pid("web") != contained.pid
    sandbox.ctl("stop", "web").expect(0)
    assert contained.alive()


def control_groups() -> Path:
    """Of the unified hierarchy, or of systemd's own."""
    for place in (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup/systemd")):
        if (place / "cgroup.procs").exists() and os.access(place, os.W_OK):
            return place
    pytest.skip("needs control groups that may be made")


def test_a_program_at_the_path_of_systemd_is_no_service_manager(sandbox: Sandbox) -> None:
    """In a mount namespace of its own, any program is found at any path."""
    requires_root()
    requires("unshare")
    systemd = next(
        (path for path in ("/usr/lib/systemd/systemd", "/lib/systemd/systemd") if os.path.exists(path)), None
    )
    if systemd is None:
        pytest.skip("needs systemd's own program")
    mine = sandbox.root / "mine"
    shutil.copy(sandbox.programs.path("idle"), mine)
    inner = f"mount --bind {mine} {systemd} && exec {systemd}"
    child = ["/usr/bin/unshare", "--user", "--map-root-user", "--mount", "/bin/sh", "-c", inner]
    script = f"{' '.join(child[:-1])} '{inner}' & exec {' '.join(sandbox.programs('polite'))}"
    sandbox.service("web", "polite", start={"command": ["/bin/sh", "-c", script], "user": "daemon"})
    sandbox.ctl("start", "web").expect(0)
    main = sandbox.pid("web")
    (pretender,) = proc.children(main)
    wait_until(lambda: os.readlink(f"/proc/{pretender}/exe") == systemd, "it shows the path of systemd")
    sandbox.reaper.adopt(pretender)
    told = sandbox.ctl("kill", "web", "--json").expect(0).one
    assert {sent["pid"] for sent in told["signals"]} == {main, pretender}
