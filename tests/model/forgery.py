"""What anyone with access could do to the files that name processes: each a way to lie about who runs."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable
from pathlib import Path

from model.world import TARGETS, World, is_trusted, remove
from support.requires import has_pidfd_inodes
from support.sandbox import PLAIN_UID, Json

HOUR = 3600.0


def forge(world: World, target: str, file: str, how: str) -> None:
    """`file`: record, pid file, own pid file or pause. What cannot be done to it, since it is not there, is not."""
    path = {
        "record": world.sandbox.record(target),
        "pid file": world.sandbox.pid_file(target),
        "own pid file": world.own_pid_file,
        "pause": world.sandbox.run_dir / f"{target}.paused",
    }[file]
    if file == "record" and is_record(path):
        world.old_records.setdefault(target, json.loads(path.read_bytes())["run"])
    if how in ANY:
        ANY[how](path)
    elif file == "record":
        _forge_record(world, target, path, how)
    elif file != "pause":
        pid = PIDS[how](world, target)
        if pid is not None:
            _write(path, f"{pid}\n")
            if how.endswith("long ago"):
                os.utime(path, (path.stat().st_mtime - HOUR, path.stat().st_mtime - HOUR))


def is_record(path: Path) -> bool:
    """Whether it is a state file that tells of a run."""
    if not (os.path.lexists(path) and is_trusted(path) and path.read_bytes().startswith(b'{"schema')):
        return False
    return json.loads(path.read_bytes())["run"] is not None


def _forge_record(world: World, target: str, path: Path, how: str) -> None:
    state = json.loads(path.read_bytes()) if is_record(path) else None
    run = RECORDS[how](world, target, state["run"] if state else None)
    if run is not None:
        _write(path, json.dumps({**(state or {"schema": 2, "older": []}), "target": run["target"], "run": run}))


def _write(path: Path, content: str) -> None:
    remove(path)
    path.write_text(content, encoding="ascii")
    path.chmod(0o644)


def _link(path: Path) -> None:
    """To a file that would be believed, were it no link."""
    real = path.with_name(f"{path.name}.real")
    if path.is_file() and not path.is_symlink():
        path.rename(real)
    else:
        remove(path)
    path.symlink_to(real)


def _directory(path: Path) -> None:
    remove(path)
    path.mkdir()


def _writable(path: Path) -> None:
    if path.is_file() and not path.is_symlink():
        path.chmod(0o666)


def _anothers(path: Path) -> None:
    if path.is_file() and not path.is_symlink():
        os.chown(path, PLAIN_UID, PLAIN_UID)


def _main_pid(world: World, target: str) -> int | None:
    main = world.view().found[target].main
    return None if main is None else main[0]


def _another_services(world: World, target: str) -> int | None:
    pids = (_main_pid(world, other) for other in TARGETS if other != target)
    return next((pid for pid in pids if pid is not None), None)


def _bystanders(world: World, _: str) -> int:
    return world.bystanders[-1].pid


def _other_identity(**changed: object) -> Callable[[World, str, Json | None], Json | None]:
    def change(_: World, __: str, record: Json | None) -> Json | None:
        return record and {**record, "identity": {**record["identity"], **changed}}

    return change


def _shifted(name: str) -> Callable[[World, str, Json | None], Json | None]:
    def change(_: World, __: str, record: Json | None) -> Json | None:
        return record and {**record, "identity": {**record["identity"], name: record["identity"][name] + 1}}

    return change


def _later_start(_: World, __: str, record: Json | None) -> Json | None:
    """Without an inode, which would tell that it is the same process all the same, seen by another clock."""
    if record is None:
        return None
    identity = record["identity"]
    return {**record, "identity": {**identity, "start_ticks": identity["start_ticks"] + 1, "pidfd_inode": None}}


def _of_bystander(world: World, _: str, record: Json | None) -> Json | None:
    return record and {**record, "identity": {**record["identity"], "pid": world.bystanders[-1].pid}}


def _twin_of_bystander(world: World, _: str, record: Json | None) -> Json | None:
    """Its pid and start time, and the inode of one that had both before it."""
    identity = world.identity(world.bystanders[-1].pid)
    return record and {**record, "identity": {**identity, "pidfd_inode": identity["pidfd_inode"] - 1}}


def _of_another_service(world: World, target: str, _: Json | None) -> Json | None:
    paths = [world.sandbox.record(other) for other in TARGETS if other != target]
    return next((json.loads(path.read_bytes())["run"] for path in paths if is_record(path)), None)


def _of_earlier_run(world: World, target: str, _: Json | None) -> Json | None:
    return world.old_records.get(target)


ANY: dict[str, Callable[[Path], None]] = {
    "removed": remove,
    "empty": lambda path: _write(path, ""),
    "garbage": lambda path: _write(path, '{"pid": 1, 4711 \n'),
    "a link": _link,
    "a directory": _directory,
    "writable for all": _writable,
    "another user's": _anothers,
}
RECORDS: dict[str, Callable[[World, str, Json | None], Json | None]] = {
    "later start": _later_start,
    "other inode": _shifted("pidfd_inode"),
    "other namespace": _other_identity(pid_ns=1),
    "other boot": _other_identity(boot_id=secrets.token_hex(16)),
    "bystander's pid": _of_bystander,
    "bystander's twin": _twin_of_bystander,
    "another service's": _of_another_service,
    "earlier run's": _of_earlier_run,
}
if not has_pidfd_inodes():  # nothing tells these two from what they claim to be
    del RECORDS["other inode"], RECORDS["bystander's twin"]
PIDS: dict[str, Callable[[World, str], int | None]] = {
    "bystander's pid": _bystanders,
    "bystander's pid, long ago": _bystanders,
    "another service's pid": _another_services,
    "own main's pid": _main_pid,
    "own main's pid, long ago": _main_pid,
    "ctl's caller": lambda _, __: os.getpid(),
    "no pid at all": lambda _, __: 2**22 - 1,
    "too large": lambda _, __: 10**12,
}
HOW = {
    "record": [*ANY, *RECORDS],
    "pid file": [*ANY, *PIDS],
    "own pid file": [*ANY, *PIDS],
    "pause": ["removed", "garbage", "empty"],
}
