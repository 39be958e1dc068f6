"""Who answers at the ready address: the service, one of its processes, or a stranger that was there before."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest

from ctl.system.listeners import sockets_at
from support.programs import public_python
from support.reaper import Process
from support.requires import requires_namespaces, requires_root
from support.sandbox import PLAIN_UID, Sandbox
from support.waiting import wait_line

# binder FAMILY ADDRESS PORT [OPTION...]: listens, says so, and waits for a signal. It answers by its backlog alone.
BINDER = """
import signal, socket, sys
family, address, port, *options = sys.argv[1:]
server = socket.socket(getattr(socket, family))
for option in ("SO_REUSEADDR", *options):
    server.setsockopt(socket.SOL_SOCKET, getattr(socket, option), 1)
if family == "AF_INET6":
    server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
server.bind((address, int(port)))
server.listen(200)
print("ready (pid: )", flush=True)
signal.pause()
"""
# Where a socket is bound, and where it then answers.
BOUND = {
    "its address": ("AF_INET", "127.0.0.1", "127.0.0.1"),
    "any IPv4": ("AF_INET", "0.0.0.0", "127.0.0.1"),
    "any": ("AF_INET6", "::", "127.0.0.1"),
    "any, asked by IPv6": ("AF_INET6", "::", "[::1]"),
    "mapped": ("AF_INET6", "::ffff:127.0.0.1", "127.0.0.1"),
    "any mapped": ("AF_INET6", "::ffff:0.0.0.0", "127.0.0.1"),
    "IPv6": ("AF_INET6", "::1", "[::1]"),
    "a name": ("AF_INET", "127.0.0.1", "localhost"),
    "nowhere": ("AF_INET", "127.0.0.1", "0.0.0.0"),
}
bound = pytest.mark.parametrize(("family", "address", "asked"), BOUND.values(), ids=BOUND.keys())


def binder(*args: object) -> list[str]:
    return [public_python(), "-S", "-E", "-c", BINDER, *map(str, args)]


def stranger(sandbox: Sandbox, port: int, *options: str) -> Process:
    return sandbox.reaper.start(binder("AF_INET", "127.0.0.1", port, *options))


def held_by(process: Process, port: int) -> str:
    return rf"127\.0\.0\.1:{port} is held by python\S*, pid {process.pid}"


def assert_started(sandbox: Sandbox) -> None:
    result = sandbox.ctl("start", "web", "--json").expect(0).one
    assert (result["after"], result["errors"]) == ("ready", [])
    assert sandbox.ctl("status", "web", "--json").one["state"] == "ready"


@pytest.mark.parametrize("kind", ["tcp", "http"])
def test_a_strangers_answer_is_none_and_the_stranger_is_named(sandbox: Sandbox, port: int, kind: str) -> None:
    other = sandbox.reaper.start(sandbox.programs("listener", "--port", port))
    other.wait_line("listening on")
    address = f"127.0.0.1:{port}" if kind == "tcp" else f"http://127.0.0.1:{port}/"
    sandbox.service("web", "never_ready", ready={kind: address, "timeout": 1})
    result = sandbox.ctl("start", "web").expect(151)
    assert re.search(rf"was not ready within 1 s \(ready.timeout\): {held_by(other, port)} \(", result.stderr), result
    assert sandbox.running("web") == []
    assert not sandbox.has_run("web")
    assert other.alive()


def test_one_that_ends_while_a_stranger_answers_was_never_ready(sandbox: Sandbox, port: int) -> None:
    other = stranger(sandbox, port)
    sandbox.define(
        "web",
        {
            "start": {"command": ["/bin/sh", "-c", "sleep 0.7; exit 98"]},
            "ready": {"tcp": f"127.0.0.1:{port}", "settle": 0},
        },
    )
    result = sandbox.ctl("start", "web").expect(151)
    assert re.search(rf"exited with status 98 while starting; {held_by(other, port)}", result.stderr), result


def test_the_service_of_a_stranger_is_named(sandbox: Sandbox, port: int) -> None:
    script = f"{sandbox.programs('listener')[0]} " + '"$@" & wait'
    listener = sandbox.programs("listener", "--port", port)
    start = {"command": ["/bin/sh", "-c", script, "sh", *listener[1:]]}
    sandbox.define("cache", {"start": start, "ready": {"tcp": f"127.0.0.1:{port}"}})
    sandbox.service("web", "never_ready", ready={"tcp": f"127.0.0.1:{port}", "timeout": 1})
    sandbox.ctl("start", "cache").expect(0)
    result = sandbox.ctl("start", "web").expect(151)
    assert re.search(rf"127.0.0.1:{port} is held by python\S*, pid \d+ \(service cache\)", result.stderr), result


def test_a_stranger_that_goes_leaves_the_port_to_the_service(sandbox: Sandbox, port: int) -> None:
    """What is being replaced may still be closing its port."""
    other = stranger(sandbox, port)
    gate = sandbox.fifo("gate")
    sandbox.service("web", "listener", "--port", port, "--gate", gate, ready={"tcp": f"127.0.0.1:{port}"})
    start = sandbox.ctl_popen("start", "web", "--json")
    sandbox.pid("web")
    other.popen.kill()
    other.wait()
    gate.write_text("go")
    result = sandbox.collect(start).expect(0).one
    assert (result["after"], result["errors"]) == ("ready", [])


@bound
def test_a_stranger_is_found_wherever_it_is_bound(
    sandbox: Sandbox, port: int, family: str, address: str, asked: str
) -> None:
    sandbox.reaper.start(binder(family, address, port))
    sandbox.service("web", "never_ready", ready={"tcp": f"{asked}:{port}", "timeout": 2})
    result = sandbox.ctl("start", "web").expect(151)
    assert f":{port} is held by python" in result.stderr


@bound
def test_the_service_is_found_wherever_it_is_bound(
    sandbox: Sandbox, port: int, family: str, address: str, asked: str
) -> None:
    command = binder(family, address, port)
    sandbox.define("web", {"start": {"command": command}, "ready": {"tcp": f"{asked}:{port}"}})
    assert_started(sandbox)


FAMILY = {
    "a child": '"$@" & wait',
    "a grandchild of its session": '("$@" &); exec sleep 600',
    "one that has left for a session of its own": '(setsid "$@" &); exec sleep 600',
}


@pytest.mark.parametrize("script", FAMILY.values(), ids=FAMILY.keys())
def test_any_process_of_the_service_may_listen(sandbox: Sandbox, port: int, script: str) -> None:
    command = ["/bin/sh", "-c", script, "sh", *binder("AF_INET", "127.0.0.1", port)]
    sandbox.define("web", {"start": {"command": command}, "ready": {"tcp": f"127.0.0.1:{port}"}})
    assert_started(sandbox)


def test_one_of_several_holders_of_a_port_is_enough(sandbox: Sandbox, port: int) -> None:
    with socket.socket() as other:
        for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
            other.setsockopt(socket.SOL_SOCKET, option, 1)
        other.bind(("127.0.0.1", 0))
        shared = other.getsockname()[1]
        other.listen(200)
        command = binder("AF_INET", "127.0.0.1", shared, "SO_REUSEPORT")
        log = str(sandbox.log("web"))
        definition = {"start": {"command": command, "log": log}, "ready": {"tcp": f"127.0.0.1:{shared}"}}
        sandbox.define("web", definition)
        assert_started(sandbox)


def test_any_listener_is_taken_where_the_definition_says_so(sandbox: Sandbox, port: int) -> None:
    stranger(sandbox, port)
    ready = {"tcp": f"127.0.0.1:{port}", "listener": "any", "settle": 0.05}
    sandbox.service("web", "never_ready", ready=ready)
    result = sandbox.ctl("start", "web", "--json").expect(0).one
    (told,) = result["errors"]
    assert "answered before it was started" in told["what"]
    assert sandbox.ctl("status", "web", "--json").one["state"] == "ready"
    ready.pop("listener")
    sandbox.service("web", "never_ready", ready=ready)
    shown = sandbox.ctl("status", "web", "--json").one
    assert (shown["state"], shown["ready"]) == ("running", False)
    assert sandbox.ctl("wait", "web", "--for", "ready", "--timeout", "0.5").rc == 151


def test_listener_without_an_address_is_refused(sandbox: Sandbox) -> None:
    sandbox.service("web", "polite", ready={"log": "x", "listener": "any"})
    assert "ready.listener: given without ready.tcp or ready.http" in sandbox.ctl("check", "web").expect(6).stderr


UNTOLD = "cannot tell whether it is the service that answers at 127.0.0.1"


def test_who_may_not_be_seen_is_told_in_one_warning(plain_sandbox: Sandbox, port: int) -> None:
    requires_root()
    plain_sandbox.service("web", "never_ready", ready={"tcp": f"127.0.0.1:{port}"})
    start = plain_sandbox.ctl_popen("start", "web", "--json")
    wait_line(plain_sandbox.log("web"), "ready (pid:")
    stranger(plain_sandbox, port)
    (told,) = plain_sandbox.collect(start).expect(0).one["errors"]
    assert told["what"] == f"{UNTOLD}:{port}: who listens there may not be seen"
    assert told["fix"] == 'to take any listener for it: [ready] listener = "any"'


def test_what_answered_before_and_may_not_be_seen_is_one_warning(plain_sandbox: Sandbox, port: int) -> None:
    requires_root()
    stranger(plain_sandbox, port)
    plain_sandbox.service("web", "never_ready", ready={"tcp": f"127.0.0.1:{port}", "settle": 0.05})
    result = plain_sandbox.ctl("start", "web", "--json").expect(0).one
    assert len(result["errors"]) == 1


def test_a_stranger_of_the_same_plain_user_is_found(plain_sandbox: Sandbox, port: int) -> None:
    plain_sandbox.reaper.start(binder("AF_INET", "127.0.0.1", port), user=PLAIN_UID, group=PLAIN_UID, extra_groups=[])
    plain_sandbox.service("web", "never_ready", ready={"tcp": f"127.0.0.1:{port}", "timeout": 0.5})
    assert "is held by python" in plain_sandbox.ctl("start", "web").expect(151).stderr


# Pid 1 of a pid namespace holds the socket, as systemd does with that of a socket unit, and calls ctl.
PID_1 = """
import socket, subprocess, sys
port, *call = sys.argv[1:]
server = socket.socket()
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind(("127.0.0.1", int(port)))
server.listen(200)
sys.exit(subprocess.run(call).returncode)
"""


def test_what_pid_1_holds_may_be_the_services(sandbox: Sandbox, port: int) -> None:
    requires_namespaces()
    namespace = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    prefix = [*namespace, public_python(), "-S", "-E", "-c", PID_1, str(port)]
    sandbox.service("web", "never_ready", ready={"tcp": f"127.0.0.1:{port}", "settle": 0.05})
    result = sandbox.ctl("start", "web", "--json", prefix=prefix).expect(0).one
    assert len(result["errors"]) == 1


def test_an_address_of_another_host_has_no_sockets_here() -> None:
    assert sockets_at(("192.0.2.1", 80)) is None  # TEST-NET-1, RFC 5737
    assert sockets_at(("2001:db8::1", 80)) is None  # RFC 3849


FORWARDED = """
set -e
ip link set lo up
ip link add here type veth peer name there
ip addr add 198.51.100.1/24 dev here; ip link set here up
unshare --net sh -c 'echo $$ > "$1"; until ip addr add 198.51.100.2/24 dev there 2>/dev/null; do sleep 0.05; done
    ip link set there up; exec "$2" -S -E -c "$3" AF_INET 198.51.100.2 "$4"' sh "$1" "$2" "$3" "$4" >&2 &
while [ ! -s "$1" ]; do sleep 0.05; done
ip link set there netns "$(cat "$1")"
shift 4
"$@" || code=$?
kill %1
exit "${code-0}"
"""


def test_who_answers_from_another_network_namespace_cannot_be_told(sandbox: Sandbox, port: int, tmp_path: Path) -> None:
    requires_root()
    prefix = [
        "unshare",
        "--net",
        "bash",
        "-c",
        FORWARDED,
        "sh",
        str(tmp_path / "pid"),
        public_python(),
        BINDER,
        str(port),
    ]
    sandbox.service("web", "never_ready", ready={"tcp": f"198.51.100.2:{port}", "timeout": 10, "settle": 0.05})
    result = sandbox.ctl("start", "web", "--json", prefix=prefix).expect(0).one
    (told,) = result["errors"]
    assert told["where"] == f"{sandbox.services}/web.toml, ready"
