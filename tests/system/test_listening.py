"""Being told that something begins to listen, and no port asked before: as root, where the kernel can tell."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ctl.system.listening import Listening
from support.programs import public_python
from support.reaper import Process, Reaper
from support.requires import requires, requires_namespaces, requires_root, requires_strace
from support.sandbox import ROOT, Sandbox
from support.waiting import TIMEOUT, readable, wait_line

LISTENS = (
    "import socket, sys; s = socket.create_server(('127.0.0.1', 0)); print('listens', flush=True); sys.stdin.read()"
)

# A ctl that asks no port again because some time has passed, or because something was logged, and says when it waits.
WAITS_TO_BE_TOLD = """
import sys
from ctl.verbs import asking, launch
rest = asking.PortWatch.rest
def say(*args):
    found = rest(*args)
    if found and found[0]:
        print("it waits to be told", file=sys.stderr, flush=True)
    return found
asking.PortWatch.rest = say
asking._BY_THE_CLOCK, asking._SELDOM = 0, 1e6
asking._LONGEST_PAUSE, asking._GROWTH = 1e6, 1e15
launch._WITHOUT_WATCH = 1e6
from ctl.shell.cli import main
raise SystemExit(main())
"""


@pytest.fixture
def listening() -> Listening:
    requires_root()
    try:
        return Listening()
    except OSError as error:
        pytest.skip(f"needs a kernel that tells what begins to listen: {error}")


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_each_that_begins_is_told_of(listening: Listening, address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        for _ in range(3):
            with socket.socket(family) as server:
                server.bind((address, 0))
                listening.heard()
                server.listen()
                assert readable(listening.fd, time.monotonic() + TIMEOUT)
                assert listening.heard()
    finally:
        listening.close()


def test_one_in_a_container_is_told_of(listening: Listening, reaper: Reaper) -> None:
    requires_namespaces()
    command = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh", public_python(), "-c", LISTENS]
    try:
        listening.heard()
        reaper.start(command, ready="listens", stdin=subprocess.PIPE)
        assert listening.heard()
    finally:
        listening.close()


def waits_to_be_told(sandbox: Sandbox, *args: str, also: str = "") -> Process:
    command = [sys.executable, "-c", also + WAITS_TO_BE_TOLD, *args]
    env = sandbox.environment({"PYTHONPATH": str(ROOT / "lib")})
    process = sandbox.reaper.start(command, ready=None, stderr=subprocess.PIPE, env=env)
    assert process.err
    wait_line(process.err, "it waits to be told")
    return process


@pytest.mark.parametrize("kind", ["tcp", "http"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_start_is_told_when_to_ask(listening: Listening, sandbox: Sandbox, port: int, kind: str, host: str) -> None:
    listening.close()
    gate = sandbox.fifo("gate")
    place = {"tcp": f"{host}:{port}", "http": f"http://{host}:{port}/"}[kind]
    sandbox.service("web", "listener", "--port", port, "--gate", gate, ready={kind: place})
    start = waits_to_be_told(sandbox, "start", "web", "--json")
    gate.write_text("go")
    result = sandbox.collect(start).expect(0).one
    assert (result["after"], result["errors"]) == ("ready", [])


@pytest.mark.parametrize("kind", ["tcp", "http"])
def test_a_wait_is_told_when_to_ask(listening: Listening, sandbox: Sandbox, port: int, kind: str) -> None:
    """The ctl that started it is gone, so nobody else tells that it is ready."""
    listening.close()
    gate = sandbox.fifo("gate")
    place = {"tcp": f"127.0.0.1:{port}", "http": f"http://127.0.0.1:{port}/"}[kind]
    sandbox.service("web", "listener", "--port", port, "--gate", gate, ready={kind: place})
    start = sandbox.ctl_popen("start", "web")
    wait_line(sandbox.log("web"), "ready (pid:")
    start.signal(signal.SIGKILL)
    start.wait()
    wait = waits_to_be_told(sandbox, "wait", "web", "--json")
    gate.write_text("go")
    assert sandbox.collect(wait).expect(0).one["after"] == "ready"


# As where another machine is behind a port of this one: nothing here ever begins to listen.
DEAF = """
import os
from ctl.system.host import Host
class Deaf:
    fd = os.eventfd(0)
    def heard(self): return False
    def close(self): pass
Host.watch_listening = lambda _: Deaf()
"""


def test_what_is_not_told_of_is_asked_once_more_before_the_time_is_over(sandbox: Sandbox, port: int) -> None:
    gate, ready = sandbox.fifo("gate"), {"tcp": f"127.0.0.1:{port}", "timeout": 1.5}
    sandbox.service("web", "listener", "--port", port, "--gate", gate, ready=ready)
    start = waits_to_be_told(sandbox, "start", "web", "--json", also=DEAF)
    gate.write_text("go")
    assert sandbox.collect(start).expect(0).one["after"] == "ready"


WITHOUT = ["setpriv", "--bounding-set", "-sys_admin,-bpf,-perfmon"]  # as root is in most containers


@pytest.mark.parametrize(
    ("options", "prefix", "told"),
    [
        pytest.param(["--inject=bpf:error=ENOSYS:when=1"], [], "ENOSYS", id="a kernel without bpf"),
        pytest.param(["--inject=bpf:error=EINVAL:when=1"], [], "EINVAL", id="one before ring buffers"),
        pytest.param(["--inject=bpf:error=ENOENT:when=3"], [], "ENOENT", id="one without the tracepoint"),
        pytest.param([], WITHOUT, "EPERM", id="not allowed"),
    ],
)
def test_where_it_cannot_be_told_it_is_asked(
    sandbox: Sandbox, port: int, options: list[str], prefix: list[str], told: str
) -> None:
    requires_root()
    requires_strace()
    requires(*prefix[:1])
    gate, trace = sandbox.fifo("gate"), sandbox.tmp / "trace"
    sandbox.service("web", "listener", "--port", port, "--gate", gate, ready={"tcp": f"127.0.0.1:{port}"})
    strace: list[str | Path] = ["strace", "-o", trace, "-e", "trace=bpf", *options, *prefix]
    start = sandbox.ctl_popen("start", "web", "--json", prefix=strace)
    wait_line(trace, f" = -1 {told} ")
    gate.write_text("go")
    result = sandbox.collect(start).expect(0).one
    assert (result["after"], result["errors"]) == ("ready", [])


# seccomp(2): kills whoever calls bpf(2), as a unit's SystemCallFilter=@system-service does.
FILTERED = """
import ctypes, os, struct, sys
number = {"x86_64": 321, "aarch64": 280, "riscv64": 280}[os.uname().machine]
load_number, is_bpf, kill, allow = (0x20, 0, 0, 0), (0x15, 0, 1, number), (6, 0, 0, 0x80000000), (6, 0, 0, 0x7FFF0000)
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in (load_number, is_bpf, kill, allow)))
program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", 4, ctypes.addressof(code)))
libc = ctypes.CDLL(None)
if sys.argv[1] == "bpf":
    sys.argv[1:] = [sys.executable, "-c", f"import ctypes; ctypes.CDLL(None).syscall({number}, 0, 0, 0)"]
assert libc.prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
assert libc.prctl(22, 2, program) == 0  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
os.execvp(sys.argv[1], sys.argv[1:])
"""


def test_where_system_calls_are_filtered_none_is_made_that_might_kill(sandbox: Sandbox, port: int) -> None:
    sandbox.service("web", "announcer", "tcp", sandbox.tmp / "note", 0.5, port, ready={"tcp": f"127.0.0.1:{port}"})
    filtered = [sys.executable, "-c", FILTERED]
    assert sandbox.reaper.start([*filtered, "bpf"], ready=None).wait() == -signal.SIGSYS
    result = sandbox.ctl("start", "web", "--json", prefix=filtered).expect(0).one
    assert (result["after"], result["errors"]) == ("ready", [])
