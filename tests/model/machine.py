"""The state machine: random steps of operators, of programs that crash, and of whoever meddles with the files.

No rule has a precondition: what cannot be done is not done, so a list of steps means the same whenever it is repeated.
"""

from __future__ import annotations

import os
import signal
import time
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from model import contract
from model.contract import Call, judge, judge_document
from model.forgery import HOW, forge
from model.world import PROTECTED, RULED, TARGETS, WORD, Key, View, World, assert_no_fault
from support.reaper import Process
from support.sandbox import Result
from support.waiting import readable, wait_no_file, wait_until

VERBS = ("start", "stop", "kill", "restart", "pause", "resume")
PID_VERBS = {"stop", "kill"}
OPTIONS = (
    *[""] * 4,
    contract.DRY_RUN,
    contract.RIGHT_PID,
    contract.WRONG_PID,
    contract.THIS_PID,
    contract.STRANGE_PID,
)
MANY = ("stop", "stop --dry-run", "kill --all", "restart --all", "worker@ stop", "worker@ kill", "worker@ restart")
HELD_FOR = {"ten minutes": "10m", "a moment": "0.2s"}
FORGERIES = tuple((file, how) for file, hows in HOW.items() for how in hows)

verbs = st.sampled_from([*VERBS, "start", "pause"])
names = st.sampled_from(TARGETS)


class Operators(RuleBasedStateMachine):
    """One host, its services, and all that may happen to them. `world` is set before it is run."""

    world: World

    def __init__(self) -> None:
        super().__init__()
        self.world.reset()

    @initialize(started=st.sampled_from(["none", "all", "all", "all"]))
    def begin(self, started: str) -> None:
        if started == "all":
            with self.world.step(f"begin({started!r})", frozenset(TARGETS)):
                self.world.ctl("start", *TARGETS, "--json").expect(0)

    # -- ctl, called once

    @rule(verb=verbs, name=names, option=st.sampled_from(OPTIONS))
    def call(self, verb: str, name: str, option: str) -> None:
        with self.world.step(f"call({verb!r}, {name!r}, {option!r})", frozenset([name])) as before:
            arguments = self._option(before, verb, name, option)
            if arguments is None:
                option, arguments = "", []
            result = self.world.ctl(verb, name, *arguments, "--json")
            self._judge(result, verb, before, option)

    @rule(verb=verbs, chosen=st.lists(names, min_size=2, max_size=4, unique=True))
    def call_on_several(self, verb: str, chosen: list[str]) -> None:
        with self.world.step(f"call_on_several({verb!r}, {chosen!r})", frozenset(chosen)) as before:
            result = self.world.ctl(verb, *chosen, "--json")
            assert list(result.by_target) == chosen, result
            self._judge(result, verb, before, "")

    @rule(verb=verbs, name=names)
    def call_twice(self, verb: str, name: str) -> None:
        """The second time, nothing is changed, but by a restart."""
        with self.world.step(f"call_twice({verb!r}, {name!r})", frozenset([name])) as before:
            self._judge(self.world.ctl(verb, name, "--json"), verb, before, "")
            between = self.world.settle()
            second = self.world.ctl(verb, name, "--json")
            self._judge(second, verb, between, "")
            assert verb == "restart" or second.json["changed"] is False, second

    @rule(words=st.sampled_from(MANY))
    def call_on_all(self, words: str) -> None:
        before = self.world.view()
        running = {name for name in TARGETS if before.found[name].state != "stopped"}
        *template, verb = words.partition(" --")[0].split()
        meant = {name for name in running if name not in PROTECTED and name.startswith(tuple(template or ("",)))}
        with self.world.step(f"call_on_all({words!r})", frozenset(meant)):
            options = [f"--{option}" for option in words.partition(" --")[2:] if option]
            result = self.world.ctl(verb, *template, *options, "--json")
            if template and verb == "restart" and not result.json["results"]:
                assert not meant, result
            assert meant <= result.by_target.keys(), f"{meant} were due: {result}"
            assert not {one for one in result.by_target if one not in meant and one not in TARGETS}, result
            assert PROTECTED.isdisjoint(result.by_target), result
            option = contract.DRY_RUN if "--dry-run" in options else ""
            self._judge(result, verb, before, option, meant)

    @rule(name=names, how_long=st.sampled_from(tuple(HELD_FOR)))
    def pause_for(self, name: str, how_long: str) -> None:
        with self.world.step(f"pause_for({name!r}, {how_long!r})", frozenset([name])) as before:
            result = self.world.ctl("pause", name, "--for", HELD_FOR[how_long], "--json")
            judge_document(result)
            family = before.family(name)
            if before.found[name].main:
                result.expect(0)
                assert "paused_until" in result.one, result
            else:
                result.expect(contract.REFUSED if before.found[name].state == "ambiguous" else contract.NOT_RUNNING)
            if how_long == "a moment" and before.found[name].main:
                file = self.world.sandbox.run_dir / f"{name}.paused"
                wait_until(lambda: not family & self.world.view().held(name), "it is resumed when its time is over")
                wait_no_file(file)
            elif before.found[name].main:
                after = self.world.settle()
                assert family <= after.held(name), f"not all of {family} are held"

    @rule(chosen=st.lists(names, min_size=1, max_size=3, unique=True))
    def status(self, chosen: list[str]) -> None:
        """Nothing is changed by asking, and the exit status is that of the Linux Standard Base."""
        with self.world.step(f"status({chosen!r})", frozenset()) as before:
            result = self.world.ctl("status", *chosen, "--json")
            codes = {"running": 0, "stale": 1, "stopped": 3, "ambiguous": 4}
            result.expect(max(codes[before.found[name].state] for name in chosen))

    # -- ctl, called several times at once, or killed

    @rule(called=st.lists(verbs, min_size=2, max_size=3), name=names)
    def call_at_once(self, called: list[str], name: str) -> None:
        """Only what holds in whatever order they come."""
        with self.world.step(f"call_at_once({called!r}, {name!r})", frozenset([name])) as before:
            processes = [self.world.sandbox.ctl_popen(verb, name, "--json") for verb in called]
            results = [self._collect(process) for process in processes]
            after = self.world.settle()
            if name in self.world.clean:
                self._judge_crowd(called, name, results, before, after)

    @rule(
        verb=st.sampled_from([*VERBS, "pause --for 10m"]),
        name=names,
        locked=st.booleans(),
        milliseconds=st.integers(0, 60),
    )
    def kill_ctl(self, verb: str, name: str, locked: bool, milliseconds: int) -> None:
        """So long after it was called, or after it has taken the lock."""
        what = f"kill_ctl({verb!r}, {name!r}, {locked!r}, {milliseconds!r})"
        with self.world.step(what, frozenset([name])):
            lock = self.world.sandbox.run_dir / f"{name}.lock"
            earlier = _modified(lock)
            process = self.world.sandbox.ctl_popen(*verb.split(), name)
            if locked:
                wait_until(lambda: _modified(lock) != earlier or not process.alive(), "it has the lock, or ended")
            if not readable(process.pidfd, time.monotonic() + milliseconds / 1000):
                process.signal(signal.SIGKILL)
            self._collect(process, killed=True)

    # -- what happens to services

    @rule(name=names, everyone=st.booleans())
    def crash(self, name: str, everyone: bool) -> None:
        with self.world.step(f"crash({name!r}, {everyone!r})", frozenset([name])) as before:
            main = before.found[name].main
            self._signal(before.members(name) if everyone else {main} - {None}, signal.SIGKILL)

    @rule(name=names, number=st.sampled_from([signal.SIGSTOP, signal.SIGCONT]))
    def stop_or_continue(self, name: str, number: signal.Signals) -> None:
        """Somebody does by hand what pause and resume do."""
        with self.world.step(f"stop_or_continue({name!r}, {number!r})", frozenset([name])) as before:
            members = before.members(name)
            self._signal(members, number)
            held = members if number == signal.SIGSTOP else frozenset[Key]()
            wait_until(lambda: self.world.view().held(name) == held, "it has stopped, or goes on")

    @rule(name=st.sampled_from(RULED), fits=st.booleans())
    def start_by_hand(self, name: str, fits: bool) -> None:
        """Two of a kind at most, or one that nearly fits."""
        with self.world.step(f"start_by_hand({name!r}, {fits!r})", frozenset([name])) as before:
            if len(before.members(name)) < 2:
                word = WORD if fits else f"{WORD}/2"
                process = self.world.sandbox.reaper.start(self.world.sandbox.programs("polite", 0, name, word))
                self.world.take_as(process, name if fits else "")

    @rule(name=names)
    def recycle_pid(self, name: str) -> None:
        with self.world.step(f"recycle_pid({name!r})", frozenset([name])):
            self.world.recycle(name)

    @rule()
    def bury(self) -> None:
        """Until then, what has ended is a zombie. Hypothesis begins with the first rule by name, over and over."""
        with self.world.step("bury()", frozenset()):
            self.world.reap()

    # -- what happens to files

    @rule(name=names, forgery=st.sampled_from(FORGERIES))
    def forge(self, name: str, forgery: tuple[str, str]) -> None:
        file, how = forgery
        name = "daemon" if file == "own pid file" else name
        with self.world.step(f"forge({name!r}, {forgery!r})", frozenset([name])):
            self.world.clean.discard(name)
            forge(self.world, name, file, how)

    # -- how

    def teardown(self) -> None:
        self.world.reset()

    def _option(self, before: View, verb: str, name: str, option: str) -> list[Any] | None:
        """What the option is called with, None where it has no meaning here."""
        found = before.found[name]
        main = found.main or (found.candidates[0] if found.candidates else None)
        if option in {contract.THIS_PID, contract.STRANGE_PID} and verb not in PID_VERBS:
            return None
        if option in {contract.THIS_PID, contract.RIGHT_PID} and main is None:
            return None
        if option == contract.RIGHT_PID and found.main is None:
            return None
        strange = self.world.bystanders[0].pid
        arguments: dict[str, list[Any]] = {
            "": [],
            contract.DRY_RUN: ["--dry-run"],
            contract.RIGHT_PID: ["--expect-pid", main and main[0]],
            contract.WRONG_PID: ["--expect-pid", strange],
            contract.THIS_PID: ["--pid", main and main[0]],
            contract.STRANGE_PID: ["--pid", strange],
        }
        return arguments[option]

    def _judge(self, result: Result, verb: str, before: View, option: str, only: set[str] | None = None) -> None:
        judge_document(result)
        after = self.world.settle()
        for name, told in result.by_target.items():
            if only is None or name in only:
                judge(Call(verb, name, option, before, after, told, name in self.world.clean))

    def _judge_crowd(self, called: list[str], name: str, results: list[Result], before: View, after: View) -> None:
        for result in results:
            assert result.rc in {0, 151} | ({7} if {"pause", "resume"} & set(called) else set()), result
        reasons = [result.one["reason"] for result in results]
        if set(called) <= {"stop", "kill"}:
            assert not after.members(name), f"{name}: processes of it are left"
            assert not after.files_of(name), f"{name}: files of it are left"
        if set(called) == {"start"}:
            assert len(after.mains(name)) == 1, f"{name}: {after.mains(name)}"
            assert reasons.count("started") == (0 if before.found[name].main else 1), reasons

    def _collect(self, process: Process, *, killed: bool = False) -> Result:
        result = self.world.sandbox.collect(process)
        self.world.note(result)
        assert_no_fault(result, killed=killed)
        return result

    def _signal(self, keys: Any, number: signal.Signals) -> None:
        """Nothing else runs here, so what was just seen by its pid is still that."""
        for pid, _ in keys:
            pidfd = os.pidfd_open(pid)
            try:
                signal.pidfd_send_signal(pidfd, number)
                if number == signal.SIGKILL:
                    assert readable(pidfd, time.monotonic() + 20), f"pid {pid} does not end"
            finally:
                os.close(pidfd)


def _modified(path: Any) -> int:
    try:
        return int(path.stat().st_mtime_ns)
    except FileNotFoundError:
        return 0
