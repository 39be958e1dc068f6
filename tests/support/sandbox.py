"""A host of its own for one test: configuration, run and log directories, and ctl run in them as a user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support import pace, proc, toml
from support.definition import marked
from support.programs import Programs
from support.reaper import MARK, Process, Reaper
from support.waiting import TIMEOUT, wait_closed, wait_file

ROOT = Path(__file__).resolve().parents[2]
CTL = ROOT / "bin" / "ctl"
# In no passwd file. Each worker has its own: a plain user's ctl looks at all processes of that user.
PLAIN_UID = 12345 + int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
NOBODY_UID = 65534

SILENT = {"announcer", "crash"}  # test programs that do not say when they are ready
READINESS = {"tcp", "http", "command", "log", "notify", "settle"}

Json = dict[str, Any]


@dataclass(frozen=True)
class Result:
    """What one run of ctl gave."""

    argv: tuple[str, ...]
    rc: int
    stdout: str
    stderr: str
    seconds: float

    @property
    def json(self) -> Json:
        """The one document on stdout."""
        document: Json = json.loads(self.stdout)
        return document

    @property
    def one(self) -> Json:
        """The only target's result."""
        (result,) = self.json["results"]
        assert isinstance(result, dict)
        return result

    @property
    def by_target(self) -> dict[str, Json]:
        return {result["target"]: result for result in self.json["results"]}

    def expect(self, rc: int) -> Result:
        """Itself, where the exit code is this one; else it fails and shows everything."""
        assert self.rc == rc, f"expected exit {rc} of {self}"
        return self

    def __str__(self) -> str:
        return f"{' '.join(self.argv)}: exit {self.rc}\n-- stdout\n{self.stdout}-- stderr\n{self.stderr}"


class Sandbox:
    """Directories under `home`, all owned by `owner`, as whom ctl then runs unless a call says otherwise."""

    def __init__(self, root: Path, reaper: Reaper, programs: Programs, owner: int | None = None) -> None:
        self.root, self.reaper, self.programs, self.owner = root, reaper, programs, owner
        self.conf, self.run_dir, self.log_dir = root / "conf", root / "run", root / "log"
        self.services, self.home, self.tmp = self.conf / "services", root / "home", root / "tmp"
        self.env: dict[str, str] = {}  # added to the environment of each ctl
        for directory in (self.conf, self.services, self.run_dir, self.log_dir, self.home, self.tmp, self.home / "run"):
            if not directory.exists():  # else it is the same sandbox, seen from inside a namespace
                directory.mkdir()
                self._own(directory)
        self.tmp.chmod(0o1777)
        if not (self.conf / "ctl.toml").exists():
            self.configure(run_dir=str(self.run_dir), log_dir=str(self.log_dir))

    def configure(self, **settings: object) -> None:
        """Writes conf/ctl.toml anew."""
        self._write(self.conf / "ctl.toml", toml.dump(settings))

    def define(self, name: str, definition: Mapping[str, Any] | str) -> Path:
        """Writes a definition with the mark in [start].environment, so that the reaper finds what ctl starts."""
        return self.define_raw(name, marked(definition, self.reaper.mark))

    def define_raw(self, name: str, text: str | bytes) -> Path:
        """Writes a definition as it stands: for those that are refused, since the reaper cannot know its processes."""
        return self._write(self.services / f"{name}.toml", text)

    def service(self, name: str, program: str, *args: object, **tables: Mapping[str, Any]) -> Path:
        """Defines a service that runs a test program, with quick settings where `tables` gives none.

        It is ready when the program says so. `start={"type": "notify"}` and the like are merged into the defaults.
        """
        ready = {"settle": 0.05} if program in SILENT else {"log": r"^ready \(pid: "}
        definition: Json = {
            "start": {"command": self.programs(program, *args), "log": str(self.log(name))},
            "ready": {} if READINESS & tables.get("ready", {}).keys() else ready,
            "stop": {"schedule": "TERM/5/KILL/5"},
        }
        for table, settings in tables.items():
            definition[table] = {**definition.get(table, {}), **settings}
        return self.define(name, definition)

    def ctl(
        self,
        *args: object,
        timeout: float = 60,
        user: int | None = None,
        env: Mapping[str, str] | None = None,
        stdin: str = "",
        cwd: Path | None = None,
        prefix: Sequence[str | Path] = (),
    ) -> Result:
        """Runs ctl to its end. `prefix` is a command that runs it (strace, unshare...)."""
        argv, options = self._invocation(args, user, env, cwd, prefix)
        before = time.monotonic()
        options |= {"input": stdin, "capture_output": True, "text": True, "errors": "replace"}
        done = subprocess.run(argv, timeout=timeout * pace.TIME_FACTOR, check=False, **options)
        return Result(tuple(argv), done.returncode, done.stdout, done.stderr, time.monotonic() - before)

    def ctl_popen(
        self,
        *args: object,
        user: int | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        prefix: Sequence[str | Path] = (),
        **popen: Any,
    ) -> Process:
        """Starts ctl and returns at once; its stdout and stderr are pipes. `collect` waits for it."""
        argv, options = self._invocation(args, user, env, cwd, prefix)
        options.update(ready=None, stderr=subprocess.PIPE)
        return self.reaper.start(argv, **{**options, **popen})

    def collect(self, process: Process, timeout: float = TIMEOUT) -> Result:
        """The result of `ctl_popen`."""
        before = time.monotonic()
        wait_closed([lines for lines in (process.out, process.err) if lines], timeout)
        stdout, stderr = (lines.seen if lines else [] for lines in (process.out, process.err))
        rc = process.wait(timeout)
        argv = tuple(map(str, process.popen.args)) if isinstance(process.popen.args, list) else ()
        return Result(argv, rc, _text(stdout), _text(stderr), time.monotonic() - before)

    def log(self, target: str) -> Path:
        return self.log_dir / f"{target}.log"

    def running(self, target: str) -> list[int]:
        """Every process that this sandbox's ctl started for `target`, and what those have forked, zombies left out."""
        return [pid for pid in proc.services(target) if proc.environment(pid).get(MARK) == self.reaper.mark]

    def pid_file(self, target: str) -> Path:
        return self.run_dir / f"{target}.pid"

    def record(self, target: str) -> Path:
        return self.run_dir / f"{target}.json"

    def run_on_record(self, target: str) -> Json:
        """The run that its state file tells of, None where that tells of none."""
        run: Json = json.loads(self.record(target).read_text(encoding="utf-8"))["run"]
        return run

    def has_run(self, target: str) -> bool:
        """Whether there is a state file that tells of a run."""
        path = self.record(target)
        return path.exists() and json.loads(path.read_text(encoding="utf-8"))["run"] is not None

    def write_run(self, target: str, run: Json) -> None:
        """A state file that tells of this run, and of nothing else."""
        state = {"schema": 2, "target": run["target"], "run": run}
        self.record(target).write_text(json.dumps(state), encoding="utf-8")

    def pid(self, target: str, timeout: float = TIMEOUT) -> int:
        """What the pid file says, as soon as there is one."""
        return int(wait_file(self.pid_file(target), timeout))

    def adopt(self, target: str) -> int:
        """A pidfd of the process that the pid file names, which the reaper will end."""
        return self.reaper.adopt(self.pid(target))

    def fifo(self, name: str) -> Path:
        """A fifo that every user may use, to hold and release a program."""
        path = self.tmp / name
        os.mkfifo(path)
        path.chmod(0o666)
        return path

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """What ctl runs with; nothing of the caller's environment is in it."""
        own = {
            "HOME": self.home,
            "XDG_RUNTIME_DIR": self.home / "run",
            "CTL_CONF": self.conf,
            "CTL_RUN_DIR": self.run_dir,
        }
        return self.reaper.environment({name: str(path) for name, path in own.items()} | self.env | dict(extra or {}))

    def _invocation(
        self,
        args: Sequence[object],
        user: int | None,
        env: Mapping[str, str] | None,
        cwd: Path | None,
        prefix: Sequence[str | Path],
    ) -> tuple[list[str], dict[str, Any]]:
        argv = [*map(str, prefix), str(CTL), *map(str, args)]
        options: dict[str, Any] = {"env": self.environment(env), "cwd": cwd or self.root}
        if (uid := self.owner if user is None else user) is not None and os.geteuid() == 0:
            options.update(user=uid, group=uid, extra_groups=[])
        return argv, options

    def _write(self, path: Path, text: str | bytes) -> Path:
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        path.chmod(0o644)
        self._own(path)
        return path

    def _own(self, path: Path) -> None:
        path.chmod(0o755 if path.is_dir() else 0o644)
        if self.owner is not None and os.geteuid() == 0:
            os.chown(path, self.owner, self.owner)


def _text(lines: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
