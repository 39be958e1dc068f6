"""Malformed pid files and records: one clear line for each, nobody signalled, nothing hangs, and the verb goes on.

Wherever a file can hold one, it holds the pid of an innocent `recorder`: whoever believed it would be seen.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from support import proc
from support.bystander import assert_untouched, start_bystander
from support.pidreuse import Pids, in_own_namespace
from support.programs import Programs
from support.reaper import Process, Reaper
from support.requires import requires_root
from support.sandbox import NOBODY_UID, Json, Sandbox
from support.waiting import wait_gone

Make = Callable[[Path, int], object]
VERBS = {"status": 1, "stop": 0, "kill": 0, "start": 0}  # and how each exits


def content(text: str) -> Make:
    """A file with this in it, where PID stands for the innocent's."""
    return lambda path, pid: path.write_bytes(text.replace("PID", str(pid)).encode())


def good(path: Path, pid: int) -> None:
    path.write_text(f"{pid}\n", encoding="ascii")


def link(path: Path, pid: int) -> None:
    good(path.with_name("elsewhere"), pid)
    path.symlink_to(path.with_name("elsewhere"))


def unix_socket(path: Path, _: int) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))


def huge(path: Path, _: int) -> None:
    path.touch()
    os.truncate(path, 2**40)


def writable(path: Path, pid: int) -> None:
    good(path, pid)
    path.chmod(0o666)


def anothers(path: Path, pid: int) -> None:
    requires_root()
    good(path, pid)
    os.chown(path, NOBODY_UID, NOBODY_UID)


NOT_ONE = "holds {!r}, not one process id".format
NO_PID = "holds '{}': no service's process id".format
FIXES = {"writable by everyone": "chmod o-w '{path}'"}
MALFORMED: dict[str, tuple[Make, str]] = {
    "empty": (content(""), "is empty"),
    "blank": (content(" \n\n"), "is empty"),
    "a word": (content("web\n"), NOT_ONE("web\n")),
    "zero": (content("0\n"), NO_PID("0")),
    "init": (content("1\n"), NO_PID("1")),
    "everyone": (content("-1\n"), NOT_ONE("-1\n")),
    "a process group": (content("-PID\n"), NOT_ONE("-PID\n")),
    "with a sign": (content("+PID\n"), NOT_ONE("+PID\n")),
    "hexadecimal": (content("0x10\n"), NOT_ONE("0x10\n")),
    "a fraction": (content("PID.5\n"), NOT_ONE("PID.5\n")),
    "more than any pid": (content("4194305\n"), NO_PID("4194305")),
    "more than a word": (content("18446744073709551617\n"), NO_PID("18446744073709551617")),
    "two numbers": (content("PID PID\n"), NOT_ONE("PID PID\n")),
    "two lines": (content("PID\nPID\n"), NOT_ONE("PID\nPID\n")),
    "a NUL behind": (content("PID\0"), NOT_ONE("PID\0")),
    "a NUL before": (content("\0PID\n"), NOT_ONE("\0PID\n")),
    "digits of another script": (content("\u0661\u0662\u0663\n"), NOT_ONE("\u0661\u0662\u0663\n")),
    "long": (content("PID" + " " * 4096), "is {size} bytes long; a file of this kind has at most {limit}"),
    "huge": (huge, "is 1099511627776 bytes long; a file of this kind has at most {limit}"),
    "a directory": (lambda path, _: path.mkdir(), "is a directory, not a regular file"),
    "a fifo": (lambda path, _: os.mkfifo(path), "is a fifo, not a regular file"),
    "a socket": (unix_socket, "is a socket, not a regular file"),
    "a link to a good one": (link, "is a symbolic link"),
    "a link to nothing": (lambda path, _: path.symlink_to("nothing"), "is a symbolic link"),
    "writable by everyone": (writable, "can be written by everyone (mode 0666)"),
    "of another user": (anothers, "is not to be trusted: {path} belongs to nobody, not to root"),
}


@pytest.fixture
def innocent(reaper: Reaper, programs: Programs) -> Process:
    return start_bystander(reaper, programs("recorder", "-"))


@pytest.fixture
def own(sandbox: Sandbox) -> Path:
    """Where `web` of these tests writes a pid file itself."""
    return sandbox.log_dir / "own.pid"


@pytest.fixture
def web(sandbox: Sandbox, own: Path) -> Iterator[None]:
    sandbox.service("web", "polite", stop={"pid_file": str(own)})
    yield
    sandbox.ctl("kill", "web")


def line(source: str, why: str, path: Path, fix: str = "") -> str:
    return f"ctl: web: {source} {why}; it is not believed ({path}){fix and f'; to fix: {fix}'}\n"


def complaint(target: str, source: str, why: str, path: Path, fix: str = "") -> str:
    size = path.lstat().st_size
    why = why.format(path=path, size=size, limit=65536 if source == "record" else 64)
    to_fix = f"; to fix: {fix.format(path=path)}" if fix else ""
    return f"ctl: {target}: {source} {why}; it is not believed ({path}){to_fix}"


def paths(sandbox: Sandbox, kind: str) -> dict[str, Path]:
    """The files that say something about the service of this kind of fault."""
    target = kind.replace(" ", "-")
    own = sandbox.log_dir / f"{target}.own"
    return {"pid file": sandbox.pid_file(target), "record": sandbox.record(target), "stop.pid_file": own}


def define_for(sandbox: Sandbox, kinds: Iterable[str]) -> dict[str, str]:
    """A service for each kind of fault; returns their names."""
    targets = {kind: kind.replace(" ", "-") for kind in kinds}
    for kind, target in targets.items():
        sandbox.service(target, "idle", stop={"pid_file": str(paths(sandbox, kind)["stop.pid_file"])})
    return targets


@pytest.mark.parametrize("source", ["pid file", "stop.pid_file"])
@pytest.mark.parametrize("verb", VERBS)
def test_malformed_pid_files(sandbox: Sandbox, innocent: Process, verb: str, source: str) -> None:
    kinds = dict(MALFORMED)
    if (verb, source) == ("start", "pid file"):
        del kinds["a directory"]  # below
    targets = define_for(sandbox, kinds)
    expected = []
    for kind, (make, why) in kinds.items():
        path = paths(sandbox, kind)[source]
        make(path, innocent.pid)
        # Only what holds no braces of its own is filled in.
        said = why.replace("PID", str(innocent.pid))
        expected.append(complaint(targets[kind], source, said, path, FIXES.get(kind, "")))

    result = sandbox.ctl(verb, *targets.values(), "--json", timeout=30).expect(VERBS[verb])
    assert sorted(result.stderr.splitlines()) == sorted(expected), "one line for each"
    assert_untouched(innocent)
    for kind, target in targets.items():
        one = result.by_target[target]
        assert one["state" if verb == "status" else "before"] == "stale", kind
        fix = FIXES.get(kind, "").format(path=paths(sandbox, kind)[source]) or None
        (claim,) = [its for its in one["claim" if verb == "status" else "claims"] if its["source"] == source]
        assert (claim["verdict"], claim["fix"]) == ("refused", fix), kind
        assert one.get("signals", []) == [], kind
        assert (verb == "start") == bool(sandbox.running(target)), kind
        if verb != "start":
            assert os.path.lexists(paths(sandbox, kind)[source]), f"{kind}: what is not believed is not removed either"


@pytest.mark.parametrize("source", ["pid file", "record"])
def test_start_cannot_replace_a_directory(sandbox: Sandbox, source: str) -> None:
    sandbox.service("web", "polite")
    path = {"pid file": sandbox.pid_file("web"), "record": sandbox.record("web")}[source]
    path.mkdir()
    result = sandbox.ctl("start", "web").expect(1)
    problem = f"ctl: web: cannot write the record of the service: Is a directory ({sandbox.run_dir}, {path})"
    assert problem in result.stderr.splitlines()
    assert sandbox.running("web") == []
    assert path.is_dir()
    assert source == "record" or not sandbox.has_run("web")


@pytest.mark.usefixtures("web")
@pytest.mark.parametrize("verb", ["stop", "kill"])
def test_what_is_refused_is_in_the_outcome_and_changes_nothing(
    sandbox: Sandbox, own: Path, innocent: Process, verb: str
) -> None:
    good(sandbox.pid_file("web"), innocent.pid)
    sandbox.pid_file("web").chmod(0o666)
    own.write_text("web", encoding="ascii")
    for _ in range(2):
        result = sandbox.ctl(verb, "web", "--json").expect(0)
        assert (result.one["before"], result.one["reason"], result.one["changed"]) == (
            "stale",
            "already_stopped",
            False,
        )
        assert [(claim["source"], claim["verdict"], claim["pid"]) for claim in result.one["claims"]] == [
            ("pid file", "refused", None),
            ("stop.pid_file", "refused", None),
        ]
        assert result.stderr.count("\n") == 2, "a line for each file"
    assert_untouched(innocent)


@pytest.mark.usefixtures("web")
@pytest.mark.parametrize("text", ["  PID\t\n", "\nPID\n\n", "PID", "00PID\r\n"])
def test_blanks_around_a_pid_are_no_fault(sandbox: Sandbox, innocent: Process, text: str) -> None:
    content(text)(sandbox.pid_file("web"), innocent.pid)
    result = sandbox.ctl("stop", "web", "--json").expect(0)
    assert [(claim["verdict"], claim["pid"]) for claim in result.one["claims"]] == [("stale", innocent.pid)]
    assert result.stderr == ""
    assert_untouched(innocent)


def test_a_service_without_a_record_is_found_by_its_own_pid_file_through_a_linked_directory(
    sandbox: Sandbox, own: Path
) -> None:
    """/var/run is a link to /run: only the file itself must be none."""
    (sandbox.root / "link").symlink_to(own.parent)
    sandbox.service("web", "polite", stop={"pid_file": str(sandbox.root / "link" / own.name)})
    sandbox.ctl("start", "web").expect(0)
    pid, pidfd = sandbox.pid("web"), sandbox.adopt("web")
    for path in (sandbox.record("web"), sandbox.pid_file("web")):
        path.unlink()
    good(own, pid)
    result = sandbox.ctl("stop", "web", "--json").expect(0).one
    assert [(claim["source"], claim["verdict"]) for claim in result["claims"]] == [("stop.pid_file", "holds")]
    assert [sent["pid"] for sent in result["signals"]] == [pid]
    wait_gone(pidfd)


@pytest.mark.parametrize("verb", VERBS)
def test_a_pid_file_in_a_directory_that_everyone_can_write_to(sandbox: Sandbox, innocent: Process, verb: str) -> None:
    directory = sandbox.root / "everyones"
    directory.mkdir()
    directory.chmod(0o777)
    good(directory / "own.pid", innocent.pid)
    sandbox.service("web", "polite", stop={"pid_file": str(directory / "own.pid")})
    result = sandbox.ctl(verb, "web").expect(VERBS[verb])
    why, fix = "lies in a directory that everyone can write to", f"chmod o-w '{directory}'"
    assert result.stderr == line("stop.pid_file", why, directory / "own.pid", fix)
    assert_untouched(innocent)


@pytest.mark.parametrize("verb", VERBS)
def test_a_pid_file_in_another_users_directory(sandbox: Sandbox, innocent: Process, verb: str) -> None:
    requires_root()
    directory = sandbox.root / "anothers"
    directory.mkdir()
    good(directory / "own.pid", innocent.pid)
    os.chown(directory, NOBODY_UID, NOBODY_UID)
    sandbox.service("web", "polite", stop={"pid_file": str(directory / "own.pid")})
    result = sandbox.ctl(verb, "web").expect(VERBS[verb])
    why = f"is not to be trusted: {directory} belongs to nobody, not to root"
    assert result.stderr == line("stop.pid_file", why, directory / "own.pid")
    assert_untouched(innocent)


def test_the_pid_file_of_the_services_own_user_is_believed(sandbox: Sandbox) -> None:
    requires_root()
    directory = sandbox.root / "nobodys"
    directory.mkdir()
    os.chown(directory, NOBODY_UID, NOBODY_UID)
    own = directory / "own.pid"
    sandbox.service("web", "polite", start={"user": "nobody"}, stop={"pid_file": str(own)})
    sandbox.ctl("start", "web").expect(0)
    pid = sandbox.pid("web")
    for path in (sandbox.record("web"), sandbox.pid_file("web")):
        path.unlink()
    anothers(own, pid)
    result = sandbox.ctl("stop", "web", "--json").expect(0).one
    assert [(claim["source"], claim["verdict"]) for claim in result["claims"]] == [("stop.pid_file", "holds")]
    assert not proc.alive(pid)


@pytest.mark.parametrize("source", ["pid file", "stop.pid_file", "record"])
@pytest.mark.parametrize("verb", VERBS)
def test_a_file_that_may_not_be_read_leaves_it_unknown(plain_sandbox: Sandbox, verb: str, source: str) -> None:
    sandbox, own = plain_sandbox, plain_sandbox.log_dir / "own.pid"
    sandbox.service("web", "polite", stop={"pid_file": str(own)})
    path = {"pid file": sandbox.pid_file("web"), "stop.pid_file": own, "record": sandbox.record("web")}[source]
    good(path, 4242)
    path.chmod(0)
    result = sandbox.ctl(verb, "web").expect(4)
    what = f"cannot tell whether it is running: its {source} may not be read ({path})"
    assert result.stderr == f"ctl: web: {what}; to fix: try again as root\n"
    assert sandbox.running("web") == []
    assert path.exists()


@pytest.mark.parametrize("value", ["0", "1", "-1", "web", "4242 4242", "99999999999999999999999"])
def test_a_malformed_mainpid(sandbox: Sandbox, innocent: Process, value: str) -> None:
    sandbox.service("web", "polite")
    result = sandbox.ctl("stop", "web", env={"MAINPID": value}).expect(0)
    assert result.stderr.startswith("ctl: web: $MAINPID ")
    assert result.stderr.count("\n") == 1
    assert_untouched(innocent)


# ------------------------------------------------------------------------------------------------------------- records


@pytest.fixture
def record(sandbox: Sandbox, own: Path) -> Json:
    """A good state file of `web`, that tells of a run which is over."""
    sandbox.service("web", "polite", stop={"pid_file": str(own)})
    sandbox.ctl("start", "web").expect(0)
    run = sandbox.run_on_record("web")
    sandbox.ctl("kill", "web").expect(0)
    return {"schema": 2, "target": "web", "run": run}


def edited(**changes: object) -> Callable[[Json], str]:
    return lambda record: json.dumps({**record, **changes})


def edited_run(**changes: object) -> Callable[[Json], str]:
    return lambda record: json.dumps({**record, "run": {**record["run"], **changes}})


def identified(**changes: object) -> Callable[[Json], str]:
    return lambda record: edited_run(identity={**record["run"]["identity"], **changes})(record)


def named(record: Json, target: str) -> Json:
    return {**record, "target": target, "run": {**record["run"], "target": target}}


NO_PLAIN_FILES = (
    "huge",
    "a directory",
    "a fifo",
    "a socket",
    "a link to a good one",
    "a link to nothing",
    "writable by everyone",
    "of another user",
)
MALFORMED_RECORDS: dict[str, Callable[[Json], str]] = {
    "empty": lambda _: "",
    "a pid": lambda _: "4242\n",
    "cut short": lambda record: json.dumps(record)[:60],
    "no UTF-8": lambda _: '{"schema": 1, "target": "\udcff"}',
    "of another schema": edited(schema=3),
    "of another target": edited(target="db"),
    "of a run of another target": edited_run(target="db"),
    "without a target": edited(target=None),
    "without an identity": edited_run(identity=None),
    "of a pid that is text": identified(pid="4242"),
    "of a pid that is a truth": identified(pid=True),
    "of a pid that no machine has": identified(pid=2**40),
    "of a pid beyond all numbers": identified(pid=10**30),
    "of pid 0": identified(pid=0),
    "of pid -1": identified(pid=-1),
    "deeply nested": lambda _: '{"schema": ' + "[" * 15000,
    "long": edited_run(since="x" * 70000),
}


def write_record(sandbox: Sandbox, text: str) -> None:
    sandbox.record("web").write_bytes(text.encode(errors="surrogateescape"))


@pytest.mark.parametrize("verb", VERBS)
def test_malformed_records(sandbox: Sandbox, record: Json, verb: str) -> None:
    targets = define_for(sandbox, MALFORMED_RECORDS)
    for kind, text in MALFORMED_RECORDS.items():
        of_it = named(record, targets[kind])
        sandbox.record(targets[kind]).write_bytes(text(of_it).encode(errors="surrogateescape"))

    result = sandbox.ctl(verb, *targets.values()).expect(VERBS[verb])
    lines = result.stderr.splitlines()
    assert sorted(line.split(": ")[1] for line in lines) == sorted(targets.values()), "one line for each"
    for target in targets.values():
        (line,) = (line for line in lines if line.startswith(f"ctl: {target}: record "))
        assert line.endswith(f"; it is not believed ({sandbox.record(target)})")
        assert (verb == "start") == bool(sandbox.running(target)), target
    if verb == "start":
        assert sandbox.ctl("status", *targets.values()).expect(0).stderr == "", "start wrote good ones"


@pytest.mark.parametrize("verb", VERBS)
def test_records_that_are_no_plain_files(sandbox: Sandbox, record: Json, verb: str) -> None:
    kinds = {kind: MALFORMED[kind] for kind in NO_PLAIN_FILES if (verb, kind) != ("start", "a directory")}
    targets = define_for(sandbox, kinds)
    expected = []
    for kind, (make, why) in kinds.items():
        path = paths(sandbox, kind)["record"]
        make(path, 4242)
        if path.is_file() and kind != "huge":
            path.write_text(json.dumps(named(record, targets[kind])), encoding="utf-8")
        expected.append(complaint(targets[kind], "record", why, path, FIXES.get(kind, "")))
    result = sandbox.ctl(verb, *targets.values(), timeout=30).expect(VERBS[verb])
    assert sorted(result.stderr.splitlines()) == sorted(expected)


def test_a_running_service_with_a_broken_record_is_stopped_by_its_pid_file(sandbox: Sandbox) -> None:
    sandbox.service("web", "polite")
    sandbox.ctl("start", "web").expect(0)
    pid = sandbox.pid("web")
    write_record(sandbox, "garbage")
    result = sandbox.ctl("stop", "web", "--json").expect(0).one
    assert [(claim["source"], claim["verdict"]) for claim in result["claims"]] == [
        ("record", "refused"),
        ("pid file", "holds"),
    ]
    assert not proc.alive(pid)
    assert not sandbox.pid_file("web").exists(), "it named what was stopped"
    assert sandbox.ctl("stop", "web", "--json").expect(0).one["changed"] is False


def empty_run_id(_: Pids, sandbox: Sandbox) -> list[Json]:
    """A record by whose run id every process without one would seem to be the service's."""
    sandbox.service("web", "polite")
    sandbox.ctl("start", "web").expect(0)
    run = sandbox.run_on_record("web")
    sandbox.ctl("kill", "web").expect(0)
    innocent = start_bystander(sandbox.reaper, sandbox.programs("recorder", "-"))
    outcomes = []
    nobodys = {**run, "run_id": None}
    states: tuple[Json, ...] = (
        {"schema": 2, "target": "web", "run": {**run, "run_id": ""}},
        {"schema": 2, "target": "web", "run": nobodys},
        {"schema": 2, "target": "web", "run": nobodys, "older": [{**run, "run_id": ""}]},
        {**nobodys, "schema": 1, "earlier_run_ids": [""]},
    )
    for state in states:
        write_record(sandbox, json.dumps(state))
        result = sandbox.ctl("kill", "web", "--json")
        outcomes.append({"rc": result.rc, "signals": result.one["signals"], "alive": innocent.alive()})
    return outcomes


def test_a_record_without_a_run_id_makes_nobody_a_survivor(sandbox: Sandbox) -> None:
    """In a pid namespace of its own: were it otherwise, every process in there would be killed."""
    assert in_own_namespace(sandbox, empty_run_id) == [{"rc": 0, "signals": [], "alive": True}] * 4
