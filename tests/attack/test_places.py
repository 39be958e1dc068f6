"""Unprivileged users against root's ctl: files and directories of theirs that its definitions name."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from support.requires import requires_root
from support.sandbox import NOBODY_UID, Sandbox

DAEMON_UID = 1
SECRET = "only-root-may-read-this"
REMOVE = "to fix: remove it, or name another in start.log"


@pytest.fixture(autouse=True)
def _as_root() -> None:
    requires_root()


@pytest.fixture
def home(sandbox: Sandbox) -> Path:
    """A directory of the service's user, nobody."""
    return made(sandbox.root / "svc", NOBODY_UID)


@pytest.fixture
def victim(sandbox: Sandbox) -> Path:
    """A directory that only root may enter, with a log of root's."""
    directory = made(sandbox.root / "victim", 0, 0o700)
    for name in ("web.log", "web.log.1", "web.pid"):
        secret(directory / name)
    return directory


def made(directory: Path, owner: int, mode: int = 0o755) -> Path:
    directory.mkdir()
    os.chown(directory, owner, owner)
    directory.chmod(mode)
    return directory


def secret(file: Path) -> Path:
    file.write_text(f"{SECRET}\n", encoding="ascii")
    file.chmod(0o600)
    return file


def seen(directory: Path) -> dict[str, tuple[int, ...]]:
    """All that could have become of what is in there."""
    return {
        path.name: (found.st_ino, found.st_mode, found.st_uid, found.st_gid, found.st_size, found.st_mtime_ns)
        for path in sorted(directory.iterdir())
        for found in [path.lstat()]
    }


def define(sandbox: Sandbox, log: Path, script: str = "exec sleep 600", **tables: Mapping[str, Any]) -> None:
    start = {"command": ["/bin/sh", "-c", script], "user": "nobody", "log": str(log)}
    start |= tables.get("start", {})
    defaults = {"ready": {"settle": 0.02}, "stop": {"schedule": "KILL/5"}}
    sandbox.define("web", {**defaults, **tables, "start": start})


# -- the log is written


def test_a_root_owned_file_in_the_users_directory_is_not_given_away(sandbox: Sandbox, home: Path) -> None:
    log = secret(home / "web.log")
    define(sandbox, log)
    before = seen(home)
    failed = sandbox.ctl("start", "web").expect(1)
    assert failed.stderr == (f"ctl: web: the log belongs to root, not to nobody (start.log = {log}); {REMOVE}\n")
    assert seen(home) == before
    assert sandbox.running("web") == []


def test_another_users_log_is_refused(sandbox: Sandbox) -> None:
    log = secret(sandbox.log("web"))
    os.chown(log, DAEMON_UID, DAEMON_UID)
    define(sandbox, log)
    before = seen(sandbox.log_dir)
    failed = sandbox.ctl("start", "web").expect(1)
    assert failed.stderr == (
        f"ctl: web: the log belongs to daemon, not to nobody or root (start.log = {log}); {REMOVE}\n"
    )
    assert {**seen(sandbox.log_dir), "events.jsonl": before.get("events.jsonl")} == {**before, "events.jsonl": None}


@pytest.mark.parametrize("above", [False, True], ids=["its directory", "one above"])
def test_no_log_is_made_through_a_link_of_the_user(sandbox: Sandbox, home: Path, victim: Path, above: bool) -> None:
    (home / "logs").symlink_to(victim)
    log = home / "logs" / "new" / "web.log" if above else home / "logs" / "web.log"
    define(sandbox, log)
    before = seen(victim)
    failed = sandbox.ctl("start", "web").expect(1)
    assert failed.stderr == (
        "ctl: web: cannot open the log: logs on the way there is a symbolic link that others may have put there "
        f"(start.log = {log})\n"
    )
    assert seen(victim) == before
    assert "[log]" in sandbox.ctl("doctor", "web").expect(1).stdout


def test_missing_directories_are_the_users_own(sandbox: Sandbox, home: Path) -> None:
    log = home / "new" / "deep" / "web.log"
    define(sandbox, log, "echo hello; exec sleep 600")
    sandbox.ctl("start", "web").expect(0)
    assert [path.stat().st_uid for path in (log, log.parent, log.parent.parent)] == [NOBODY_UID] * 3
    sandbox.ctl("restart", "web").expect(0)
    assert log.with_name("web.log.1").read_text(encoding="ascii") == "hello\n"
    assert sandbox.ctl("logs", "web").expect(0).stdout == "hello\nhello\n"


def test_a_directory_that_root_keeps_for_itself_is_used_as_root(sandbox: Sandbox, victim: Path) -> None:
    log = victim / "own" / "web.log"
    define(sandbox, log, "echo hello; exec sleep 600")
    sandbox.ctl("start", "web").expect(0)
    assert (log.stat().st_uid, log.parent.stat().st_uid) == (NOBODY_UID, 0)
    assert sandbox.ctl("logs", "web").expect(0).stdout == "hello\n"


def test_a_place_of_a_third_user_is_that_ones(sandbox: Sandbox) -> None:
    log = made(sandbox.root / "third", DAEMON_UID) / "web.log"
    define(sandbox, log)
    sandbox.ctl("restart", "web").expect(0)
    sandbox.ctl("restart", "web").expect(0)
    assert log.stat().st_uid == DAEMON_UID


def test_the_services_own_directory_in_that_of_another(sandbox: Sandbox) -> None:
    """As a checkout that is deployed by one user, and run by another."""
    logs = made(made(sandbox.root / "app", DAEMON_UID) / "logs", NOBODY_UID)
    define(sandbox, logs / "web.log")
    sandbox.ctl("start", "web").expect(0)
    assert (logs / "web.log").stat().st_uid == NOBODY_UID


def test_a_directory_of_root_that_a_group_may_write_to(sandbox: Sandbox) -> None:
    """As /var/log of some distributions. Links in there are nobody's to follow."""
    shared = made(sandbox.root / "shared", 0, 0o775)
    os.chown(shared, 0, DAEMON_UID)
    for log in (shared / "web.log", made(shared / "below", 0) / "web.log"):
        define(sandbox, log, "echo hello; exec sleep 600")
        sandbox.ctl("restart", "web").expect(0)
        assert log.stat().st_uid == NOBODY_UID
        assert sandbox.ctl("logs", "web").expect(0).stdout == "hello\n"
    (shared / "link").symlink_to("below")
    define(sandbox, shared / "link" / "web.log")
    assert "is a symbolic link" in sandbox.ctl("restart", "web").expect(1).stderr


def test_roots_own_links_are_followed(sandbox: Sandbox) -> None:
    (sandbox.root / "there").symlink_to("log")
    (sandbox.root / "again").symlink_to(sandbox.root / "there")
    define(sandbox, sandbox.root / "again" / "web.log", "echo hello; exec sleep 600")
    sandbox.ctl("start", "web").expect(0)
    assert sandbox.ctl("logs", "web").expect(0).stdout == "hello\n"
    assert sandbox.log("web").exists()


# -- the log is read


@pytest.mark.parametrize(
    "evil",
    ["ln -sf VICTIM/web.log LOG", "rm LOG; mkfifo LOG", "rm LOG; ln -s /dev/zero LOG", "rm LOG; mkdir LOG",
     "rm -r ../svc/logs; ln -s VICTIM ../svc/logs"],
    ids=["link", "fifo", "device", "directory", "linked directory"],
)  # fmt: skip
@pytest.mark.parametrize("ready", [{"settle": 5}, {"log": "ready|only-root", "timeout": 0.5}], ids=["settle", "log"])
def test_what_takes_the_place_of_a_log_is_not_read(
    sandbox: Sandbox, home: Path, victim: Path, evil: str, ready: dict[str, object]
) -> None:
    log = made(home / "logs", NOBODY_UID) / "web.log"
    script = f"cd {home}; {evil.replace('VICTIM', str(victim)).replace('LOG', str(log))}; exit 3"
    define(sandbox, log, script, ready=ready)
    failed = sandbox.ctl("start", "web", timeout=20).expect(151)
    assert "exited with status 3 while starting" in failed.stderr
    assert SECRET not in failed.stderr
    for how in ((), ("--json",)):
        shown = sandbox.ctl("logs", "web", *how, timeout=20)
        assert SECRET not in shown.stdout + shown.stderr
        assert shown.rc == 1
        assert len(shown.stderr.splitlines()) == 1


def test_what_the_user_could_read_is_read_as_that_user(sandbox: Sandbox, home: Path) -> None:
    """A root-owned file in the user's directory: the service could not read it either."""
    log = home / "web.log"
    define(sandbox, log)
    secret(log)
    assert sandbox.ctl("logs", "web").expect(4).stderr.startswith("ctl: web: its log cannot be read: Permission denied")
    log.chmod(0o644)
    assert sandbox.ctl("logs", "web").expect(0).stdout == f"{SECRET}\n"


# -- the service's own pid file


def test_a_pid_file_is_not_removed_through_a_link_of_the_user(sandbox: Sandbox, home: Path, victim: Path) -> None:
    own = made(home / "run", NOBODY_UID)
    script = f"echo $$ >{own}/web.pid; exec sleep 600"
    define(sandbox, sandbox.log("web"), script, stop={"pid_file": str(own / "web.pid"), "schedule": "KILL/5"})
    sandbox.ctl("start", "web").expect(0)
    (victim / "web.pid").write_text(f"{sandbox.pid('web')}\n", encoding="ascii")
    before = seen(victim)
    own.rename(home / "away")
    own.symlink_to(victim)
    sandbox.ctl("stop", "web").expect(0)
    assert seen(victim) == before
    assert (home / "away" / "web.pid").exists()


def test_the_users_own_pid_file_is_removed(sandbox: Sandbox, home: Path) -> None:
    script = f"echo $$ >{home}/web.pid; exec sleep 600"
    define(sandbox, sandbox.log("web"), script, stop={"pid_file": str(home / "web.pid"), "schedule": "KILL/5"})
    sandbox.ctl("start", "web").expect(0)
    sandbox.ctl("stop", "web").expect(0)
    assert not (home / "web.pid").exists()


# -- the journal


def test_the_journal_is_not_written_through_a_link_of_another_user(sandbox: Sandbox, home: Path, victim: Path) -> None:
    (home / "logs").symlink_to(victim)
    sandbox.configure(run_dir=str(sandbox.run_dir), log_dir=str(home / "logs"))
    define(sandbox, sandbox.root / "log" / "web.log")
    before = seen(victim)
    told = sandbox.ctl("start", "web", "--verbose").expect(0).stderr
    assert "the journal cannot be written: logs on the way there is a symbolic link" in told
    assert seen(victim) == before
    assert sandbox.ctl("events").rc == 1


# -- races


@pytest.mark.timeout(120)
@pytest.mark.parametrize("what", ["directory", "file"])
def test_a_place_that_is_turned_all_the_time_leads_root_nowhere(
    sandbox: Sandbox, home: Path, victim: Path, what: str
) -> None:
    """Each call of ctl meets it as it is at that moment: it may fail, and touches nothing of root's."""
    logs = made(home / "logs", NOBODY_UID)
    if what == "directory":
        (home / "evil").symlink_to(victim)
        turned = "exchange", logs, home / "evil"
    else:
        turned = "replace", logs / "web.log", victim / "web.log"
    sandbox.reaper.start(sandbox.programs("turner", *turned), user=NOBODY_UID)
    pid_file = {"pid_file": str(logs / "web.pid"), "schedule": "KILL/5"}
    define(sandbox, logs / "web.log", "exit 3", ready={"settle": 10}, stop=pid_file)
    before, codes = seen(victim), set()
    for verb in ("start", "logs", "restart", "stop") * 8:
        done = sandbox.ctl(verb, "web", timeout=20)
        assert SECRET not in done.stdout + done.stderr
        codes.add((verb, done.rc))
        assert seen(victim) == before
    assert {rc for verb, rc in codes if verb == "start"} <= {1, 4, 151}


# -- the working directory


@pytest.mark.parametrize("how", ["start", "run", "restart"])
@pytest.mark.parametrize("target", ["victim/open", "victim", "cwd"])
def test_the_service_is_not_taken_where_its_user_could_not_go(
    sandbox: Sandbox, home: Path, victim: Path, how: str, target: str
) -> None:
    """By a link of that user's; /proc/self/cwd would be where root's ctl is."""
    inside = made(victim / "open", 0)
    (home / "work").symlink_to("/proc/self/cwd" if target == "cwd" else sandbox.root / target)
    define(sandbox, sandbox.log("web"), "pwd", start={"directory": str(home / "work")})
    failed = sandbox.ctl(how, "web", cwd=inside).expect(5)
    where = f"{sandbox.services / 'web.toml'}, start.directory"
    why = "Too many levels of symbolic links" if target == "cwd" else "Permission denied"
    assert failed.stderr == f"ctl: web: {home / 'work'} cannot be entered by nobody: {why} ({where})\n"
    assert sandbox.running("web") == []


def test_a_hook_and_a_probe_are_not_taken_there_either(sandbox: Sandbox, home: Path, victim: Path) -> None:
    work = made(home / "work", NOBODY_UID)
    stop = {"schedule": "KILL/5", "before": [["/bin/pwd"]]}
    define(sandbox, sandbox.log("web"), start={"directory": str(work)}, stop=stop)
    sandbox.ctl("start", "web").expect(0)
    made(victim / "open", 0)
    work.rename(home / "away")
    work.symlink_to(victim / "open")
    assert f"cannot be executed in {work}: Permission denied" in sandbox.ctl("stop", "web").expect(1).stderr


def test_links_of_the_user_to_where_it_may_go_are_followed(sandbox: Sandbox, home: Path) -> None:
    made(home / "releases", NOBODY_UID)
    (home / "current").symlink_to("releases")
    define(sandbox, sandbox.log("web"), "pwd -P; exec sleep 600", start={"directory": str(home / "current")})
    sandbox.ctl("start", "web").expect(0)
    assert sandbox.ctl("logs", "web").expect(0).stdout == f"{home / 'releases'}\n"


# -- the run directory


@pytest.mark.parametrize("name", ["web.lock", ".web.lock", "web.json", "web.pid", "web.paused"])
def test_a_fifo_in_the_run_directory_holds_nobody_up(sandbox: Sandbox, name: str) -> None:
    """Of root's or of the plain user's own: ctl's own files are regular ones."""
    define(sandbox, sandbox.log("web"))
    os.mkfifo(sandbox.run_dir / name)
    for verb in ("status", "explain", "start", "stop", "kill", "doctor"):
        done = sandbox.ctl(verb, "web", timeout=20)
        assert done.rc in {0, 1, 3, 4, 152}, done
        assert "Traceback" not in done.stderr
