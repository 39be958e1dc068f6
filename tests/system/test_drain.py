"""What surrounds a stop, with real probes and hooks: whatever these do, the service is stopped in time and told truly.

Probes and hooks that say no, hang, spew, cannot be run or leave children behind; a service that dies meanwhile; kill
and Ctrl-C in the middle. Nothing of a probe or hook is left, and the next command always works.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shlex
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support import proc
from support.pty import Terminal
from support.reaper import MARK, Process
from support.requires import requires_root
from support.sandbox import CTL, NOBODY_UID, Json, Sandbox
from support.waiting import Lines, wait_file, wait_gone, wait_line, wait_until

LITTLE = 4.0  # seconds that a stop may take beyond what the drain and the schedule allow, on a machine that is busy
FOREVER = "exec tail -f /dev/null"
DEAF = f"trap '' TERM INT HUP; {FOREVER}"
NOBODYS_PORT = 1  # tcpmux, which nobody runs
PROBES = ["before", "drain", "after"]


def sh(text: str, *arguments: object) -> list[str]:
    return ["sh", "-c", text, *map(str, arguments)]


def announce(path: Path) -> str:
    """Shell text that writes its own pid to `path`, whole or not at all."""
    quoted = shlex.quote(str(path))
    return f"echo $$ >{quoted}.new; mv {quoted}.new {quoted}"


def marked(sandbox: Sandbox) -> list[list[str]]:
    """The argv of every process that the sandbox's ctl has started and that still runs."""
    return [proc.argv(pid) for pid in proc.with_environment(MARK, sandbox.reaper.mark)]


def started(sandbox: Sandbox, program: str = "polite", **tables: Any) -> int:
    """The pid of the service `web`, running."""
    sandbox.service("web", program, **tables)
    pid: int = sandbox.ctl("start", "web", "--json").expect(0).one["pid"]
    wait_line(sandbox.log("web"), "ready (pid:")
    return pid


def stopped(sandbox: Sandbox, pid: int, rc: int = 0, verb: str = "stop") -> Json:
    """The outcome of a stop after which nothing is left: no service, no probe, no hook, no file."""
    result = sandbox.ctl(verb, "web", "--json").expect(rc)
    assert "Traceback" not in result.stderr
    assert result.one["after"] == "stopped"
    assert_nothing_left(sandbox, pid)
    return result.one


def assert_nothing_left(sandbox: Sandbox, pid: int) -> None:
    assert not proc.alive(pid)
    assert marked(sandbox) == []
    assert not sandbox.has_run("web")
    assert not sandbox.pid_file("web").exists()


def whats(outcome: Json) -> list[str]:
    return [error["what"] for error in outcome["errors"]]


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


# -- the drain's answer


@contextlib.contextmanager
def server(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server on the port it gives, which answers each connection by `answer`, for as long as that takes."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    client, _ = listening.accept()
                except OSError:
                    return
                with client:
                    answer(client)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


def says(status: str) -> Callable[[socket.socket], None]:
    def answer(client: socket.socket) -> None:
        if client.recv(65536):
            client.sendall(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())

    return answer


def hears_no_more(client: socket.socket) -> None:
    """Takes the request, and answers nothing until the other side has gone."""
    while client.recv(65536):
        pass


def babbles(client: socket.socket) -> None:
    """Never ends its answer, and never falls silent."""
    never = threading.Event()
    try:
        client.sendall(b"HTTP/1.1 200 OK\r\nX-Header: ")
        while not never.wait(0.05):
            client.sendall(b"x")
    except OSError:
        return


@pytest.mark.parametrize("kind", ["command", "http", "tcp"])
def test_a_probe_that_says_yes_moves_on_at_once(sandbox: Sandbox, kind: str) -> None:
    with server(says("204 No Content")) as port:
        asked = {"command": ["true"], "http": f"http://127.0.0.1:{port}/drained", "tcp": f"127.0.0.1:{port}"}[kind]
        pid = started(sandbox, drain={kind: asked, "interval": 300, "timeout": 600})
        outcome = stopped(sandbox, pid)
    assert (outcome["drained"], outcome["reason"], outcome["errors"]) == (True, "stopped", [])


@pytest.mark.parametrize("kind", ["command", "http", "tcp"])
def test_a_probe_that_says_no_to_the_end_is_told_and_the_service_stopped(sandbox: Sandbox, kind: str) -> None:
    with server(says("503 Service Unavailable")) as port:
        asked, why = {
            "command": (sh("echo 3 jobs; exit 7"), "command sh: exit status 7: 3 jobs"),
            "http": (f"http://127.0.0.1:{port}/", f"http http://127.0.0.1:{port}/: answered 503"),
            "tcp": (f"127.0.0.1:{NOBODYS_PORT}", f"tcp 127.0.0.1:{NOBODYS_PORT}: Connection refused"),
        }[kind]
        pid = started(sandbox, drain={kind: asked, "interval": 0.1, "timeout": 0.5})
        outcome = stopped(sandbox, pid)
    assert (outcome["ok"], outcome["drained"], outcome["reason"]) == (True, False, "stopped")
    (error,) = outcome["errors"]
    assert error["reason"] == "timeout"
    assert error["what"] == f"not drained within 0.5 s: {why}"
    assert error["where"].endswith("web.toml, drain")


def test_it_is_asked_again_until_it_says_yes(sandbox: Sandbox) -> None:
    asked = sandbox.tmp / "asked"
    probe = sh('echo asked >>"$0"; test $(wc -l <"$0") -ge 3', asked)
    pid = started(sandbox, drain={"command": probe, "interval": 0.05, "timeout": 600})
    assert stopped(sandbox, pid)["drained"] is True
    assert lines(asked) == ["asked"] * 3


@pytest.mark.parametrize("answer", [hears_no_more, babbles], ids=["silent", "endless"])
def test_a_server_that_never_finishes_its_answer_costs_the_timeout_and_no_more(
    sandbox: Sandbox, answer: Callable[[socket.socket], None]
) -> None:
    with server(answer) as port:
        drain = {"http": f"http://127.0.0.1:{port}/", "interval": 0.1, "timeout": 0.6}
        pid = started(sandbox, drain=drain)
        outcome = stopped(sandbox, pid)
    assert (outcome["ok"], outcome["drained"]) == (True, None)
    assert outcome["duration_s"] < 0.6 + LITTLE
    assert whats(outcome)[0].startswith("not drained within 0.6 s: ")


def unknown_host(_: Sandbox) -> Json:
    return {"tcp": "no-such-host.invalid:80"}


def http_refused(_: Sandbox) -> Json:
    return {"http": f"http://127.0.0.1:{NOBODYS_PORT}/"}


@pytest.mark.parametrize("probe", [unknown_host, http_refused], ids=lambda probe: probe.__name__)
def test_a_server_that_cannot_be_asked_leaves_drained_unknown(
    sandbox: Sandbox, probe: Callable[[Sandbox], Json]
) -> None:
    pid = started(sandbox, drain={**probe(sandbox), "interval": 0.1, "timeout": 0.3})
    outcome = stopped(sandbox, pid)
    assert (outcome["ok"], outcome["drained"], len(outcome["errors"])) == (True, None, 1)


# -- commands that misbehave, as a probe and as hooks


def not_there(_: Sandbox) -> list[str]:
    return ["/nowhere/at/all"]


def not_in_path(_: Sandbox) -> list[str]:
    return ["no-such-program-at-all"]


def not_executable(sandbox: Sandbox) -> list[str]:
    path = sandbox.tmp / "plain"
    path.write_text("#!/bin/sh\nexit 0\n", encoding="ascii")
    path.chmod(0o644)
    return [str(path)]


def no_program(sandbox: Sandbox) -> list[str]:
    path = sandbox.tmp / "garbage"
    path.write_bytes(b"\x7fELF and no more")
    path.chmod(0o755)
    return [str(path)]


def no_interpreter(sandbox: Sandbox) -> list[str]:
    path = sandbox.tmp / "script"
    path.write_text("#!/nowhere/sh\nexit 0\n", encoding="ascii")
    path.chmod(0o755)
    return [str(path)]


def directory(sandbox: Sandbox) -> list[str]:
    return [str(sandbox.tmp)]


def fifo(sandbox: Sandbox) -> list[str]:
    """Executable by its mode, so it is looked into for the reason: that must not wait for a writer."""
    path = sandbox.tmp / "fifo"
    os.mkfifo(path)
    path.chmod(0o755)
    return [str(path)]


UNABLE = [not_there, not_in_path, not_executable, no_program, no_interpreter, directory, fifo]


def fails(_: Sandbox) -> list[str]:
    return ["false"]


def hangs(_: Sandbox) -> list[str]:
    return sh(FOREVER)


def hangs_deaf(_: Sandbox) -> list[str]:
    return sh(DEAF)


def hangs_stopped(_: Sandbox) -> list[str]:
    return sh("kill -STOP $$")


def hangs_with_children(_: Sandbox) -> list[str]:
    return sh(f"sh -c '{FOREVER}' & setsid sh -c '{FOREVER}' & wait")


def hangs_and_is_born_again(sandbox: Sandbox) -> list[str]:
    return sandbox.programs("hydra", 3, 40)


def spews_for_ever(_: Sandbox) -> list[str]:
    return ["yes", "a line of output, again and again"]


def spews_one_endless_line(_: Sandbox) -> list[str]:
    return ["cat", "/dev/zero"]


HANGING = [
    hangs, hangs_deaf, hangs_stopped, hangs_with_children, hangs_and_is_born_again, spews_for_ever,
    spews_one_endless_line,
]  # fmt: skip


def spews_lines(_: Sandbox) -> list[str]:
    return sh("seq 2000000")


def spews_a_line(_: Sandbox) -> list[str]:
    return sh("head -c 20000000 /dev/zero")


def leaves_a_child(_: Sandbox) -> list[str]:
    return sh(f"sh -c '{FOREVER}' & exit 0")


def leaves_a_deaf_one_in_a_session_of_its_own(_: Sandbox) -> list[str]:
    return sh(f'setsid sh -c "{DEAF}" & exit 0')


def leaves_a_daemon(sandbox: Sandbox) -> list[str]:
    return sandbox.programs("forker", "--no-pidfile", "--ignore-term")


def closes_its_output(_: Sandbox) -> list[str]:
    return sh("exec >&- 2>&- <&-; exit 0")


def reads_its_input(_: Sandbox) -> list[str]:
    return sh("cat >/dev/null; exit 0")


GOOD = [
    spews_lines, spews_a_line, leaves_a_child, leaves_a_deaf_one_in_a_session_of_its_own, leaves_a_daemon,
    closes_its_output, reads_its_input,
]  # fmt: skip
Command = Callable[[Sandbox], list[str]]


def surrounded(where: str, command: list[str], timeout: float) -> Json:
    """The tables of a definition in which it is the drain's probe, or a hook."""
    if where == "drain":
        return {"drain": {"command": command, "interval": 0.1, "timeout": timeout}}
    return {"stop": {where: [{"command": command, "timeout": timeout}]}}


def assert_told(outcome: Json, where: str) -> None:
    """What went wrong is in the outcome; a hook's failure is ctl's, too."""
    assert outcome["drained"] is not True
    assert len(outcome["errors"]) == 1, outcome["errors"]
    assert outcome["errors"][0]["what"]
    if where == "drain":
        assert (outcome["ok"], outcome["reason"]) == (True, "stopped")
    else:
        assert (outcome["ok"], outcome["reason"], outcome["errors"][0]["reason"]) == (
            False, "hook_failed", "hook_failed",
        )  # fmt: skip
        assert outcome["errors"][0]["where"].endswith(f"web.toml, stop.{where}[0]")


@pytest.mark.parametrize("where", PROBES)
@pytest.mark.parametrize("command", UNABLE, ids=lambda command: command.__name__)
def test_a_command_that_cannot_be_run_is_told_and_the_service_stopped(
    sandbox: Sandbox, where: str, command: Command
) -> None:
    argv = command(sandbox)
    pid = started(sandbox, **surrounded(where, argv, 0.3))
    outcome = stopped(sandbox, pid, rc=0 if where == "drain" else 1)
    assert_told(outcome, where)
    assert outcome["drained"] is None
    assert f"command {argv[0]}: " in whats(outcome)[0]
    assert "exit status" not in whats(outcome)[0], "it never ran"


def test_a_command_that_cannot_be_run_leaves_no_zombie_while_it_is_asked_again(sandbox: Sandbox) -> None:
    argv = no_interpreter(sandbox)
    pid = started(sandbox, drain={"command": argv, "interval": 600, "timeout": 600})
    pidfd = sandbox.reaper.adopt(pid)
    stop = sandbox.ctl_popen("stop", "web", "--json", "--verbose")
    assert stop.err is not None
    stop.err.wait(f"not drained yet: command {argv[0]}: needs /nowhere/sh, which is not installed")
    assert proc.children(stop.pid) == []
    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    assert sandbox.collect(stop).expect(0).one["after"] == "stopped"


def test_a_command_whose_directory_is_gone_is_told(sandbox: Sandbox) -> None:
    directory = sandbox.tmp / "work"
    directory.mkdir()
    pid = started(sandbox, start={"directory": str(directory)}, stop={"before": [["true"]]})
    directory.rmdir()
    assert whats(stopped(sandbox, pid, rc=1)) == [
        f"command true: cannot be executed in {directory}: No such file or directory"
    ]


def test_a_relative_path_of_a_command_begins_in_the_directory_of_the_service(sandbox: Sandbox) -> None:
    (sandbox.tmp / "hook").write_text("#!/bin/sh\ntouch done\n", encoding="ascii")
    (sandbox.tmp / "hook").chmod(0o755)
    pid = started(sandbox, start={"directory": str(sandbox.tmp)}, stop={"before": [["./hook"]]})
    assert stopped(sandbox, pid)["errors"] == []
    assert (sandbox.tmp / "done").exists()


@pytest.mark.parametrize("where", PROBES)
@pytest.mark.parametrize("command", HANGING, ids=lambda command: command.__name__)
def test_a_command_that_hangs_costs_its_timeout_and_leaves_nothing(
    sandbox: Sandbox, where: str, command: Command
) -> None:
    pid = started(sandbox, **surrounded(where, command(sandbox), 0.5))
    outcome = stopped(sandbox, pid, rc=0 if where == "drain" else 1)
    assert_told(outcome, where)
    assert outcome["drained"] is None
    assert re.search(r"no answer in 0\.[1-5]\d* s", whats(outcome)[0])
    assert outcome["duration_s"] < 0.5 + LITTLE


@pytest.mark.parametrize("where", PROBES)
@pytest.mark.parametrize("command", GOOD, ids=lambda command: command.__name__)
def test_a_command_that_does_its_work_untidily_is_tidied_up_after(
    sandbox: Sandbox, where: str, command: Command
) -> None:
    pid = started(sandbox, **surrounded(where, command(sandbox), 30))
    outcome = stopped(sandbox, pid)
    assert outcome["errors"] == []
    assert outcome["drained"] is (True if where == "drain" else None)
    assert outcome["duration_s"] < 28, "it was waited for until its timeout"


@pytest.mark.parametrize("where", PROBES)
def test_a_child_with_nothing_of_its_environment_holds_nobody_up(sandbox: Sandbox, where: str) -> None:
    """It has left parent, session and environment and holds the output open: ctl must not wait for it."""
    left = sandbox.tmp / "left"
    command = sh(
        f'env -i setsid sh -c {shlex.quote(f"{announce(left)}; {FOREVER}")} & while ! test -s "$0"; do :; done', left
    )
    pid = started(sandbox, **surrounded(where, command, 20))
    process = sandbox.ctl_popen("stop", "web", "--json")
    with contextlib.suppress(ProcessLookupError):  # ctl may have been quick, and have found it all the same
        sandbox.reaper.adopt(int(wait_file(left)))
    outcome = sandbox.collect(process, 40).expect(0).one
    assert outcome["drained"] is (True if where == "drain" else None)
    assert outcome["duration_s"] < 18, "it was waited for until its timeout"
    assert not proc.alive(pid)


def test_the_schedule_still_has_its_time_after_a_drain_that_hangs(sandbox: Sandbox) -> None:
    drain = {"command": sh(DEAF), "interval": 0.1, "timeout": 0.5}
    pid = started(sandbox, "recorder", drain=drain, stop={"schedule": "TERM/0.4/KILL/5"})
    outcome = stopped(sandbox, pid)
    assert [sent["signal"] for sent in outcome["signals"]] == ["TERM", "KILL"]
    assert outcome["signals"][1]["at_s"] >= 0.4, "the drain took time from the grace"
    assert (outcome["ok"], outcome["reason"], outcome["drained"]) == (True, "escalated", None)
    assert 0.9 <= outcome["duration_s"] < 0.9 + LITTLE


def test_the_service_gets_no_signal_before_it_is_drained(sandbox: Sandbox) -> None:
    gate, asked = sandbox.fifo("gate"), sandbox.tmp / "asked"
    drain = {"command": sh(f'{announce(asked)}; read word <"$0"', gate), "timeout": 600}
    pid = started(sandbox, "recorder", drain=drain, stop={"schedule": "TERM/0.2/KILL/5"})
    stop = sandbox.ctl_popen("stop", "web", "--json")
    wait_file(asked)
    signal.pidfd_send_signal(sandbox.reaper.adopt(pid), signal.SIGUSR1)
    wait_line(sandbox.log("web"), "got USR1")
    gate.write_text("go\n", encoding="ascii")
    assert sandbox.collect(stop).expect(0).one["drained"] is True
    got = [line.split()[1] for line in lines(sandbox.log("web")) if line.startswith("got ")]
    assert got == ["USR1", "TERM", "CONT"]


# -- the service meanwhile


def test_a_service_that_dies_while_it_is_drained_is_no_longer_asked(sandbox: Sandbox) -> None:
    asked = sandbox.tmp / "asked"
    drain = {"command": sh(f"{announce(asked)}; {DEAF}"), "interval": 300, "timeout": 600}
    pid = started(sandbox, drain=drain)
    pidfd = sandbox.reaper.adopt(pid)
    stop = sandbox.ctl_popen("stop", "web", "--json")
    probe = sandbox.reaper.adopt(int(wait_file(asked)))
    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    outcome = sandbox.collect(stop).expect(0).one
    wait_gone(probe)
    assert (outcome["after"], outcome["reason"], outcome["signals"]) == ("stopped", "stopped", [])
    assert outcome["drained"] is not True
    assert_nothing_left(sandbox, pid)


def test_a_service_that_dies_between_two_questions_is_no_longer_asked(sandbox: Sandbox) -> None:
    """Also where it dies after ctl has last looked and before it pauses: ctl is held as it says that it will."""
    asked = sandbox.tmp / "asked"
    pid = started(sandbox, drain={"command": sh(f"{announce(asked)}; exit 1"), "interval": 600, "timeout": 600})
    pidfd = sandbox.reaper.adopt(pid)
    reader, writer = os.pipe()
    with open(reader, "rb", buffering=0):
        room = fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
        os.write(writer, b" " * (room - len("ctl: web: draining, at most 600 s\n")))
        stop = sandbox.ctl_popen("stop", "web", "--json", "--verbose", stderr=writer)
        os.close(writer)
        wait_file(asked)
        wait_until(lambda: in_a_call_on(stop.pid, 2), "ctl waits to say that it is not drained")
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        wait_gone(pidfd)
        Lines(reader).wait("not drained yet: command sh: exit status 1")
        assert sandbox.collect(stop).expect(0).one["after"] == "stopped"
    assert_nothing_left(sandbox, pid)


def in_a_call_on(pid: int, fd: int) -> bool:
    """Whether the process waits in a system call whose first argument is this descriptor, proc(5)."""
    return Path(f"/proc/{pid}/syscall").read_text(encoding="ascii").split()[1:2] == [hex(fd)]


def test_one_of_two_main_processes_that_dies_does_not_silence_the_probe(sandbox: Sandbox) -> None:
    """The first question kills one of them and says no; the probe is then asked in peace, and says yes."""
    word = f"twin-{sandbox.reaper.mark}"
    one, two = (sandbox.reaper.start(sandbox.programs("recorder", "-", word)) for _ in range(2))
    asked = sandbox.tmp / "asked"
    first = f'test $(wc -l <"$0") -gt 1 || {{ kill -KILL {one.pid}; exit 1; }}'
    probe = sh(f'echo asked >>"$0"; {first}; sleep 0.1; echo yes >>"$0"', asked)
    sandbox.define("web", {
        "match": {"cmdline": f"recorder.*{word}", "max": 2},
        "stop": {"schedule": "TERM/0.1/KILL/5"},
        "drain": {"command": probe, "interval": 0.1, "timeout": 6},
    })  # fmt: skip
    result = sandbox.ctl("stop", "web", "--json").expect(0)
    one.wait()
    two.wait()
    assert lines(asked)[-1:] == ["yes"], f"asked {len(lines(asked))} times"
    assert result.one["drained"] is True


def in_hook(sandbox: Sandbox, where: str, text: str, at: Path) -> Json:
    """The tables of a definition with a probe or hook that says where it is, and then goes on."""
    return surrounded(where, sh(f"{announce(at)}; {text}"), 600)


@pytest.mark.parametrize("where", ["before", "drain"])
@pytest.mark.parametrize("text", [FOREVER, DEAF], ids=["hangs", "deaf"])
def test_kill_cuts_a_drain_and_a_hook_short(sandbox: Sandbox, where: str, text: str) -> None:
    at = sandbox.tmp / "at"
    pid = started(sandbox, "ignorer", **in_hook(sandbox, where, text, at))
    pidfd = sandbox.reaper.adopt(pid)
    stop = sandbox.ctl_popen("stop", "web", "--json")
    probe = sandbox.reaper.adopt(int(wait_file(at)))
    killed = sandbox.ctl("kill", "web", "--json", timeout=20).expect(0).one
    wait_gone(pidfd, 0)
    wait_gone(probe, 10)
    assert (killed["reason"], killed["after"], killed["pid"]) == ("killed", "stopped", pid)
    assert [(sent["pid"], sent["signal"]) for sent in killed["signals"] if sent["pid"] == pid] == [(pid, "KILL")]
    assert killed["duration_s"] < LITTLE
    result = sandbox.collect(stop)
    assert result.rc in ((0,) if where == "drain" else (0, 1)), str(result)
    assert "Traceback" not in result.stderr
    assert (result.one["after"], result.one["drained"], result.one["signals"]) == ("stopped", None, [])
    assert_nothing_left(sandbox, pid)
    assert sandbox.ctl("status", "web", "--json").expect(3).one["state"] == "stopped"


def test_kill_of_an_adopted_service_ends_the_stop_that_runs_a_hook(sandbox: Sandbox) -> None:
    """No run id tells whose hook it is, as ctl did not start it: it has its time, and the stop then ends."""
    word, at = f"found-{sandbox.reaper.mark}", sandbox.tmp / "at"
    process = sandbox.reaper.start(sandbox.programs("recorder", "-", word))
    sandbox.define("web", {
        "match": {"cmdline": f"recorder.*{word}"},
        "stop": {"before": [{"command": sh(f"{announce(at)}; {DEAF}"), "timeout": 3}]},
    })  # fmt: skip
    stop = sandbox.ctl_popen("stop", "web", "--json")
    wait_file(at)
    sandbox.ctl("kill", "web").expect(0)
    assert process.wait(0) == -signal.SIGKILL
    result = sandbox.collect(stop)
    assert result.rc in (0, 1)
    assert result.one["after"] == "stopped"
    assert marked(sandbox) == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["INT", "TERM"])
@pytest.mark.parametrize("where", ["before", "drain"])
def test_an_interrupted_drain_leaves_the_service_running(
    sandbox: Sandbox, where: str, number: signal.Signals, code: int
) -> None:
    at = sandbox.tmp / "at"
    pid = started(sandbox, **in_hook(sandbox, where, DEAF, at))
    with Terminal(
        sandbox.reaper, [CTL, "stop", "web"], sandbox.environment({"NO_COLOR": "1"}), columns=500
    ) as terminal:
        probe = sandbox.reaper.adopt(int(wait_file(at)))
        if number == signal.SIGINT:
            terminal.interrupt()
        else:
            terminal.process.signal(number)
        assert terminal.wait() == code
        assert "ctl: web: interrupted" in terminal.screen
        assert "Traceback" not in terminal.screen
    wait_gone(probe, 0)
    assert sandbox.ctl("status", "web", "--json").expect(0).one["pid"] == pid
    sandbox.service("web", "polite")
    stopped(sandbox, pid)


def test_an_interrupted_after_hook_leaves_no_file_of_the_stopped_service(sandbox: Sandbox) -> None:
    at = sandbox.tmp / "at"
    pid = started(sandbox, **in_hook(sandbox, "after", DEAF, at))
    stop = sandbox.ctl_popen("stop", "web", "--json")
    probe = sandbox.reaper.adopt(int(wait_file(at)))
    stop.signal(signal.SIGINT)
    outcome = sandbox.collect(stop).expect(130).one
    wait_gone(probe, 0)
    assert (outcome["after"], outcome["changed"]) == ("stopped", True)
    assert_nothing_left(sandbox, pid)


@pytest.mark.parametrize("where", ["before", "drain"])
@pytest.mark.parametrize("verb", ["stop", "kill"])
def test_what_a_ctl_that_was_killed_has_left_is_ended_by_the_next(sandbox: Sandbox, where: str, verb: str) -> None:
    at = sandbox.tmp / "at"
    pid = started(sandbox, **in_hook(sandbox, where, DEAF, at))
    stop = sandbox.ctl_popen("stop", "web")
    probe = sandbox.reaper.adopt(int(wait_file(at)))
    stop.signal(signal.SIGKILL)
    stop.wait()
    sandbox.service("web", "polite", stop={"schedule": "TERM/0.3/KILL/5"})
    stopped(sandbox, pid, verb=verb)
    wait_gone(probe, 0)


# -- hooks


def appends(log: Path, word: str) -> list[str]:
    return sh('echo "$1" >>"$0"', log, word)


def ordered(sandbox: Sandbox, log: Path) -> Json:
    """The tables of a definition in which everything around the stop says when it ran."""
    return {
        "stop": {
            "before": [appends(log, "before {target} 1"), {"command": appends(log, "before {name} 2"), "timeout": 9}],
            "after": [appends(log, "after {target} 1"), appends(log, "after {target} 2")],
        },
        "drain": {"command": appends(log, "drain {target}")},
    }


ORDER = ["before web 1", "before web 2", "drain web", "got TERM", "after web 1", "after web 2"]


def writes_when_told(log: Path) -> list[str]:
    """A service that ends on TERM and says so in the same file as the hooks."""
    return sh(f"""trap 'echo got TERM >>{shlex.quote(str(log))}; exit 0' TERM; echo "ready (pid: $$)"
        while :; do sleep 600 & wait; done""")


@pytest.mark.parametrize("verb", ["stop", "restart"])
def test_before_then_drain_then_signal_then_after(sandbox: Sandbox, verb: str) -> None:
    log = sandbox.tmp / "order"
    pid = started(sandbox, start={"command": writes_when_told(log)}, **ordered(sandbox, log))
    result = sandbox.ctl(verb, "web", "--json").expect(0)
    assert lines(log) == ORDER
    assert (result.one["drained"], result.one["errors"]) == (True, [])
    assert not proc.alive(pid)
    sandbox.ctl("kill", "web").expect(0)
    assert lines(log) == ORDER, "kill ran hooks"


def test_a_stopped_service_runs_no_hook(sandbox: Sandbox) -> None:
    log = sandbox.tmp / "order"
    sandbox.service("web", "polite", **ordered(sandbox, log))
    assert sandbox.ctl("stop", "web", "--json").expect(0).one["reason"] == "already_stopped"
    sandbox.ctl("start", "web").expect(0)
    sandbox.ctl("kill", "web").expect(0)
    assert sandbox.ctl("stop", "web", "--json").expect(0).one["reason"] == "already_stopped"
    sandbox.ctl("restart", "web").expect(0)
    assert lines(log) == []


@pytest.mark.parametrize("verb", ["stop", "restart", "kill"])
def test_a_dry_run_tells_all_of_it_and_does_nothing(sandbox: Sandbox, verb: str) -> None:
    log = sandbox.tmp / "order"
    tables = ordered(sandbox, log)
    tables["drain"]["timeout"] = 70
    pid = started(sandbox, **tables)
    plan = sandbox.ctl(verb, "web", "--dry-run", "--json").expect(0).one["plan"]
    kinds = [step.partition(":")[0].split(" ")[0] for step in plan["steps"]]
    if verb == "kill":
        assert kinds == ["KILL"]
        assert plan["longest_s"] == 5
    else:
        assert kinds[:7] == ["stop.before", "stop.before", "drain,", "TERM", "KILL", "then", "stop.after"]
        assert kinds[7] == "stop.after"
        assert plan["longest_s"] >= 30 + 9 + 70 + 5 + 5 + 30 + 30
    assert lines(log) == []
    assert proc.alive(pid)


@pytest.mark.parametrize("where", ["before", "after"])
def test_a_hook_that_fails_keeps_no_other_from_running(sandbox: Sandbox, where: str) -> None:
    log = sandbox.tmp / "order"
    tables = ordered(sandbox, log)
    tables["stop"][where].insert(1, sh("echo could not; exit 3"))
    pid = started(sandbox, start={"command": writes_when_told(log)}, **tables)
    outcome = stopped(sandbox, pid, rc=1)
    assert lines(log) == ORDER
    assert (outcome["reason"], outcome["drained"], outcome["changed"]) == ("hook_failed", True, True)
    assert whats(outcome) == ["command sh: exit status 3: could not"]
    assert outcome["errors"][0]["where"].endswith(f"stop.{where}[1]")


@pytest.mark.parametrize("where", ["before", "after"])
def test_a_restart_starts_again_also_when_a_hook_fails(sandbox: Sandbox, where: str) -> None:
    pid = started(sandbox, **surrounded(where, ["false"], 5))
    outcome = sandbox.ctl("restart", "web", "--json").expect(1).one
    assert [error["reason"] for error in outcome["errors"]] == ["hook_failed"]
    assert not proc.alive(pid)
    assert sandbox.ctl("status", "web", "--json").expect(0).one["pid"] != pid, "the service was left down"


def surroundings(path: Path) -> list[str]:
    """A hook that writes down what it runs in, as /proc shows it.

    It reads its status itself: dash(1) blocks all signals while it starts a program, such as one to read it.
    """
    return sh(
        """while read -r line; do echo "$line"; done </proc/$$/status >"$0.status"; cat /proc/$$/environ >"$0.environ"
        ls -l /proc/$$/fd >"$0.fd"; pwd >"$0.pwd"; umask >"$0.umask"; ps -o sid= -p $$ >"$0.sid"; echo $$ >"$0.pid" """,
        path,
    )


@pytest.mark.parametrize("where", PROBES)
def test_it_runs_as_the_service_does_and_not_as_the_service(sandbox: Sandbox, where: str) -> None:
    requires_root()
    seen = sandbox.tmp / "seen"
    work = sandbox.tmp / "work"
    work.mkdir()
    start = {
        "user": "nobody", "directory": str(work), "umask": "027", "environment": {"COLOUR": "green"},
    }  # fmt: skip
    sandbox.log_dir.chmod(0o777)
    pid = started(sandbox, start=start, **surrounded(where, surroundings(seen), 10))
    run_id = proc.environment(pid)["CTL_RUN_ID"]
    sandbox.ctl("stop", "web", env={"SECRET": "of the caller"}).expect(0)

    environment = dict(item.split("=", 1) for item in seen.with_suffix(".environ").read_text().split("\0") if item)
    assert environment["COLOUR"] == "green"
    assert environment["USER"] == "nobody"
    assert environment["CTL_RUN_ID"] == run_id
    assert "CTL_TARGET" not in environment
    assert "SECRET" not in environment
    status = dict(line.split(":\t", 1) for line in lines(seen.with_suffix(".status")) if ":\t" in line)
    assert status["Uid"].split() == [str(NOBODY_UID)] * 4
    assert status["Gid"].split() == [str(NOBODY_UID)] * 4
    assert "0" not in status["Groups"].split()
    assert lines(seen.with_suffix(".pwd")) == [str(work)]
    assert int(lines(seen.with_suffix(".umask"))[0], 8) == 0o027
    assert lines(seen.with_suffix(".sid"))[0].strip() == lines(seen.with_suffix(".pid"))[0], "not in its own session"
    held = [line for line in lines(seen.with_suffix(".fd")) if "->" in line]
    assert not [line for line in held if str(sandbox.run_dir) in line], "it holds the lock"
    assert len(held) <= 4, held  # 0, 1, 2 and what the shell reads
    assert int(status["SigIgn"], 16) == 0, "it ignores signals that nobody asked it to ignore"
    assert int(status["SigBlk"], 16) == 0


@pytest.mark.parametrize("hooks", [False, True], ids=["without hooks", "with hooks"])
def test_what_may_not_be_run_as_its_user_keeps_nobody_from_stopping(plain_sandbox: Sandbox, hooks: bool) -> None:
    """A plain user stops a process of their own, whose definition says that it is root's to start."""
    sandbox = plain_sandbox
    word = f"mine-{sandbox.reaper.mark}"
    process = sandbox.reaper.start([*sandbox.programs("idle"), word], user=sandbox.owner)
    definition: dict[str, Any] = {
        "start": {"command": sandbox.programs("idle"), "user": "root"},
        "match": {"cmdline": f"idle.*{word}", "user": str(sandbox.owner)},
    }
    if hooks:
        definition["stop"] = {"before": [["true"]], "after": [["true"]]}
        definition["drain"] = {"command": ["true"], "timeout": 1}
    sandbox.define("web", definition)
    result = sandbox.ctl("stop", "web", "--json")
    assert not process.alive(), str(result)
    assert result.one["after"] == "stopped"
    assert (result.rc, any("root" in what for what in whats(result.one))) == (1 if hooks else 0, hooks)


def test_its_directory_is_gone(sandbox: Sandbox) -> None:
    work = sandbox.tmp / "work"
    work.mkdir()
    pid = started(sandbox, start={"directory": str(work)}, **surrounded("before", ["true"], 5))
    work.rmdir()
    outcome = stopped(sandbox, pid, rc=1)
    assert (outcome["reason"], len(outcome["errors"])) == ("hook_failed", 1)
    assert str(work) in whats(outcome)[0] or "No such file" in whats(outcome)[0]


def test_many_are_drained_side_by_side(sandbox: Sandbox) -> None:
    """Each waits in its before hook until all of them have come there."""
    names = [f"web{number}" for number in range(12)]
    here = sandbox.tmp / "here"
    here.mkdir()
    meet = sh(f'>"$0/$1"; while [ $(ls "$0" | wc -l) -lt {len(names)} ]; do sleep 0.05; done', here, "{target}")
    for name in names:
        sandbox.service(name, "polite", drain={"command": ["true"]}, stop={"before": [meet], "after": [["true"]]})
    sandbox.ctl("start", *names).expect(0)
    results = sandbox.ctl("stop", *names, "--json").expect(0).by_target
    assert {name: (result["drained"], result["after"]) for name, result in results.items()} == dict.fromkeys(
        names, (True, "stopped")
    )
    assert marked(sandbox) == []


def test_the_last_no_is_shown_while_waiting(sandbox: Sandbox) -> None:
    pid = started(sandbox, drain={"command": sh("echo 3 jobs left >&2; exit 1"), "interval": 0.1, "timeout": 600})
    stop: Process = sandbox.ctl_popen("stop", "web", "--verbose", "--json")
    assert stop.err
    assert stop.err.wait("not drained yet").endswith("command sh: exit status 1: 3 jobs left")
    stop.signal(signal.SIGINT)
    result = sandbox.collect(stop).expect(130)
    document = json.loads(result.stdout)
    assert (document["results"][0]["reason"], document["results"][0]["after"]) == ("interrupted", "running")
    assert proc.alive(pid)
