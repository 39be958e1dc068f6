"""The journal: every line whole and none lost, whoever writes at the same time; and never a reason to fail."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from support.full_dir import full, read_only
from support.programs import Programs
from support.requires import requires_root
from support.sandbox import CTL, NOBODY_UID, PLAIN_UID, ROOT, Sandbox
from support.systemd_host import SystemdHost
from support.waiting import wait_gone, wait_line

Spoil = Callable[[Path], AbstractContextManager[None]]
FULL_AT = 4 * 2**20  # bytes, as in system/journal.py
WRITER = """
import sys, threading
from pathlib import Path
from ctl.system.journal import Journal
log_dir, name, threads, lines, rotated_at = sys.argv[1:]
journal = Journal(Path(log_dir), Path("/run"), "kill", lambda what: print(what, flush=True), int(rotated_at))
def write(thread):
    for number in range(int(lines)):
        journal.note(f"{name}-{thread}", "done", what=f"{number}")
writers = [threading.Thread(target=write, args=(thread,)) for thread in range(int(threads))]
print("ready", flush=True)
sys.stdin.read()
[writer.start() for writer in writers]
[writer.join() for writer in writers]
"""


def journal(sandbox: Sandbox) -> Path:
    return sandbox.log_dir / "events.jsonl"


def written(sandbox: Sandbox) -> list[dict[str, Any]]:
    """Every line of the journal, the oldest first."""
    files = sorted(sandbox.log_dir.glob("events.jsonl*"), reverse=True)
    return [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines() if line]


def write_together(sandbox: Sandbox, *, writers: int, threads: int, lines: int, rotated_at: int) -> None:
    """That many processes, each with one journal and so many threads, begin at the same moment."""
    begin_read, begin = os.pipe()
    processes = [
        sandbox.reaper.start(
            [sys.executable, "-c", WRITER, sandbox.log_dir, f"w{number}", *map(str, (threads, lines, rotated_at))],
            env={"PYTHONPATH": str(ROOT / "lib")}, ready="ready", stdin=begin_read,
        )
        for number in range(writers)
    ]  # fmt: skip
    os.close(begin_read)
    os.close(begin)
    for process in processes:
        assert process.out
        assert process.out.rest() == ["ready"]
        assert process.wait() == 0


# ------------------------------------------------------------------------------------------------------------ many ctls


def test_200_ctls_at_the_moment_of_rotation(sandbox: Sandbox) -> None:
    """The file is nearly full when they begin, and filled up by two more processes that write from threads."""
    filler = json.dumps({"time": "2020-05-01T00:00:00+00:00", "target": "filler", "what": "x" * 1000}) + "\n"
    journal(sandbox).write_text(filler * ((FULL_AT - 30_000) // len(filler)), encoding="ascii")
    sandbox.service("worker@", "polite")
    names = [f"worker@{number}" for number in range(200)]
    with ThreadPoolExecutor(len(names)) as pool:
        calls = [pool.submit(sandbox.ctl, "kill", name) for name in names]
        write_together(sandbox, writers=2, threads=10, lines=3, rotated_at=FULL_AT)
        assert {call.result().rc for call in calls} == {0}
    events = [event for event in written(sandbox) if event["target"] != "filler"]
    assert sorted(event["target"] for event in events if "@" in event["target"]) == sorted(names)
    assert len(events) == len(names) + 2 * 10 * 3
    assert journal(sandbox).with_name("events.jsonl.1").stat().st_size > FULL_AT - 30_000
    assert not journal(sandbox).with_name("events.jsonl.2").exists(), "rotated once"


def test_a_follower_sees_each_event_once_while_it_is_rotated(sandbox: Sandbox) -> None:
    sandbox.service("web", "polite")
    sandbox.ctl("kill", "web").expect(0)
    follower = sandbox.ctl_popen("events", "-f", "--json")
    follower.wait_line("web")
    write_together(sandbox, writers=8, threads=4, lines=8, rotated_at=12_000)  # 4 rotations, none of which discards
    assert len(list(sandbox.log_dir.glob("events.jsonl.*"))) >= 2
    sandbox.ctl("kill", "web").expect(0)
    follower.wait_line("already_stopped")
    follower.signal(signal.SIGINT)
    shown = sandbox.collect(follower)
    assert (shown.rc, shown.stderr) == (130, "")
    keys = [(event["target"], event.get("what")) for line in shown.stdout.splitlines() if (event := json.loads(line))]
    expected = [(f"w{n}-{thread}", str(line)) for n in range(8) for thread in range(4) for line in range(8)]
    assert sorted(keys[1:-1]) == sorted(expected)
    assert len(written(sandbox)) == len(expected) + 2


def test_a_signal_is_told_when_it_is_sent(sandbox: Sandbox) -> None:
    """And not at the end, which a killed ctl does not reach."""
    sandbox.service("web", "ignorer", ready={"log": "^ready"}, stop={"schedule": "TERM/60/KILL/5"})
    pid = sandbox.ctl("start", "web", "--json").expect(0).one["pid"]
    stop = sandbox.ctl_popen("stop", "web")
    wait_line(journal(sandbox), '"signal":"TERM"')
    stop.signal(signal.SIGKILL)
    stop.wait()
    last = written(sandbox)[-1]
    assert (last["verb"], last["event"], last["signal"], last["pid"]) == ("stop", "signal", "TERM", pid)
    assert last["ctl_pid"] == stop.pid


# ------------------------------------------------------------------------------------------------- what is in the way


@contextmanager
def replaced(path: Path, make: Callable[[Path], object]) -> Iterator[None]:
    (path / "events.jsonl").unlink()
    make(path / "events.jsonl")
    yield


def link(path: Path) -> AbstractContextManager[None]:
    (path / "elsewhere").touch()
    return replaced(path, lambda file: file.symlink_to(path / "elsewhere"))


def hard_link(path: Path) -> AbstractContextManager[None]:
    (path / "elsewhere").touch()
    return replaced(path, lambda file: file.hardlink_to(path / "elsewhere"))


def fifo(path: Path) -> AbstractContextManager[None]:
    return replaced(path, os.mkfifo)


def directory(path: Path) -> AbstractContextManager[None]:
    return replaced(path, Path.mkdir)


def anothers(path: Path) -> AbstractContextManager[None]:
    requires_root()

    def make(file: Path) -> None:
        file.touch()
        os.chown(file, NOBODY_UID, NOBODY_UID)

    return replaced(path, make)


SPOILED: list[tuple[Spoil, str]] = [
    (full, "No space left on device"), (read_only, "Read-only file system"), (link, "Too many levels of symbolic"),
    (hard_link, "has another name"), (fifo, "is a fifo"), (directory, "Is a directory"),
    (anothers, "is not to be trusted"),
]  # fmt: skip


@pytest.mark.parametrize(("spoil", "why"), SPOILED, ids=[spoil.__name__ for spoil, _ in SPOILED])
def test_a_stop_goes_on_without_it(sandbox: Sandbox, spoil: Spoil, why: str) -> None:
    sandbox.service("web", "polite")
    sandbox.ctl("start", "web").expect(0)
    pidfd = sandbox.adopt("web")
    with journal(sandbox).open("ab") as file:  # up to the end of a page, or a full disk would still take a line
        file.write(b"\n" * (-journal(sandbox).stat().st_size % 4096))
    with spoil(sandbox.log_dir):
        stopped = sandbox.ctl("stop", "web", "-v").expect(0)
        wait_gone(pidfd, 1)
        (line,) = [line for line in stopped.stderr.splitlines() if "journal" in line]
        assert line.startswith(f"ctl: the journal cannot be written: {why}")
        assert line.endswith(f"({journal(sandbox)})")
        assert stopped.stdout.startswith("web: stopped, pid")
        assert sandbox.ctl("kill", "web").expect(0).stderr == ""
        if (elsewhere := sandbox.log_dir / "elsewhere").exists():
            assert elsewhere.read_bytes() == b""


def test_what_is_in_the_way_of_rotation_costs_no_line(sandbox: Sandbox) -> None:
    journal(sandbox).write_text("x" * (FULL_AT - 1) + "\n", encoding="ascii")
    (sandbox.log_dir / ".events.jsonl.lock").mkdir()
    sandbox.service("web", "polite")
    sandbox.ctl("kill", "web", "-v").expect(0)
    assert b'"already_stopped"' in journal(sandbox).read_bytes()[FULL_AT:]


def test_a_missing_directory_is_made(sandbox: Sandbox) -> None:
    sandbox.service("web", "polite")
    sandbox.log_dir.rmdir()
    sandbox.ctl("kill", "web", prefix=["sh", "-c", 'umask 0; exec "$@"', "sh"]).expect(0)
    assert written(sandbox)[0]["reason"] == "already_stopped"
    assert (journal(sandbox).stat().st_mode & 0o777, sandbox.log_dir.stat().st_mode & 0o022) == (0o640, 0)


# ----------------------------------------------------------------------------------------------------------- who it was

NOBODY_BEHIND = {"sudo_user", "login_uid", "unit", "ansible"}


def who_of(sandbox: Sandbox) -> dict[str, Any]:
    last = written(sandbox)[-1]
    return {key: last[key] for key in ("uid", "user", *NOBODY_BEHIND) if key in last}


def test_root_or_whoever_runs_it(sandbox: Sandbox) -> None:
    sandbox.service("web", "polite")
    process = sandbox.ctl_popen("kill", "web")
    sandbox.collect(process)
    shown = who_of(sandbox)
    assert shown["uid"] == os.geteuid()
    assert shown["user"] == subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
    assert written(sandbox)[-1]["ctl_pid"] == process.pid


def test_a_plain_user_without_a_name_and_in_a_directory_of_their_own(plain_sandbox: Sandbox) -> None:
    plain_sandbox.service("web", "polite")
    plain_sandbox.configure(run_dir=str(plain_sandbox.run_dir))
    plain_sandbox.ctl("kill", "web").expect(0)
    line = (plain_sandbox.home / ".local/state/ctl/log/events.jsonl").read_text(encoding="utf-8")
    assert f'"uid":{PLAIN_UID},"user":"{PLAIN_UID}",' in line


def test_sudo_and_a_login(sandbox: Sandbox) -> None:
    sandbox.service("web", "polite")
    login = ["sh", "-c", 'echo 54321 2>/dev/null >/proc/self/loginuid || echo none >&2; exec "$@"', "sh"]
    done = sandbox.ctl("kill", "web", env={"SUDO_USER": "anna", "SUDO_UID": "1000"}, prefix=login).expect(0)
    shown = who_of(sandbox)
    assert shown["sudo_user"] == "anna"
    if "none" in done.stderr:
        pytest.skip("needs a kernel with audit, and the right to set the login uid")
    assert shown["login_uid"] == 54321


def test_ansible(sandbox: Sandbox) -> None:
    """A real one, whose command module calls ctl."""
    sandbox.service("web", "polite")
    own = {name: str(sandbox.tmp / name) for name in ("ANSIBLE_HOME", "ANSIBLE_LOCAL_TEMP", "ANSIBLE_REMOTE_TEMP")}
    options = ["-c", "local", "-e", f"ansible_python_interpreter={sys.executable}"]
    sandbox.reaper.start(
        [ROOT / ".venv/bin/ansible", "localhost", *options, "-m", "command", "-a", f"{CTL} kill web"],
        env=sandbox.environment(own), ready="CHANGED", stderr=subprocess.DEVNULL,
    ).wait()  # fmt: skip
    assert who_of(sandbox)["ansible"] == "command"


@pytest.mark.systemd
def test_a_systemd_unit(sandbox: Sandbox, programs: Programs) -> None:
    sandbox.service("web", "polite")
    with SystemdHost([ROOT, sandbox.root, programs.build_dir]) as host:
        environment = f"Environment=CTL_CONF={sandbox.conf} CTL_RUN_DIR={sandbox.run_dir}"
        host.unit("backup.service", f"[Service]\nType=oneshot\n{environment}\nExecStart={CTL} kill web\n")
        assert host.run("systemctl", "start", "backup.service").returncode == 0
    assert who_of(sandbox)["unit"] == "backup.service"
