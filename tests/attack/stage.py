"""A service on a host of its own, brought into a state, and judged after a call of ctl that was cut short.

It runs as PID 1 of a pid namespace, so that every process of the service is known, and each orphan is its child.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from attack.verbs import BRIEF, Acting, daemon_pid_file, define
from support import proc
from support.reaper import MARK
from support.sandbox import Json, Result, Sandbox
from support.waiting import wait_gone, wait_until

SOON = 10.0  # seconds in which what a killed ctl has left behind the gate, or to resume later, is done
HANG = 30.0  # seconds; longer than any deadline of these services


class Stage:
    """The service `web` of one verb, again and again."""

    def __init__(self, sandbox: Sandbox, acting: Acting) -> None:
        self.sandbox, self.acting = sandbox, acting
        self.main: int | None = None  # as the verb begins
        self._proved: set[str] = set()  # what was left behind once, and from which stop and start went on

    def prepare(self) -> None:
        """The state that the verb begins from; what runs already in that state is left."""
        sandbox, acting = self.sandbox, self.acting
        define(sandbox, acting.kind)
        held = {proc.state(pid) == "T" for pid in self.living()}
        if acting.before == "stopped" or len(self.mains()) != 1 or held == {True, False} or not self.is_recorded():
            self.clear()
            held = set()
            if acting.before != "stopped":
                sandbox.ctl("start", "web").expect(0)
        if acting.before == "paused":
            sandbox.ctl("pause", "web").expect(0)
        elif held == {True}:
            sandbox.ctl("resume", "web").expect(0)
        if acting.before != "stopped":
            wait_until(self._is_executed, "it runs, and is recorded")
        if acting.kind == "tree":
            wait_until(lambda: len(self.living()) == 3, "the tree stands")
        self._reap()
        self.main = self.recorded() if acting.before != "stopped" else None

    def clear(self) -> None:
        """Nothing runs, and no file is left but the definition, whatever ctl makes of it."""
        while living := self.living():
            for pid in living:
                with suppress(ProcessLookupError):
                    _kill(pid)
            self._reap()
        for directory in (self.sandbox.run_dir, self.sandbox.log_dir):
            for path in directory.iterdir():
                path.unlink()
        if os.path.exists(daemon_pid_file(self.sandbox)):
            os.unlink(daemon_pid_file(self.sandbox))
        self._reap()

    def call(self, *prefix: str) -> Result:
        """The verb, by itself or under strace."""
        try:
            return self.sandbox.ctl(*self.acting.argv, prefix=prefix, timeout=HANG)
        except subprocess.TimeoutExpired as error:
            raise AssertionError(f"it hangs: no end after {error.timeout:g} s") from None

    # -- what is there

    def living(self) -> list[int]:
        """Every process of the service, whatever ctl knows of it."""
        ours = proc.with_environment(MARK, self.sandbox.reaper.mark)
        return sorted(pid for pid in proc.services("web") if pid in ours)

    def mains(self) -> list[int]:
        """A main process leads its session; the daemon of a forking service has left its own."""
        forking = self.acting.kind == "forking"
        return [pid for pid in self.living() if forking or proc.session(pid) == pid]

    def held(self) -> list[int]:
        return [pid for pid in self.living() if proc.state(pid) == "T"]

    def recorded(self) -> int | None:
        """The pid on record."""
        try:
            record: Json | None = self.sandbox.run_on_record("web")
        except FileNotFoundError:
            return None
        return None if record is None else int(record["identity"]["pid"])

    def is_recorded(self) -> bool:
        """Whether there is one main process, on record; of a forking start, killed, what it began with is there."""
        if self.acting.kind == "forking":
            return len(self.mains()) == 1 and self.recorded() is not None
        return self.mains() == [self.recorded()]

    def _is_executed(self) -> bool:
        """A process that is still being executed shows neither arguments nor an environment."""
        argv = proc.argv(self.recorded() or 0) if self.is_recorded() else [""]
        return argv != [""] and "ctl-gate" not in argv and self.is_recorded()

    def left(self) -> str:
        """Processes and files, without the numbers in them."""
        files = sorted(path for path in self.sandbox.run_dir.iterdir() if path.suffix != ".lock")
        texts = [f"{path.name} {_content(path)}" for path in files]
        processes = sorted(f"{proc.state(pid)} {pid in self.mains()} {proc.argv(pid)}" for pid in self.living())
        text = " ".join([*texts, *processes, str(self.is_recorded()), os.path.basename(self.acting.kind)])
        return re.sub(r"[0-9a-f]{8,}|\d+", "N", text)

    def _reap(self) -> None:
        """Orphans are ours; zombies would be counted by a scan."""
        for pid in proc.children(os.getpid()):
            if proc.state(pid) == "Z":
                os.waitpid(pid, 0)

    # -- what must hold

    def judge(self, result: Result, killed: bool) -> None:
        """After the call: ctl has told no lie, and nothing is lost."""
        if not killed:
            self._no_lie(result)
        self._recorded_soon()
        self._none_held_for_ever()
        if (left := self.left()) not in self._proved:
            self._go_on()
            self._proved.add(left)

    def _no_lie(self, result: Result) -> None:
        if "cannot be loaded" in result.stderr:  # the call was one of an import, in this run: nothing has been done
            return
        assert result.rc != 199, f"a fault in ctl: {result}"
        assert "Traceback" not in result.stderr, result
        if self.acting.verb == "run":
            assert result.rc == BRIEF or not self.living(), f"it failed, and runs: {result}"
            return
        mains, held = self.mains(), self.held()
        told = _told(result)
        if result.rc == 0:
            assert told, f"it says nothing: {result}"
            truth = {
                "start": len(mains) == 1 and told["pid"] == mains[0],
                "stop": not self.living(),
                "kill": not self.living(),
                "restart": len(mains) == 1 and told["pid"] == mains[0] != self.main,
                "reload": mains == [self.main],
                "pause": bool(mains) and (held == self.living() or "--for" in self.acting.argv),
                "resume": bool(mains) and not held,
            }
            assert truth[self.acting.verb], f"it lies: {mains=} {held=} {self.living()=} {self.main=} {result}"
        elif told:
            for lie in self._lies(told, mains, held):
                raise AssertionError(f"it lies: {lie}; {mains=} {held=} {self.main=} {result}")

    def _lies(self, told: Json, mains: list[int], held: list[int]) -> Iterator[str]:
        """What a failed call says that is not so."""
        after = told.get("after")
        if after == "stopped" and mains:
            yield "it runs"
        if after in {"running", "paused"} and not mains:
            yield "nothing runs"
        if after == "paused" and not held:
            yield "nothing is held"
        if after == "running" and held:
            yield "it is held"
        if told.get("changed") is False and mains != ([self.main] if self.main else []):
            yield "it has changed"

    def _recorded_soon(self) -> None:
        """A child behind the gate ends when it finds that ctl is gone, in its own time."""
        recorded = lambda: not self.mains() or self.is_recorded()  # noqa: E731
        wait_until(recorded, "no main process, or one, which is recorded", timeout=SOON)

    def _none_held_for_ever(self) -> None:
        if "--for" in self.acting.argv:
            wait_until(lambda: not self.held(), "it has been resumed", timeout=SOON)
        elif self.held():
            self.sandbox.ctl("resume", "web").expect(0)
            assert not self.held(), "resumed, and still held"

    def _go_on(self) -> None:
        """A later stop and start succeed."""
        sandbox = self.sandbox
        if self.acting.kind == "brief":
            define(sandbox, "simple")
        status = sandbox.ctl("status", "web", "--json")
        if mains := self.mains():
            assert status.rc == 0, f"{mains} not seen: {status}"
            assert status.one["pid"] in mains, f"{mains} not seen: {status}"
        else:  # of children alone it may say that something is left
            assert status.rc in {1, 3}, status
        sandbox.ctl("stop", "web").expect(0)
        assert self.living() == [], "stopped, and processes of it are left"
        assert not sandbox.has_run("web"), "stopped, and its run is on record"
        kept = {".lock", ".json"}
        left = [path.name for path in sandbox.run_dir.iterdir() if path.stem == "web" and path.suffix not in kept]
        assert left == [], "stopped, and its files are left"
        started = sandbox.ctl("start", "web", "--json").expect(0).one
        # A process that is still being executed shows no environment yet.
        wait_until(lambda: self.mains() == [started["pid"]], f"{started['pid']} is the only main process")
        assert self.is_recorded(), "started, and not recorded"


def _kill(pid: int) -> None:
    pidfd = os.pidfd_open(pid)
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        wait_gone(pidfd)
    finally:
        os.close(pidfd)


def _content(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:  # removed meanwhile, by the ctl that resumes
        return ""


def _told(result: Result) -> Json | None:
    try:
        return result.one
    except (ValueError, KeyError):
        return None
