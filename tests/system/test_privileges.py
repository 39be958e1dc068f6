"""What ctl may not see or do is said, never guessed; what others could have written, root does not believe.

A plain user on a host that hides processes (hidepid), a signal that the kernel refuses, files and directories that
others may write to, and how completely a service that root starts is its own user.
"""

from __future__ import annotations

import grp
import json
import os
import pwd
import re
import stat
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import sh

from support import proc
from support.bystander import assert_untouched, start_bystander
from support.hidepid import hidepid
from support.programs import Programs
from support.reaper import MARK, Reaper
from support.requires import requires, requires_mounts, requires_root
from support.sandbox import NOBODY_UID, PLAIN_UID, Json, Sandbox
from support.waiting import TIMEOUT, wait_file, wait_on_disk

Spoil = Callable[[Path], None]


@pytest.fixture(autouse=True)
def _as_root() -> None:
    requires_root()


@pytest.fixture
def word(sandbox: Sandbox) -> str:
    """A target's name and a rule's pattern that nothing else on this machine holds."""
    return f"orders-{sandbox.reaper.mark}"


def untouched_service(sandbox: Sandbox, name: str, **tables: Any) -> Callable[[], None]:
    """Starts a service that writes down each signal; what is returned asserts that there was none, and ends it."""
    sandbox.service(name, "recorder", "-", **tables)
    pid = sandbox.ctl("start", name, "--json").expect(0).one["pid"]

    def check() -> None:
        assert proc.alive(pid)
        assert "got" not in sandbox.log(name).read_text(encoding="utf-8")
        assert sandbox.pid(name) == pid, "its record is gone"
        assert sandbox.ctl("kill", name, "--json").expect(0).one["pid"] == pid

    return check


# -- a plain user where /proc hides others


@pytest.fixture(params=[1, 2], ids=["hidepid=1", "hidepid=2"])
def hidden(request: pytest.FixtureRequest) -> list[str]:
    """A prefix for ctl: as a plain user who cannot see the processes of others."""
    return hidepid(PLAIN_UID, request.param)


def test_hidden_service_of_root_is_unknown_and_not_signalled(sandbox: Sandbox, word: str, hidden: list[str]) -> None:
    check = untouched_service(sandbox, word)
    status = sandbox.ctl("status", word, prefix=hidden).expect(4)
    assert status.stdout.startswith(f"{word}: unknown")
    assert f"ctl: {word}: cannot tell whether it is running: " in status.stderr
    assert sandbox.ctl("status", word, "--json", prefix=hidden).expect(4).one["state"] == "unknown"
    for verb in ("stop", "kill", "start", "restart"):
        refused = sandbox.ctl(verb, word, "--json", prefix=hidden).expect(4)
        assert (refused.one["reason"], refused.one["changed"]) == ("permission_denied", False)
        assert len(refused.stderr.splitlines()) == 1
        for lie in ("not running", "stopped", "started"):
            assert lie not in status.stdout + status.stderr + refused.stderr
    assert len(proc.services(word)) == 1
    check()


@pytest.mark.parametrize("rules", [False, True], ids=["by its mark", "by its rules"])
def test_hidden_service_whose_record_is_lost_is_unknown(
    sandbox: Sandbox, word: str, hidden: list[str], rules: bool
) -> None:
    match = {"match": {"cmdline": word}} if rules else {}
    sandbox.service(word, "recorder", "-", word, **match)
    pid = sandbox.ctl("start", word, "--json").expect(0).one["pid"]
    sandbox.record(word).unlink()
    sandbox.pid_file(word).unlink()
    status = sandbox.ctl("status", word, prefix=hidden).expect(4)
    assert "cannot tell whether it is running" in status.stderr
    for verb in ("stop", "kill"):
        assert sandbox.ctl(verb, word, prefix=hidden).expect(4).stdout == ""
    assert proc.services(word) == [pid]
    assert "got" not in sandbox.log(word).read_text(encoding="utf-8")


def test_who_may_be_running_unseen_is_not_started_a_second_time(
    plain_sandbox: Sandbox, word: str, hidden: list[str]
) -> None:
    """Their own definition, their own run directory, and another user's process that its rules may mean."""
    plain_sandbox.service(word, "polite", 0, word, match={"cmdline": word})
    other = start_bystander(plain_sandbox.reaper, plain_sandbox.programs("recorder", "-", word), NOBODY_UID)
    for verb in ("start", "stop", "kill", "status"):
        refused = plain_sandbox.ctl(verb, word, user=0, prefix=hidden).expect(4)
        assert "cannot tell whether it is running" in refused.stderr
        assert refused.stderr.endswith("; to fix: try again as root\n")
    assert not proc.services(word)
    assert not plain_sandbox.has_run(word)
    assert_untouched(other)


@pytest.mark.parametrize("how", ["pid file", "stop.pid_file", "--pid"])
def test_a_claim_about_a_hidden_process_is_neither_believed_nor_called_stale(
    plain_sandbox: Sandbox, word: str, hidden: list[str], how: str
) -> None:
    other = start_bystander(plain_sandbox.reaper, plain_sandbox.programs("recorder", "-"), NOBODY_UID)
    file = plain_sandbox.pid_file(word) if how == "pid file" else plain_sandbox.home / "own.pid"
    plain_sandbox.service(word, "polite", stop={"pid_file": str(file)} if how == "stop.pid_file" else {})
    given: Sequence[object] = ("--pid", other.pid) if how == "--pid" else ()
    if how != "--pid":
        file.write_text(f"{other.pid}\n", encoding="ascii")
        os.chown(file, PLAIN_UID, PLAIN_UID)
    for verb in ("status", "stop", "kill"):
        refused = plain_sandbox.ctl(verb, word, *given, user=0, prefix=hidden).expect(4)
        assert f"pid {other.pid}" in refused.stderr
    assert file.exists() == (how != "--pid")
    assert_untouched(other)


@pytest.mark.parametrize("rules", [False, True], ids=["by its mark", "by its rules"])
def test_a_plain_user_sees_and_ends_their_own_services(
    plain_sandbox: Sandbox, word: str, hidden: list[str], rules: bool
) -> None:
    match = {"match": {"cmdline": word, "user": str(PLAIN_UID)}} if rules else {}
    plain_sandbox.service(word, "polite", 0, word, **match)

    def ctl(verb: str, rc: int = 0) -> Json:
        return plain_sandbox.ctl(verb, word, "--json", user=0, prefix=hidden).expect(rc).one

    assert ctl("status", 3)["state"] == "stopped"
    pid = ctl("start")["pid"]
    assert os.stat(f"/proc/{pid}").st_uid == PLAIN_UID
    assert ctl("start")["reason"] == "already_running"
    assert ctl("status")["pid"] == pid
    assert ctl("stop")["reason"] == "stopped"
    assert ctl("stop")["reason"] == "already_stopped"
    assert ctl("start")["pid"] != pid
    assert ctl("kill")["reason"] == "killed"
    assert ctl("status", 3)["state"] == "stopped"


# -- a signal that the kernel refuses


def test_a_service_of_root_is_seen_by_a_plain_user_and_not_touched(sandbox: Sandbox, word: str) -> None:
    check = untouched_service(sandbox, word)
    pid = sandbox.pid(word)
    assert sandbox.ctl("status", word, "--json", user=PLAIN_UID).expect(0).one["pid"] == pid
    assert sandbox.ctl("start", word, user=PLAIN_UID).rc in {0, 4}
    for verb in ("stop", "kill", "restart"):
        refused = sandbox.ctl(verb, word, user=PLAIN_UID).expect(4)
        assert refused.stdout == ""
        (line,) = refused.stderr.splitlines()
        assert re.fullmatch(rf"ctl: {word}: .*not allowed to .*; to fix: try again as .*root.*", line)
    check()


@pytest.mark.parametrize("recorded", [False, True], ids=["found by rule", "recorded"])
@pytest.mark.parametrize("verb", ["stop", "kill"])
def test_a_refused_signal_is_one_clear_line_and_the_record_is_kept(
    plain_sandbox: Sandbox, word: str, verb: str, recorded: bool
) -> None:
    plain_sandbox.service(word, "polite", match={"cmdline": word, "user": str(NOBODY_UID)})
    other = start_bystander(plain_sandbox.reaper, plain_sandbox.programs("recorder", "-", word), NOBODY_UID)
    if recorded:
        adopted = plain_sandbox.ctl("start", word, "--json").expect(0).one
        assert (adopted["reason"], adopted["pid"]) == ("already_running", other.pid)
    refused = plain_sandbox.ctl(verb, word).expect(4)
    assert refused.stdout == ""
    what = f"not allowed to signal pid {other.pid}, which belongs to another user"
    assert refused.stderr == f"ctl: {word}: {what}; to fix: try again as root\n"
    result = plain_sandbox.ctl(verb, word, "--json").expect(4).one
    assert (result["reason"], result["signals"], result["changed"]) == ("permission_denied", [], False)
    assert (result["before"], result["after"]) == ("running", "running")
    assert plain_sandbox.has_run(word) == recorded
    assert plain_sandbox.ctl("status", word, "--json").expect(0).one["pid"] == other.pid
    assert_untouched(other)


def test_one_target_that_may_not_be_signalled_costs_the_other_nothing(plain_sandbox: Sandbox, word: str) -> None:
    plain_sandbox.service(word, "polite", match={"cmdline": word, "user": str(NOBODY_UID)})
    plain_sandbox.service("own", "polite")
    other = start_bystander(plain_sandbox.reaper, plain_sandbox.programs("recorder", "-", word), NOBODY_UID)
    plain_sandbox.ctl("start", "own").expect(0)
    results = plain_sandbox.ctl("stop", word, "own", "--json").expect(4).by_target
    assert (results[word]["reason"], results["own"]["reason"]) == ("permission_denied", "stopped")
    assert_untouched(other)


def test_a_root_that_lacks_the_capability_is_refused_like_anyone(sandbox: Sandbox, word: str) -> None:
    """As in many a container: uid 0 without CAP_KILL."""
    requires("setpriv")
    sandbox.define(word, {"match": {"cmdline": word, "user": str(NOBODY_UID)}})
    other = start_bystander(sandbox.reaper, sandbox.programs("recorder", "-", word), NOBODY_UID)
    powerless = ["setpriv", "--bounding-set", "-kill", "--inh-caps", "-kill"]
    for verb in ("stop", "kill"):
        refused = sandbox.ctl(verb, word, prefix=powerless).expect(4)
        (line,) = refused.stderr.splitlines()
        assert f"not allowed to signal pid {other.pid}, which belongs to another user" in line
        assert "as root" not in line
    assert_untouched(other)


def test_only_root_starts_a_service_as_another_user(plain_sandbox: Sandbox) -> None:
    file = plain_sandbox.services / "web.toml"
    # A user of whom nothing runs: one process that may be it and cannot be read would be told first.
    plain_sandbox.service("web", "polite", start={"user": "lp"})
    refused = plain_sandbox.ctl("start", "web").expect(4)
    assert refused.stderr == f"ctl: web: only root can start it as user lp ({file}, start.user)\n"


# -- what others may write to is not believed by root


def by_everyone(path: Path) -> None:
    path.chmod(stat.S_IMODE(path.stat().st_mode) | 0o002)


def by_a_group(path: Path) -> None:
    os.chown(path, 0, PLAIN_UID)
    path.chmod(stat.S_IMODE(path.stat().st_mode) | 0o020)


def by_its_owner(path: Path) -> None:
    os.chown(path, PLAIN_UID, 0)


PLACES = {
    "definition": "conf/services/web.toml",
    "services directory": "conf/services",
    "conf directory": "conf",
    "ctl.toml": "conf/ctl.toml",
    "run directory": "run",
    "directory above": ".",
}


def assert_refused(sandbox: Sandbox, place: Path, *args: object) -> str:
    """ctl refuses with one line that names the place, its owner and mode; returns the command that would fix it."""
    refused = sandbox.ctl(*args).expect(6)
    assert refused.stdout == ""
    (line,) = refused.stderr.splitlines()
    found = place.stat()
    owner = {0: "root", PLAIN_UID: str(PLAIN_UID)}[found.st_uid]
    mode = stat.S_IMODE(found.st_mode)
    what = rf" {re.escape(str(place))} [a-z, ]+ \(owner {owner}, mode {mode:04o}\)"
    said = re.search(rf"{what}( \([^()]*\))?; to fix: (.*)$", line)
    assert said, line
    return said[2]


@pytest.mark.parametrize("spoil", [by_everyone, by_a_group, by_its_owner], ids=lambda spoil: spoil.__name__)
@pytest.mark.parametrize("place", list(PLACES.values())[1:], ids=list(PLACES)[1:])
def test_what_others_may_write_to_is_refused_until_it_is_fixed(sandbox: Sandbox, place: str, spoil: Spoil) -> None:
    path = (sandbox.root / place).resolve()
    untouched_service(sandbox, "web")
    pid = sandbox.pid("web")
    spoil(path)
    assert_refused(sandbox, path, "stop", "web")
    fix = assert_refused(sandbox, path, "kill", "web")
    assert "got" not in sandbox.log("web").read_text(encoding="utf-8")
    assert proc.alive(pid)

    subprocess.run(["sh", "-c", fix], check=True)
    found = path.stat()
    assert (found.st_uid, found.st_mode & 0o022) == (0, 0)
    assert sandbox.ctl("kill", "web", "--json").expect(0).one["pid"] == pid


@pytest.mark.parametrize("spoil", [by_everyone, by_a_group, by_its_owner], ids=lambda spoil: spoil.__name__)
def test_a_definition_that_others_may_write_to_is_not_read_and_keeps_nobody_from_a_kill(
    sandbox: Sandbox, spoil: Spoil
) -> None:
    """It is ended as the state file says, which is root's."""
    untouched_service(sandbox, "web")
    pid = sandbox.pid("web")
    definition = (sandbox.root / PLACES["definition"]).resolve()
    spoil(definition)
    result = sandbox.ctl("kill", "web").expect(0)
    assert str(definition) in result.stderr
    assert not proc.alive(pid)
    sandbox.ctl("start", "web").expect(6)


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES.keys())
def test_nothing_is_started_by_what_others_may_write_to(sandbox: Sandbox, place: str) -> None:
    path = (sandbox.root / place).resolve()
    file = sandbox.tmp / "executed"
    sandbox.define("web", {"start": {"command": ["/usr/bin/touch", str(file)]}, "ready": {"settle": 0}})
    by_everyone(path)
    for verb in ("start", "run", "restart"):
        assert_refused(sandbox, path, verb, "web")
    assert not file.exists()
    assert sandbox.ctl("status", "web").rc in {4, 6}
    assert not list(sandbox.run_dir.iterdir())


def test_one_bad_definition_among_several_leaves_all_alone(sandbox: Sandbox) -> None:
    check = untouched_service(sandbox, "good")
    by_everyone(sandbox.service("bad", "polite"))
    assert_refused(sandbox, sandbox.services / "bad.toml", "stop", "good", "bad")
    check()


def test_a_directory_of_everyone_with_the_sticky_bit_is_fine_above(sandbox: Sandbox) -> None:
    """/tmp, which is above all of this test, is one as well: nobody can rename what is another's in there."""
    assert stat.S_IMODE(Path("/tmp").stat().st_mode) == 0o1777
    sandbox.root.chmod(0o1777)
    sandbox.service("web", "polite")
    sandbox.ctl("start", "web").expect(0)
    sandbox.ctl("kill", "web").expect(0)


@pytest.mark.parametrize("place", ["conf/services", "conf", "run"])
def test_the_sticky_bit_does_not_excuse_the_directory_itself(sandbox: Sandbox, place: str) -> None:
    """Everyone could still put a file of their own in there."""
    sandbox.service("web", "polite")
    (sandbox.root / place).chmod(0o1777)
    assert_refused(sandbox, sandbox.root / place, "start", "web")


def test_a_link_that_others_could_turn_elsewhere_is_refused(sandbox: Sandbox) -> None:
    """What it leads to is root's own; but everyone could make it lead to something else of root's."""
    real = sandbox.define("web", {"start": {"command": ["/usr/bin/touch", str(sandbox.tmp / "executed")]}})
    safe = sandbox.root / "safe"
    safe.mkdir(mode=0o755)
    real.rename(safe / "web.toml")
    real.symlink_to(safe / "web.toml")
    by_everyone(sandbox.services)
    fix = assert_refused(sandbox, sandbox.services, "start", "web")
    assert not (sandbox.tmp / "executed").exists()
    subprocess.run(["sh", "-c", fix], check=True)
    sandbox.ctl("status", "web").expect(3)


@pytest.mark.parametrize("option", ["--conf", "--run-dir"])
def test_a_directory_by_a_link_that_others_could_turn_elsewhere_is_refused(sandbox: Sandbox, option: str) -> None:
    sandbox.service("web", "polite")
    public = sandbox.root / "public"
    public.mkdir()
    public.chmod(0o777)
    (public / "link").symlink_to(sandbox.conf if option == "--conf" else sandbox.run_dir)
    assert_refused(sandbox, public, "start", "web", option, public / "link")


def test_a_plain_user_has_nobody_to_be_protected_from(plain_sandbox: Sandbox) -> None:
    """Root may write to all they have, and who shares their group may, too: that is theirs to decide."""
    plain_sandbox.service("web", "polite")
    plain_sandbox.services.chmod(0o775)
    plain_sandbox.ctl("start", "web").expect(0)
    plain_sandbox.ctl("kill", "web").expect(0)


# -- a service is its own user, and nobody else


def dumped(
    sandbox: Sandbox, name: str = "web", *, settings: Json, prefix: Sequence[str | Path] = (), **popen: Any
) -> Json:
    """What a service inherits that is started with these settings."""
    file = sandbox.tmp / "dump"
    sandbox.service(name, "env_dump", file, start=settings)
    start = sandbox.ctl_popen("start", name, prefix=prefix, **popen)
    sandbox.collect(start).expect(0)
    seen: Json = json.loads(wait_file(file))
    return seen


@pytest.fixture
def in_groups(sandbox: Sandbox) -> Callable[..., list[str]]:
    """A prefix for ctl: on a host where this user is in groups of these ids as well."""
    requires_mounts()

    def prefix(user: str, *gids: int) -> list[str]:
        lines = [line for line in Path("/etc/group").read_text(encoding="utf-8").splitlines() if user not in line]
        lines += [f"extra{gid}:x:{gid}:{user}" for gid in gids]
        file = sandbox.root / "group"
        file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        script = 'mount --bind "$0" /etc/group && exec "$@"'
        return ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, str(file)]

    return prefix


def assert_is(seen: Json, uid: int, gid: int, groups: Sequence[int]) -> None:
    """It is this user, real, effective and saved, and nothing is left of root."""
    assert seen["uids"] == [uid] * 3
    assert seen["gids"] == [gid] * 3
    assert sorted(seen["groups"]) == sorted(groups)
    status = Path(f"/proc/{seen['pid']}/status").read_text(encoding="utf-8")
    for kind in ("Inh", "Prm", "Eff", "Amb"):
        assert re.search(rf"^Cap{kind}:\t0+$", status, re.MULTILINE), f"it has capabilities ({kind})"


def test_user_and_supplementary_groups_are_the_users_own(sandbox: Sandbox, in_groups: Callable[..., list[str]]) -> None:
    nobody = pwd.getpwnam("nobody")
    seen = dumped(sandbox, settings={"user": "nobody"}, prefix=in_groups("nobody", 54321, 54322))
    assert_is(seen, nobody.pw_uid, nobody.pw_gid, [nobody.pw_gid, 54321, 54322])
    environment = seen["environ"]
    assert (environment["USER"], environment["LOGNAME"]) == ("nobody", "nobody")
    assert (environment["HOME"], environment["SHELL"]) == (nobody.pw_dir, nobody.pw_shell)


def test_the_group_can_be_another(sandbox: Sandbox, in_groups: Callable[..., list[str]]) -> None:
    games = 54399
    settings = {"user": "nobody", "group": str(games)}
    seen = dumped(sandbox, settings=settings, prefix=in_groups("nobody", 54321))
    assert_is(seen, NOBODY_UID, games, [games, 54321])


def test_a_group_by_its_name(sandbox: Sandbox) -> None:
    group = next(entry for entry in grp.getgrall() if entry.gr_gid not in {0, NOBODY_UID})
    seen = dumped(sandbox, settings={"user": "nobody", "group": group.gr_name})
    assert seen["gids"] == [group.gr_gid] * 3
    assert 0 not in seen["groups"]


def test_a_number_without_a_name_is_a_user_with_no_other_group(sandbox: Sandbox) -> None:
    """The groups of root, who starts it, are not its own."""
    with_groups = ["setpriv", "--groups", "0,4,54321", "--"]
    requires("setpriv")
    seen = dumped(sandbox, settings={"user": str(PLAIN_UID)}, prefix=with_groups)
    assert_is(seen, PLAIN_UID, PLAIN_UID, [PLAIN_UID])


def test_a_user_that_does_not_exist_is_a_bad_configuration(sandbox: Sandbox) -> None:
    file = sandbox.services / "web.toml"
    sandbox.service("web", "polite", start={"user": "nobody-of-this-name"})
    refused = sandbox.ctl("start", "web").expect(6)
    assert refused.stderr == (f"ctl: web: there is no user 'nobody-of-this-name' on this host ({file}, start.user)\n")


def test_a_service_inherits_what_its_definition_says_and_nothing_else(sandbox: Sandbox) -> None:
    requires("setpriv")
    directory = sandbox.root / "work"
    directory.mkdir()
    settings = {
        "user": "nobody",
        "umask": "027",
        "nice": 7,
        "directory": str(directory),
        "limits": {"nofile": 123, "core": "infinity", "cpu": 4000},
        "environment": {"JAVA_HOME": "/usr/lib/jvm"},
    }
    reading, writing = os.pipe()
    callers = {"SECRET_TOKEN": "x", "LD_LIBRARY_PATH": "/x", "PYTHONPATH": "/x", "JAVA_HOME": "/x", "TERM": "vt100"}
    signals = ["env", "--ignore-signal=HUP", "--block-signal=USR1", "--block-signal=TERM"]
    try:
        seen = dumped(sandbox, settings=settings, prefix=signals, env=callers, pass_fds=(reading, writing), umask=0o077)
    finally:
        os.close(reading)
        os.close(writing)
    assert_is(seen, NOBODY_UID, pwd.getpwnam("nobody").pw_gid, os.getgrouplist("nobody", NOBODY_UID))
    assert (seen["umask"], seen["nice"], seen["cwd"]) == (0o027, 7, str(directory))
    assert (seen["limits"]["nofile"], seen["limits"]["cpu"]) == ([123, 123], [4000, 4000])
    assert seen["limits"]["core"] == [-1, -1]
    assert seen["pid"] == seen["sid"] == seen["pgid"]
    assert seen["fds"] == {"0": "/dev/null", "1": str(sandbox.log("web")), "2": str(sandbox.log("web"))}
    assert (seen["ignored"], seen["blocked"]) == (["PIPE", "XFSZ"], [])  # these two are Python's own doing

    environment = seen["environ"]
    assert environment["JAVA_HOME"] == "/usr/lib/jvm"
    assert environment["CTL_TARGET"] == "web"
    standard = {"PATH", "HOME", "USER", "LOGNAME", "SHELL", "LC_ALL", "PWD"}
    ctls_own = {name for name in environment if name.startswith("CTL_")} - {"CTL_CONF"}
    assert environment.keys() - standard - ctls_own == {"JAVA_HOME"}
    assert environment[MARK] == sandbox.reaper.mark


NOTES_ITS_USER = """
#include <stdio.h>
#include <unistd.h>
__attribute__((constructor)) static void note(void) {
    FILE *notes = fopen(NOTES, "a");
    if (notes) { fprintf(notes, "%d %d\\n", getuid(), geteuid()); fclose(notes); }
}
"""


def test_a_root_that_may_not_set_limits_runs_nothing_of_the_service_as_root(sandbox: Sandbox) -> None:
    """As in a container, without CAP_SYS_RESOURCE and CAP_SYS_NICE: LD_PRELOAD is executed by the service's user."""
    requires("setpriv", "prlimit")
    notes, library = sandbox.tmp / "notes", sandbox.root / "notes.so"
    notes.touch()
    notes.chmod(0o666)
    sh.cc("-shared", "-fPIC", f'-DNOTES="{notes}"', "-o", library, "-x", "c", "-", _in=NOTES_ITS_USER)
    settings = {
        "user": "nobody",
        "nice": 7,
        "limits": {"nofile": 123, "core": "infinity", "cpu": 4000},
        "environment": {"LD_PRELOAD": str(library)},
    }
    dropped = "-sys_resource,-sys_nice"
    seen = dumped(sandbox, settings=settings, prefix=["setpriv", "--bounding-set", dropped, "--inh-caps", dropped])
    assert_is(seen, NOBODY_UID, pwd.getpwnam("nobody").pw_gid, os.getgrouplist("nobody", NOBODY_UID))
    assert (seen["limits"]["nofile"], seen["limits"]["cpu"], seen["nice"]) == ([123, 123], [4000, 4000], 7)
    assert set(notes.read_text(encoding="ascii").split()) == {str(NOBODY_UID)}


def test_without_a_user_it_is_the_one_who_starts_it(plain_sandbox: Sandbox) -> None:
    seen = dumped(plain_sandbox, settings={})
    assert_is(seen, PLAIN_UID, PLAIN_UID, [])


def test_a_ready_command_runs_as_exactly_the_services_user(
    sandbox: Sandbox, in_groups: Callable[..., list[str]]
) -> None:
    """A probe that kept root's groups would be a way to read what only root may."""
    file, directory = sandbox.tmp / "probe", sandbox.root / "work"
    directory.mkdir()
    script = 'exec >"$0.new"; cat /proc/self/status; pwd; umask; env; mv "$0.new" "$0"'
    sandbox.service(
        "web",
        "polite",
        start={"user": "nobody", "group": "54399", "umask": "027", "directory": str(directory)},
        ready={"command": ["sh", "-c", script, str(file)], "timeout": 10},
    )
    prefix = in_groups("nobody", 54321)
    sandbox.ctl("start", "web", prefix=prefix, env={"SECRET_TOKEN": "x"}).expect(0)
    said = wait_file(file)
    status = dict(line.split(":", 1) for line in said.splitlines() if ":\t" in line)
    assert status["Uid"].split() == [str(NOBODY_UID)] * 4
    assert status["Gid"].split() == ["54399"] * 4
    assert sorted(status["Groups"].split()) == ["54321", "54399"]
    for kind in ("Inh", "Prm", "Eff", "Amb"):
        assert int(status[f"Cap{kind}"], 16) == 0
    lines = said.splitlines()
    assert str(directory) in lines
    assert "0027" in lines
    assert "USER=nobody" in lines
    assert "CTL_TARGET=web" not in lines, "it could be taken for the service"
    assert "SECRET_TOKEN" not in said


def test_the_log_is_the_services_own(sandbox: Sandbox) -> None:
    dumped(sandbox, settings={"user": "nobody"})
    assert sandbox.log("web").stat().st_uid == NOBODY_UID
    assert sandbox.log("web").stat().st_mode & 0o022 == 0


def test_the_record_of_another_users_service_is_roots(sandbox: Sandbox) -> None:
    """Else that user could write a pid into it, and wait for root's next kill."""
    dumped(sandbox, settings={"user": "nobody"})
    for path in (sandbox.record("web"), sandbox.pid_file("web")):
        assert path.stat().st_uid == 0
        assert path.stat().st_mode & 0o022 == 0


def test_a_pid_file_of_another_user_is_not_believed_by_root(sandbox: Sandbox, word: str) -> None:
    sandbox.service(word, "polite", match={"cmdline": word, "user": "nobody"})
    service = start_bystander(sandbox.reaper, sandbox.programs("recorder", "-"))
    sandbox.pid_file(word).write_text(f"{service.pid}\n", encoding="ascii")
    os.chown(sandbox.pid_file(word), NOBODY_UID, NOBODY_UID)
    killed = sandbox.ctl("kill", word)
    assert "is not to be trusted" in killed.stderr
    assert f"{sandbox.pid_file(word)} belongs to nobody, not to root" in killed.stderr
    assert_untouched(service)


# -- a plain user with a login


LOGIN_UID = PLAIN_UID + 1000  # no other test's ctl must meet this agent


def test_what_keeps_its_own_user_from_reading_it_keeps_nobody_from_starting(
    public_dir: Path, reaper: Reaper, programs: Programs
) -> None:
    """ssh-agent lets nobody read its environment, by which a service without match rules would be known."""
    requires("ssh-agent", "setpriv")
    (root := public_dir / "login").mkdir()
    sandbox = Sandbox(root, reaper, programs, owner=LOGIN_UID)
    socket = sandbox.tmp / "agent"
    agent = reaper.start(["ssh-agent", "-D", "-a", socket], ready="Agent pid", user=LOGIN_UID)
    unreadable = ["setpriv", f"--reuid={LOGIN_UID}", f"--regid={LOGIN_UID}", "--clear-groups", "cat"]
    read = subprocess.run([*unreadable, f"/proc/{agent.pid}/environ"], capture_output=True, check=False)
    assert b"Permission denied" in read.stderr
    sandbox.service("web", "polite")
    assert sandbox.ctl("explain", "web", "--json", "--verbose").expect(0).one["state"] == "stopped"
    sandbox.ctl("start", "web").expect(0)
    sandbox.ctl("stop", "web").expect(0)
    assert agent.alive()


BECOMES = """
import os, sys, time
os.setgroups([]), os.setgid(int(sys.argv[1])), os.setuid(int(sys.argv[1]))
print(f"ready (pid: {os.getpid()})", flush=True)
sys.stdin.readline()
time.sleep(0.05)  # so long it takes to execute its program
os.execv("/usr/bin/tail", ["tail", "-f", "/dev/null"])
"""


def test_who_is_just_becoming_this_user_keeps_nobody_from_starting(plain_sandbox: Sandbox) -> None:
    """As su, cron and systemd do it: until it executes a program, not even its own user may read its environment."""
    plain_sandbox.service("web", "polite")
    argv = [sys.executable, "-c", BECOMES, str(PLAIN_UID)]
    other = plain_sandbox.reaper.start(argv, stdin=subprocess.PIPE)
    assert other.popen.stdin
    starting = plain_sandbox.ctl_popen("start", "web")
    lock = plain_sandbox.run_dir / "web.lock"
    wait_on_disk(lock, lambda: lock.exists() or None, TIMEOUT, lambda: "no lock")
    other.popen.stdin.write(b"go\n")
    other.popen.stdin.flush()
    plain_sandbox.collect(starting).expect(0)
    plain_sandbox.ctl("stop", "web").expect(0)
