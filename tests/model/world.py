"""The world of the model: services, bystanders, and what is really there, read by the tests' own code from /proc.

It is a pid namespace of its own with this process as PID 1, so every process in it is known, and pids are recycled on
order. What is there at the end of a step is a `View`; two of them are what the contract (contract.py) judges.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import signal
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from support import proc
from support.bystander import assert_untouched
from support.pidreuse import Pids
from support.reaper import Process, Reaper
from support.requires import has_pidfd_inodes
from support.sandbox import PLAIN_UID, Json, Result, Sandbox
from support.waiting import wait_until

WORD = "ledger"
RULED = ("web", "worker@1", "worker@10", "vault")  # known by the rule RULE; the others by CTL_TARGET alone
TARGETS = (*RULED, "plain", "daemon", "deaf", "leaky")
RULE = rf"polite\.py 0 {{target}} {WORD}$"
PROTECTED = frozenset({"vault"})
OWN_PID_FILE = "daemon.own"
Key = tuple[int, int]  # pid and start time: it tells processes apart as long as two of one pid are 10 ms apart


class Seen(NamedTuple):
    """One process."""

    key: Key
    state: str
    parent: int
    session: int
    uid: int
    argv: tuple[str, ...]
    environment: dict[str, str]

    @property
    def pid(self) -> int:
        return self.key[0]

    @property
    def run_id(self) -> str:
        return self.environment.get("CTL_RUN_ID", "")


class Found(NamedTuple):
    """What the contract (design: finding the main process) makes of what is there."""

    state: str  # running, stopped, stale, ambiguous
    main: Key | None = None
    source: str = ""
    run_ids: frozenset[str] = frozenset()  # of its record
    candidates: tuple[Key, ...] = ()


class View(NamedTuple):
    """All there is at one moment at which nothing is on its way."""

    processes: dict[Key, Seen]
    owners: dict[Key, str]  # whose each of them is; bystanders are nobody's
    files: dict[str, str]  # of the run directory, but no locks; and the pid file that a service writes itself
    found: dict[str, Found]

    def members(self, target: str) -> frozenset[Key]:
        return frozenset(key for key, owner in self.owners.items() if owner == target)

    def family(self, target: str) -> frozenset[Key]:
        """Its main process, and all that are of the same run or of one that its record tells of."""
        found = self.found[target]
        own = {self.processes[found.main].run_id} if found.main else set()
        run_ids = (found.run_ids | own) - {""}
        return frozenset(
            key for key in self.members(target) if key == found.main or self.processes[key].run_id in run_ids
        )

    def mains(self, target: str) -> frozenset[Key]:
        """Those that ctl has started as a main process, and whatever it takes their place."""
        return frozenset(
            key
            for key in self.members(target)
            if self.processes[key].run_id and (target != "leaky" or self.processes[key].session == key[0])
        )

    def held(self, target: str) -> frozenset[Key]:
        return frozenset(key for key in self.members(target) if self.processes[key].state == "T")

    def files_of(self, target: str) -> dict[str, str]:
        own = {OWN_PID_FILE} if target == "daemon" else set()
        return {
            name: what
            for name, what in self.files.items()
            if (name.rpartition(".")[0] == target and not _tells_of_no_run(what)) or name in own
        }

    def all_of(self, target: str) -> tuple[object, ...]:
        """Everything that a verb could change."""
        return self.members(target), self.held(target), self.files_of(target)

    def is_blocked(self, target: str) -> bool:
        """Whether something stands where ctl, or the service itself, has to write a file."""
        return any(
            what.startswith("directory") for name, what in self.files_of(target).items() if not name.endswith(".paused")
        )


class World:
    """The sandbox with its services and bystanders, for one example after the other."""

    def __init__(self, sandbox: Sandbox, pids: Pids) -> None:
        self.sandbox, self.pids = sandbox, pids
        self.journal: list[str] = []
        self.bystanders: list[Process] = []  # of all examples
        self.by_hand: dict[Key, str] = {}
        self.clean: set[str] = set()
        self.old_records: dict[str, Json] = {}
        self._base = sandbox.reaper
        self._ready: set[Key] = set()
        self._checked: tuple[View, frozenset[Key]] | None = None  # what status was last asked about
        self._strangers: list[Process] = []  # bystanders of this example
        self._boot_id = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        sandbox.reaper = Reaper(f"{self._base.mark}-example")
        self._define()
        self._start_bystanders()

    def _define(self) -> None:
        soon = {"log": r"^ready \(pid:"}
        for name in ("web", "worker@", "vault"):
            stop = {"protected": name in PROTECTED, "schedule": "TERM/5/KILL/5"}
            match = {"cmdline": RULE} | ({"user": "root"} if name == "vault" else {})
            around = {"drain": {"command": ["/bin/true"]}} if name == "web" else {}
            if name == "web":
                stop |= {"before": [["/bin/true"]], "after": [["/bin/true"]]}
            start = {"log": str(self.sandbox.log("{target}"))}
            self.sandbox.service(
                name, "polite", 0, "{target}", WORD, start=start, ready=soon, match=match, stop=stop, **around
            )
        own = str(self.own_pid_file)
        self.sandbox.service("plain", "polite")
        self.sandbox.service(
            "daemon", "forker", "--pidfile", own, start={"type": "forking"}, ready=soon, stop={"pid_file": own}
        )
        self.sandbox.service("deaf", "ignorer", ready=soon, stop={"schedule": "TERM/0.05/KILL/5", "kill_mode": "tree"})
        self.sandbox.service("leaky", "escapee", self._escaped, ready=soon, stop={"schedule": "TERM/0.1/KILL/5"})

    @property
    def own_pid_file(self) -> Path:
        return self.sandbox.log_dir / OWN_PID_FILE

    @property
    def _escaped(self) -> Path:
        return self.sandbox.log_dir / "escaped.pid"

    # -- bystanders

    def _start_bystanders(self) -> None:
        """They look alike, each but for one thing, and are there for all examples."""
        other = {"CTL_RUN_DIR": str(self.sandbox.tmp), "CTL_RUN_ID": secrets.token_hex(16)}
        for name in ("web", "worker@1", "worker@100", "vault2"):
            self._start_bystander("polite.py", "0", name, f"{WORD}s")
        self._start_bystander("polite.py", "0", "vault", WORD, user=PLAIN_UID)
        self._start_bystander("polite.py", env={"CTL_TARGET": "plain", **other})
        ours = {"CTL_TARGET": "plain", "CTL_RUN_DIR": str(self.sandbox.run_dir)}
        self._start_bystander("polite.py", env={**ours, "CTL_RUN_ID": secrets.token_hex(16)}, user=PLAIN_UID)

    def _start_bystander(self, *words: str, env: dict[str, str] | None = None, user: int | None = None) -> None:
        self.bystanders.append(
            self._base.start(self.sandbox.programs("recorder", "-", *words), env=env or {}, user=user)
        )

    def recycle(self, target: str) -> bool:
        """Ends the main process and gives its pid to a bystander that nearly fits. False where there is none."""
        main = self.view().found[target].main
        if main is None or main in self.by_hand:
            return False
        self.pids.end(main[0])
        argv = self.sandbox.programs("recorder", "-", "polite.py", "0", target, f"{WORD}s")
        self._strangers.append(self.pids.start_as(main[0], argv))
        self.bystanders.append(self._strangers[-1])
        return True

    def take_as(self, process: Process, target: str) -> None:
        """A process started by hand is this target's; "": nobody's, although it nearly fits."""
        self.by_hand[(process.pid, proc.start_time(process.pid))] = target
        self.clean.discard(target)

    # -- examples

    def reset(self) -> None:
        """Everything of the last example is gone: processes, files and zombies."""
        for stranger in self._strangers:
            stranger.signal(signal.SIGKILL)
            stranger.wait()
            self.bystanders.remove(stranger)
        mark = self.sandbox.reaper.mark
        self.sandbox.reaper.close()
        self.sandbox.reaper = Reaper(mark)
        known = {process.pid for process in self.bystanders}
        for key, seen in _processes().items():
            if key[0] not in known and seen.state != "Z":
                with contextlib.suppress(ProcessLookupError):
                    _kill(key[0])
        wait_until(lambda: {key[0] for key in _living()} == known, "all of the last example has ended")
        self.reap()
        for directory in (self.sandbox.run_dir, self.sandbox.log_dir):
            for path in directory.iterdir():
                remove(path)
        self.journal, self.by_hand, self._strangers, self._ready = [], {}, [], set()
        self.clean, self.old_records = set(TARGETS), {}

    def reap(self) -> None:
        """Orphans are ours, as PID 1's; who was started here waits to be asked for."""
        ours = {process.pid for reaper in (self._base, self.sandbox.reaper) for process in reaper._processes}
        for key, seen in _processes().items():
            if seen.state == "Z" and seen.parent == os.getpid() and key[0] not in ours:
                os.waitpid(key[0], 0)

    @contextmanager
    def step(self, what: str, targets: frozenset[str]) -> Iterator[View]:
        """One step that may change these services and no other. Afterwards nothing is on its way, and all is well."""
        self.journal.append(what)
        try:
            before = self.view()
            yield before
            after = self.settle()
            self.check(before, after, targets)
        except BaseException as error:
            error.add_note("what was done, step by step:\n  " + "\n  ".join(self.journal))
            raise

    def check(self, before: View, after: View, targets: frozenset[str]) -> None:
        """What holds after each step."""
        for bystander in self.bystanders:
            assert_untouched(bystander)
        for target in TARGETS:
            if target not in targets:
                assert after.all_of(target) == before.all_of(target), f"{target} was none of the targets"
            if not after.members(target) and not after.files_of(target):
                self.clean.add(target)
            if target in self.clean:
                mains = after.mains(target)
                assert len(mains) <= 1, f"{target}: more than one main process: {mains}"
                assert not mains or after.found[target].main in mains, f"{target}: {mains} runs unrecorded"
        due = {pause["id"] for pause in self._pauses() if pause.get("due") is not None}
        keepers = [seen.argv[seen.argv.index("--due") + 1] for seen in after.processes.values() if _is_keeper(seen)]
        assert sorted(keepers) == sorted(due), "who resumes is there for each pause with an end, and for no other"
        zombies = frozenset(key for key, seen in _processes().items() if seen.state == "Z")
        if (after, zombies) != self._checked:
            self._check_status(after)
            self._checked = after, zombies

    def _check_status(self, after: View) -> None:
        result = self.ctl("status", "--json", silent=True)
        told = result.by_target
        for target in TARGETS:
            found = after.found[target]
            if target not in told:
                assert "@" in target, f"{target} is missing in {result}"
                assert found.state == "stopped", f"status does not list {target}, which is {found}"
            else:
                assert_truthful(after, target, told[target])
        strangers = told.keys() - set(TARGETS)
        assert not strangers, f"status lists {strangers}"
        is_ambiguous = any(found.state == "ambiguous" for found in after.found.values())
        assert result.rc == (4 if is_ambiguous else 0 if all(map(is_as_wanted, told.values())) else 1), result

    # -- ctl

    def ctl(self, *args: object, silent: bool = False) -> Result:
        result = self.sandbox.ctl(*args)
        if not silent:
            self.note(result)
        assert_no_fault(result)
        return result

    def note(self, result: Result) -> None:
        said = " ".join((result.stdout + result.stderr).split())
        with contextlib.suppress(ValueError, KeyError):
            told = result.by_target.items()
            said = ", ".join(f"{name}: {one.get('reason')} (pid {one['pid']})" for name, one in told)
        self.journal.append(f"    ctl {' '.join(result.argv[1:])}: exit {result.rc}: {said}")

    # -- what is there

    def view(self) -> View:
        processes = _processes()
        alive = {key: seen for key, seen in processes.items() if seen.state != "Z"}
        owners = {key: owner for key, seen in alive.items() if (owner := self._owner(seen)) is not None}
        files = {path.name: shown for path in self.run_files() if (shown := _shown(path)) is not None}
        found = {target: self._find(target, alive) for target in TARGETS}
        return View(alive, owners, files, found)

    def run_files(self) -> list[Path]:
        paths = [path for path in self.sandbox.run_dir.iterdir() if path.suffix in {".json", ".pid", ".paused"}]
        paths += [self.own_pid_file] if os.path.lexists(self.own_pid_file) else []
        return sorted(path for path in paths if not path.name.startswith("."))

    def settle(self) -> View:
        """What is there once nothing is on its way up or out."""
        restless: list[Seen] = []

        def is_calm() -> bool:
            due = {str(pause["id"]) for pause in self._pauses() if pause.get("due") is not None}
            restless[:] = [seen for seen in _living().values() if not self._is_calm(seen, due)]
            return not restless

        try:
            wait_until(is_calm, "nothing is on its way", timeout=15)
        except AssertionError:
            left = "\n".join(f"pid {seen.pid}, state {seen.state}: {' '.join(seen.argv)}" for seen in restless)
            raise AssertionError(f"left behind, or never ready:\n{left}") from None
        return self.view()

    def _is_calm(self, seen: Seen, due: set[str]) -> bool:
        if _is_keeper(seen):
            return seen.argv[seen.argv.index("--due") + 1] in due
        if seen.key in self.by_hand or seen.pid in {process.pid for process in self.bystanders}:
            return True
        owner = self._owner(seen)
        return owner is not None and (seen.state == "T" or self._is_ready(seen, owner))

    def _is_ready(self, seen: Seen, target: str) -> bool:
        """Each says so when it is what it is going to be: in its log, or the escapee in a file."""
        if seen.key not in self._ready:
            line = f"ready (pid: {seen.pid})"
            said = any(line in text(path) for path in self.sandbox.log_dir.glob(f"{target}.log*"))
            if said or (target == "leaky" and text(self._escaped).strip() == str(seen.pid)):
                self._ready.add(seen.key)
        return seen.key in self._ready

    def _owner(self, seen: Seen) -> str | None:
        if seen.key in self.by_hand:
            return self.by_hand[seen.key]
        if seen.environment.get("CTL_RUN_DIR") != str(self.sandbox.run_dir) or seen.uid != 0:
            return None
        target = seen.environment.get("CTL_TARGET")
        is_program = any("/programs/" in word for word in seen.argv[:4])
        return target if target in TARGETS and is_program else None

    def _pauses(self) -> list[Json]:
        pauses = []
        for path in self.sandbox.run_dir.glob("*.paused"):
            with contextlib.suppress(ValueError, OSError):
                pause = json.loads(path.read_bytes())
                pauses += [pause] if isinstance(pause, dict) and "id" in pause else []
        return pauses

    # -- what the contract makes of it

    def _find(self, target: str, alive: dict[Key, Seen]) -> Found:
        by_pid = {key[0]: seen for key, seen in alive.items()}
        verdict, record = self._judge_record(target, by_pid)
        runs = self._runs(target)
        run_ids = frozenset(run["run_id"] for run in runs) - {None}
        if verdict == "holds":
            assert record
            return Found("running", by_pid[record["identity"]["pid"]].key, "record", run_ids)
        verdicts = [verdict]
        for path in [self.sandbox.pid_file(target), *([self.own_pid_file] if target == "daemon" else [])]:
            pid, written = _read_pid(path)
            if record and path.suffix == ".pid" and pid == record["identity"]["pid"]:
                continue
            seen = by_pid.get(pid or 0)
            if pid and seen and self._fits(target, seen) and _started(seen) <= written + 0.02:
                return Found("running", seen.key, "pid file", run_ids)
            verdicts.append("none" if pid is None else "stale")
        if record and target not in RULED and not record["forking"]:
            fitting = []
        else:
            over = frozenset() if record and record["forking"] else run_ids
            fitting = [seen for seen in alive.values() if self._fits(target, seen) and seen.run_id not in over]
        pids = {seen.pid for seen in fitting}
        mains = tuple(seen.key for seen in fitting if seen.parent not in pids)
        if mains:
            return Found("running" if len(mains) == 1 else "ambiguous", _only(mains), "table", run_ids, mains)
        return Found("stale" if {"stale", "refused"} & set(verdicts) else "stopped", None, "", run_ids)

    def _fits(self, target: str, seen: Seen) -> bool:
        if target in RULED:
            rule = RULE.format(target=re.escape(target))
            return re.search(rule, " ".join(seen.argv)) is not None and (target != "vault" or seen.uid == 0)
        ours = {"CTL_TARGET": target, "CTL_RUN_DIR": str(self.sandbox.run_dir)}
        return ours.items() <= seen.environment.items() and seen.uid == 0

    def _judge_record(self, target: str, by_pid: dict[int, Seen]) -> tuple[str, Json | None]:
        path = self.sandbox.record(target)
        if not os.path.lexists(path):
            return "none", None
        state = self._state(target)
        if state is None:
            return "refused", None
        record = state["run"]
        if record is None:
            return "none", None
        seen = by_pid.get(record["identity"]["pid"])
        holds = seen is not None and record["identity"] == self.identity(seen.pid)
        return "holds" if holds else "stale", record

    def _state(self, target: str) -> Json | None:
        path = self.sandbox.record(target)
        try:
            state: Json | None = json.loads(path.read_bytes()) if is_trusted(path) else None
        except (OSError, ValueError):
            return None
        return state if state and state["target"] == target else None

    def _runs(self, target: str) -> list[Json]:
        """Every run that is on record."""
        state = self._state(target)
        if state is None:
            return []
        return [*([state["run"]] if state["run"] else []), *state["older"]]

    def identity(self, pid: int) -> Json:
        """What a record of this process holds."""
        pidfd = os.pidfd_open(pid)
        try:
            inode = proc.pidfd_inode(pidfd)
        finally:
            os.close(pidfd)
        return {
            "boot_id": self._boot_id,
            "pid_ns": os.stat(f"/proc/{pid}/ns/pid").st_ino,
            "pid": pid,
            "start_ticks": proc.start_time(pid),
            "pidfd_inode": inode if has_pidfd_inodes() else None,
        }


def is_as_wanted(status: Json) -> bool:
    """Whether it is up where it was asked to be."""
    is_wanted = status["wanted"] is not None and status["wanted"]["state"] != "down"
    return status["state"] not in {"ended", "crashed"} and not (is_wanted and status["state"] in {"stopped", "stale"})


def assert_truthful(view: View, target: str, status: Json) -> None:
    """`status` of the target says what is there."""
    found = view.found[target]
    is_held = found.main is not None and view.processes[found.main].state == "T"
    states = {
        "stopped": {"stopped"},
        "stale": {"stale", "ended"},
        "ambiguous": {"unknown"},
        "running": {"paused"} if is_held else {"running", "ready"},
    }[found.state]
    assert status["state"] in states, f"{target} is {found}, and ctl says {status}"
    assert status["pid"] == (found.main and found.main[0]), f"{target} is {found}, and ctl says {status}"


def assert_no_fault(result: Result, *, killed: bool = False) -> None:
    """Whatever was asked of it, ctl has answered."""
    assert "\nTraceback" not in f"\n{result.stderr}", result  # that of a service is indented
    assert 0 <= result.rc < 199 or (killed and result.rc == -signal.SIGKILL), result


def remove(path: Path) -> None:
    """Whatever it is."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def is_trusted(path: Path) -> bool:
    """Whether a pid file or record is one that ctl may believe."""
    found = path.lstat()
    return stat.S_ISREG(found.st_mode) and not found.st_mode & stat.S_IWOTH and found.st_uid == 0


def _read_pid(path: Path) -> tuple[int | None, float]:
    """The pid, 0 where what is there says nothing, None where nothing is there; and when it was written."""
    if not os.path.lexists(path):
        return None, 0.0
    content = path.read_bytes().strip() if is_trusted(path) else b""
    is_pid = content.isdigit() and len(content) < 8 and int(content) > 1
    return (int(content) if is_pid else 0), path.lstat().st_mtime


def _shown(path: Path) -> str | None:
    """What it is and holds, None where it is gone: whoever resumes a service removes a file at any time."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    kind = "directory" if path.is_dir() else "link" if path.is_symlink() else "file"
    return f"{kind} {found.st_mode:o} {found.st_uid} {without_wanted(text(path)) if kind == 'file' else ''}"


def _only(keys: tuple[Key, ...]) -> Key | None:
    return keys[0] if len(keys) == 1 else None


def _started(seen: Seen) -> float:
    """Seconds since the epoch."""
    import time

    booted = time.clock_gettime(time.CLOCK_REALTIME) - time.clock_gettime(time.CLOCK_BOOTTIME)
    return booted + seen.key[1] / os.sysconf("SC_CLK_TCK")


def _living() -> dict[Key, Seen]:
    return {key: seen for key, seen in _processes().items() if seen.state != "Z"}


def _processes() -> dict[Key, Seen]:
    """Every process of this namespace but this one."""
    found: dict[Key, Seen] = {}
    for pid in proc.pids():
        fields = proc.stat(pid) if pid != os.getpid() else []
        if not fields:
            continue
        try:
            argv, uid = tuple(proc.argv(pid)), os.stat(f"/proc/{pid}").st_uid
        except (FileNotFoundError, ProcessLookupError):
            continue
        key = (pid, int(fields[19]))
        found[key] = Seen(key, fields[0], int(fields[1]), int(fields[3]), uid, argv, proc.environment(pid))
    return found


def _is_keeper(seen: Seen) -> bool:
    return "--due" in seen.argv and "resume" in seen.argv


def _kill(pid: int) -> None:
    pidfd = os.pidfd_open(pid)
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    finally:
        os.close(pidfd)


def without_wanted(content: str) -> str:
    """A state file without what is wanted: that is remembered also where nothing of the service is changed."""
    try:
        state = json.loads(content)
    except ValueError:
        return content
    return json.dumps({**state, "wanted": None}) if isinstance(state, dict) and "wanted" in state else content


def _tells_of_no_run(what: str) -> bool:
    """Whether it is a state file, which stays after a stop."""
    return '{"schema": 2' in what and '"run": null' in what
