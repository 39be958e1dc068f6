"""Directories that other users may change, one call at a time: the races are closer here than through the command."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path

import pytest

from ctl.model.errors import CtlError
from ctl.model.program import Account
from ctl.system.files.acting import acting_as
from ctl.system.files.places import enter
from ctl.system.logfile import open_log, tail
from ctl.system.pid_files import remove_pid_file
from support.full_dir import read_only
from support.programs import Programs
from support.reaper import Reaper
from support.requires import requires_root
from support.sandbox import NOBODY_UID, Sandbox

NOBODY = Account(NOBODY_UID, NOBODY_UID, (NOBODY_UID,), "nobody", "/", "/bin/sh")


@pytest.fixture(autouse=True)
def _as_root() -> None:
    requires_root()


def made(directory: Path, owner: int, mode: int = 0o755) -> Path:
    directory.mkdir()
    os.chown(directory, owner, owner)
    directory.chmod(mode)
    return directory


def status(name: str) -> list[str]:
    """What the kernel says of this thread."""
    lines = Path(f"/proc/self/task/{threading.get_native_id()}/status").read_text(encoding="ascii").splitlines()
    return next(line for line in lines if line.startswith(f"{name}:")).split()[1:]


def test_a_thread_acts_as_another_user_and_no_other_thread_does() -> None:
    before = {name: status(name) for name in ("Uid", "Gid", "Groups", "CapEff")}
    others: list[str] = []
    with acting_as(NOBODY):
        assert status("Uid") == ["0", "0", "0", str(NOBODY_UID)]
        assert status("Gid")[3] == str(NOBODY_UID)
        assert status("Groups") == [str(NOBODY_UID)]
        assert int(status("CapEff")[0], 16) & 0b1111 == 0, "it still overrides permissions"
        main = Path("/proc/self/task").iterdir()
        others = [
            line
            for task in main
            if task.name != str(threading.get_native_id())
            for line in (task / "status").read_text(encoding="ascii").splitlines()
            if line.startswith("Uid:")
        ]
    assert {name: status(name) for name in before} == before
    assert all(line.split()[1:] == ["0"] * 4 for line in others)


def test_another_thread_stays_root_meanwhile(tmp_path: Path) -> None:
    """The C library's functions would change them all."""
    secret = tmp_path / "secret"
    secret.write_text("root's\n", encoding="ascii")
    secret.chmod(0o600)
    within, asked = threading.Event(), threading.Event()
    seen: list[str] = []

    def ask() -> None:
        assert within.wait(10)
        seen.append(secret.read_text(encoding="ascii"))
        asked.set()

    thread = threading.Thread(target=ask)
    thread.start()
    with acting_as(NOBODY):
        within.set()
        assert asked.wait(10)
        with pytest.raises(PermissionError):
            secret.read_text(encoding="ascii")
    thread.join()
    assert seen == ["root's\n"]


def test_ctl_is_not_hidden_from_others_afterwards() -> None:
    """A process whose user has changed is not dumpable, prctl(2): in a container other ctls could not look at it."""
    import ctypes

    prctl = ctypes.CDLL(None).prctl
    assert prctl(3, 0, 0, 0, 0) == 1
    with acting_as(NOBODY):
        pass
    assert prctl(3, 0, 0, 0, 0) == 1


@pytest.mark.parametrize("what", ["directory", "file"])
def test_what_is_turned_between_two_steps_leads_nowhere(
    public_dir: Path, reaper: Reaper, programs: Programs, what: str
) -> None:
    home = made(public_dir / "svc", NOBODY_UID)
    logs, victim = made(home / "logs", NOBODY_UID), made(public_dir / "victim", 0, 0o700)
    for name in ("web.log", "web.pid"):
        (victim / name).write_text(f"{os.getpid()}\n", encoding="ascii")
    if what == "directory":
        (home / "evil").symlink_to(victim)
        turned = "exchange", logs, home / "evil"
    else:
        turned = "replace", logs / "web.log", victim / "web.log"
    before = [(path.name, path.stat()) for path in sorted(victim.iterdir())]
    reaper.start(programs("turner", *turned), user=NOBODY_UID)
    outcomes: set[str] = set()
    for number in range(100000):
        if number > 500 and len(outcomes) == 2:
            break
        try:
            with open_log(logs / "web.log", 2, NOBODY) as log:
                os.write(log.fd, b"x\n")
            outcomes.add("written")
        except CtlError:
            outcomes.add("refused")
        assert str(os.getpid()) not in "".join(tail(logs / "web.log", 5, 0, NOBODY))
        remove_pid_file(logs / "web.pid", NOBODY, os.getpid())
    assert outcomes == {"written", "refused"}, "nothing was turned meanwhile"
    after = [(path.name, path.stat()) for path in sorted(victim.iterdir())]
    assert [(name, found[:7], found.st_mtime_ns) for name, found in after] == [
        (name, found[:7], found.st_mtime_ns) for name, found in before
    ]


def test_a_link_in_a_sticky_directory_is_followed_if_it_is_roots(public_dir: Path) -> None:
    sticky = made(public_dir / "sticky", 0, 0o1777)
    made(public_dir / "there", 0)
    (sticky / "roots").symlink_to(public_dir / "there")
    (sticky / "anothers").symlink_to(public_dir / "there")
    os.chown(sticky / "anothers", NOBODY_UID, NOBODY_UID, follow_symlinks=False)
    with enter(sticky / "roots") as place:
        assert place.actor is None
    with pytest.raises(OSError, match="symbolic link"):
        enter(sticky / "anothers")


def test_no_descriptor_is_left_open(public_dir: Path) -> None:
    (public_dir / "loop").symlink_to("loop")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for path in (public_dir, public_dir / "loop", public_dir / "none" / "x", Path("/dev/null/x"), Path("/")):
        with contextlib.suppress(OSError):
            enter(path).__exit__()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


# -- a log that is no file


@pytest.mark.parametrize(("log", "told"), [("/dev/stdout", "out"), ("/proc/self/fd/2", "err"), ("/dev/null", "")])
def test_a_service_may_write_to_what_ctl_writes_to(sandbox: Sandbox, log: str, told: str) -> None:
    script = "echo hello; exec sleep 600 >/dev/null 2>&1"
    start = {"command": ["/bin/sh", "-c", script], "log": log, "user": "nobody"}
    sandbox.define("web", {"start": start, "ready": {"settle": 0.2}, "stop": {"schedule": "KILL/5"}})
    sandbox.define("other", {"start": start, "ready": {"settle": 0.2}})
    sandbox.ctl("check").expect(0)
    for verb in ("start", "restart"):
        done = sandbox.ctl(verb, "web").expect(0)
        assert ("hello\n" in done.stdout, "hello\n" in done.stderr) == (told == "out", told == "err")
    unread = f"ctl: web: its log is not kept: what is written there cannot be read again ({log})\n"
    assert sandbox.ctl("logs", "web").expect(1).stderr == unread


def test_what_is_not_kept_tells_no_readiness(sandbox: Sandbox) -> None:
    sandbox.service("web", "polite", start={"log": "/dev/null"})
    for verb in ("start", "restart"):
        failed = sandbox.ctl(verb, "web").expect(6)
        assert "what is written to /dev/null cannot be read, as ready.log needs it" in failed.stderr
    assert sandbox.running("web") == []


# -- what start needs of the log, before anything is stopped


@pytest.mark.parametrize("kind", ["a directory", "a link", "read-only", "another's", "a file above it"])
def test_restart_looks_at_the_log_before_it_stops(sandbox: Sandbox, kind: str) -> None:
    sandbox.service("web", "polite")
    pid = sandbox.ctl("start", "web", "--json").expect(0).one["pid"]
    log = sandbox.log("web")
    with contextlib.ExitStack() as spoiled:
        if kind == "a directory":
            log.unlink()
            log.mkdir()
        elif kind == "a link":
            log.unlink()
            log.symlink_to("nothing")
        elif kind == "read-only":
            spoiled.enter_context(read_only(sandbox.log_dir))
        elif kind == "another's":
            os.chown(log, NOBODY_UID, NOBODY_UID)
        else:
            (sandbox.root / "file").touch()
            sandbox.service("web", "polite", start={"log": str(sandbox.root / "file" / "web.log")})
        for arguments in (("restart",), ("restart", "--dry-run"), ("start", "--dry-run")):
            failed = sandbox.ctl(arguments[0], "web", *arguments[1:])
            if arguments[0] == "restart":
                assert "log" in failed.expect(1).stderr
            assert sandbox.running("web") == [pid]
