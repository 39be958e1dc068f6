"""The programs that stand for services do what they say."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from support import proc
from support.bystander import assert_untouched, start_bystander
from support.programs import Programs
from support.reaper import Process, Reaper
from support.requires import requires_root
from support.sandbox import PLAIN_UID
from support.waiting import wait_file, wait_gone, wait_until


def pid_in(line: str) -> int:
    return int(line.partition("pid: ")[2].rstrip(")"))


@pytest.mark.parametrize("name", ["polite", "recorder", "ignorer", "never_ready", "idle", "retitle"])
def test_ready_line_holds_the_pid(reaper: Reaper, programs: Programs, name: str) -> None:
    process = reaper.start(programs(name))
    assert process.out
    assert pid_in(process.out.seen[-1]) == process.pid


def test_a_plain_user_may_run_them(reaper: Reaper, programs: Programs) -> None:
    requires_root()
    for name in ("polite", "idle"):
        assert os.stat(f"/proc/{reaper.start(programs(name), user=PLAIN_UID).pid}").st_uid == PLAIN_UID


def test_ignorer_survives_term_int_hup(reaper: Reaper, programs: Programs) -> None:
    ignorer = reaper.start(programs("ignorer"))
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        ignorer.signal(number)
    assert ignorer.alive()


def test_bystander_knows_whether_it_was_signalled(reaper: Reaper, programs: Programs) -> None:
    bystander = start_bystander(reaper, programs("recorder", "-", "java", "-jar"))
    assert_untouched(bystander)
    assert_untouched(bystander)
    bystander.signal(signal.SIGCONT)
    with pytest.raises(AssertionError, match="CONT"):
        assert_untouched(bystander)
    bystander.signal(signal.SIGKILL)
    wait_gone(bystander.pidfd)
    with pytest.raises(AssertionError, match="killed: -9"):
        assert_untouched(bystander)


def test_slow_stop(reaper: Reaper, programs: Programs) -> None:
    slow = reaper.start(programs("slow_stop", 0.05))
    slow.signal(signal.SIGTERM)
    slow.wait_line("stopping")
    slow.signal(signal.SIGTERM)
    slow.wait_line("stopped")
    assert slow.wait() == 0


def test_wrapper_leaves_its_child(reaper: Reaper, programs: Programs, tmp_path: Path) -> None:
    wrapper = reaper.start(programs("wrapper", tmp_path / "child"))
    child = int(wait_file(tmp_path / "child"))
    assert proc.parent(child) == wrapper.pid
    pidfd = reaper.adopt(child)
    signal.pidfd_send_signal(pidfd, signal.SIGTERM)
    wrapper.signal(signal.SIGTERM)
    assert wrapper.wait() == -signal.SIGTERM
    assert proc.alive(child)


def test_escapee_has_left_session_and_parent(reaper: Reaper, programs: Programs, tmp_path: Path) -> None:
    main = reaper.start(programs("escapee", tmp_path / "pid"))
    escapee = int(wait_file(tmp_path / "pid"))
    assert proc.parent(escapee) != main.pid
    assert proc.session(escapee) != proc.session(main.pid)


def test_forker(reaper: Reaper, programs: Programs, tmp_path: Path) -> None:
    command = reaper.start(programs("forker", "--pidfile", tmp_path / "pid"))
    assert command.wait() == 0
    daemon = int(wait_file(tmp_path / "pid"))
    assert proc.alive(daemon)
    assert reaper.start(programs("forker", "--no-pidfile")).wait() == 0


@pytest.mark.parametrize("options", [[], ["--mainpid"]])
def test_notifier(reaper: Reaper, programs: Programs, tmp_path: Path, options: list[str]) -> None:
    os.mkfifo(tmp_path / "trigger")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "notify"))
        receiver.settimeout(20)
        env = {"NOTIFY_SOCKET": str(tmp_path / "notify")}
        notifier = reaper.start(programs("notifier", "--trigger", tmp_path / "trigger", *options), env=env)
        assert b"STATUS=" in receiver.recv(4096)
        (tmp_path / "trigger").write_text("go", encoding="ascii")
        message = receiver.recv(4096).decode().split("\n")
    assert message[0] == "READY=1"
    assert len(message) == (2 if options else 1)
    if options:
        main = int(message[1].removeprefix("MAINPID="))
        assert proc.parent(main) == notifier.pid


def test_crash(reaper: Reaper, programs: Programs) -> None:
    crash = reaper.start(programs("crash", 3, 2), ready=None, stderr=subprocess.PIPE)
    assert crash.wait() == 3
    assert crash.err
    assert crash.err.rest() == ["line 2 before the end", "fatal: cannot go on"]


def test_spew(reaper: Reaper, programs: Programs, tmp_path: Path) -> None:
    with open(tmp_path / "out", "wb") as out:
        spew = reaper.start(programs("spew", 2), stdout=out)
    wait_until(lambda: (tmp_path / "out").stat().st_size > 2 * 1024 * 1024, "two megabytes and a ready line")
    assert spew.alive()


def test_retitle(reaper: Reaper, programs: Programs) -> None:
    retitle = reaper.start(programs("retitle", "worker: idle"))
    assert proc.argv(retitle.pid)[0].startswith("worker: idle")
    comm = Path(f"/proc/{retitle.pid}/comm").read_text(encoding="utf-8")
    assert comm == "worker: idle\n"


def test_listener(reaper: Reaper, programs: Programs, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "gate")
    files = ["--gate", tmp_path / "gate", "--port-file", tmp_path / "port"]
    listener = reaper.start(programs("listener", *files))
    (tmp_path / "gate").write_text("go", encoding="ascii")
    url = f"http://127.0.0.1:{int(wait_file(tmp_path / 'port'))}/"

    def answer() -> int:
        try:
            with urllib.request.urlopen(url) as response:
                return int(response.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code

    assert answer() == 200
    listener.signal(signal.SIGUSR1)
    listener.wait_line("unhealthy")
    assert answer() == 503
    listener.signal(signal.SIGUSR1)
    listener.wait_line("healthy")
    assert answer() == 200


def test_env_dump(reaper: Reaper, programs: Programs, tmp_path: Path) -> None:
    dump = reaper.start(programs("env_dump", tmp_path / "seen"), env={"A": "b"}, cwd=tmp_path, umask=0o027)
    seen = json.loads(wait_file(tmp_path / "seen"))
    assert seen["pid"] == dump.pid
    assert seen["environ"]["A"] == "b"
    assert (seen["umask"], seen["cwd"], seen["uids"][0]) == (0o027, str(tmp_path), os.getuid())
    assert set(seen["fds"]) == {"0", "1", "2"}
    assert seen["blocked"] == []
    assert "TERM" not in seen["ignored"]


def test_zombie_maker(reaper: Reaper, programs: Programs) -> None:
    parent = reaper.start(programs("zombie_maker"), ready="zombie")
    assert parent.out
    zombie = pid_in(parent.out.seen[0])
    assert proc.state(zombie) == "Z"
    assert not proc.alive(zombie)
    assert not proc.alive_for_psutil(zombie)


def test_stopped_ends_on_term_only_after_cont(reaper: Reaper, programs: Programs) -> None:
    stopped = reaper.start(programs("stopped"))
    wait_until(lambda: proc.state(stopped.pid) == "T", "it has stopped")
    stopped.signal(signal.SIGTERM)
    assert stopped.alive()
    stopped.signal(signal.SIGCONT)
    stopped.wait_line("ended")
    assert stopped.wait() == 0


def test_tree(reaper: Reaper, programs: Programs) -> None:
    def grown(process: Process) -> int:
        own = proc.session(process.pid)
        return len([pid for pid in proc.pids() if (fields := proc.stat(pid)) and int(fields[3]) == own])

    tree = reaper.start(programs("tree", "--ignore-term", 2, 2), start_new_session=True)
    assert grown(tree) == 7
