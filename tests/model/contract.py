"""What each verb owes, judged by what was there before and after it: one function for each, for one target."""

from __future__ import annotations

from typing import NamedTuple

from model.world import RULED, View
from support.sandbox import Json, Result

DRY_RUN = "--dry-run"
WRONG_PID = "--expect-pid of another"
RIGHT_PID = "--expect-pid"
THIS_PID = "--pid"
STRANGE_PID = "--pid of another"
REFUSED = 152
NOT_RUNNING = 7


class Call(NamedTuple):
    """One verb on one of its targets, with one option or none."""

    verb: str
    target: str
    option: str
    before: View
    after: View
    told: Json  # its result
    is_clean: bool  # nobody but ctl has meddled with it since it was last gone

    @property
    def changed(self) -> bool:
        return self.before.all_of(self.target) != self.after.all_of(self.target)

    def require(self, holds: bool, what: str) -> None:
        found = self.before.found[self.target], self.after.found[self.target]
        assert holds, (
            f"ctl {self.verb} {self.target} {self.option}: {what}\n"
            f"before: {found[0]} {self.before.all_of(self.target)}\n"
            f"after: {found[1]} {self.after.all_of(self.target)}\ntold: {self.told}"
        )

    def require_told(self, code: int, *reasons: str) -> None:
        self.require(self.told["exit_code"] == code, f"exit {code} was due")
        self.require(self.told["ok"] is (code == 0), f"ok: {code == 0} was due")
        self.require(self.told["reason"] in reasons, f"one of {reasons} was due")

    def require_unchanged(self) -> None:
        self.require(not self.changed, "it has changed something")
        self.require(self.told["changed"] is False, "it says that it has changed something")

    def require_truthful_changed(self) -> None:
        self.require(self.told["changed"] is self.changed, f"changed: {self.changed} was due")


def judge(call: Call) -> None:
    """Fails where the verb did not do what it owes, or says what is not so."""
    before = call.before.found[call.target]
    state = "paused" if before.main in call.before.held(call.target) else before.state
    if (refusal := _refusal(call)) is not None:
        call.require_told(REFUSED, refusal)
        call.require_unchanged()
        return
    call.require(
        call.told["before"] in {state, "ended" if state == "stale" else state} or before.state == "ambiguous",
        f"before: {state} was due",
    )
    if call.option == DRY_RUN:
        _judge_dry_run(call)
    else:
        JUDGES[call.verb](call)


def _refusal(call: Call) -> str | None:
    """Why nothing may be done, None where there is no reason."""
    before = call.before.found[call.target]
    if call.option == STRANGE_PID:
        return "identity_mismatch"
    if before.state == "ambiguous":
        return None if call.option == THIS_PID else "ambiguous"
    needs_main = call.verb in {"start", "restart"}
    if call.option == WRONG_PID and (before.main or needs_main):
        return "identity_mismatch"
    return None


def _judge_dry_run(call: Call) -> None:
    is_running = call.before.found[call.target].main is not None
    if call.verb in {"pause", "resume"} and not is_running:
        call.require_told(NOT_RUNNING, "not_running")
    else:
        call.require_told(0, "planned", f"already_{call.told['before']}", "already_running", "already_stopped")
    call.require_unchanged()


def _judge_end(call: Call) -> None:
    """Stop and kill: whoever is of the run is gone, and of a service that nobody has meddled with, everyone."""
    before, after = call.before.found[call.target], call.after.found[call.target]
    main = before.main or (before.candidates and next(key for key in before.candidates if key[0] == call.told["pid"]))
    if main:
        call.require_told(0, "killed") if call.verb == "kill" else call.require_told(0, "stopped", "escalated")
        call.require(call.told["pid"] == main[0], "another pid was due")
        call.require(main not in call.after.processes, "its main process is there")
    elif call.before.members(call.target):
        call.require_told(0, "stopped", "killed", "escalated", "already_stopped")
    else:
        call.require_told(0, "already_stopped")
        call.require(call.told["signals"] == [], "nobody is there to be signalled")
    call.require_truthful_changed()
    call.require(call.told["after"] == "stopped", "after: stopped was due")
    left = call.after.members(call.target) & call.before.family(call.target)
    call.require(not left, f"{left} of its run are left")
    if call.is_clean or (call.target not in RULED and before.state in {"stopped", "stale"}):
        call.require(not call.after.members(call.target), "processes of it are left")
    if call.is_clean:
        call.require(after.state == "stopped", "it should be stopped")
        call.require(not call.after.files_of(call.target), "files of it are left")


def _judge_start(call: Call) -> None:
    before, after = call.before.found[call.target], call.after.found[call.target]
    if before.main:
        call.require_told(0, "already_running")
        call.require(call.told["pid"] == before.main[0], "another pid was due")
        call.require(call.before.members(call.target) == call.after.members(call.target), "it was running already")
        call.require(call.before.held(call.target) == call.after.held(call.target), "it was to be left as it was")
        if not call.before.is_blocked(call.target):
            call.require_truthful_changed()
            call.require(after.source == "record", "it was to be recorded")
    else:
        _judge_launched(call)


def _judge_launched(call: Call) -> None:
    """A new main process, recorded, beside whatever has outlived earlier ones."""
    others = call.before.members(call.target) - call.before.family(call.target)
    if call.target in RULED and others and call.verb == "restart" and call.told["reason"] == "already_running":
        call.require(call.told["pid"] in {key[0] for key in others}, "another pid was due")
        return  # one that was started by hand has taken its place
    new = call.after.members(call.target) - call.before.members(call.target)
    if call.before.is_blocked(call.target):
        call.require(call.told["ok"] is bool(new), "what did not start does not run")
        return
    call.require_told(0, "started")
    call.require(call.told["changed"] is True, "changed: true was due")
    main = call.after.found[call.target].main
    call.require(main in new and call.after.found[call.target].source == "record", "a recorded main process was due")
    call.require(main is not None and call.told["pid"] == main[0], "another pid was due")


def _judge_restart(call: Call) -> None:
    before = call.before.found[call.target]
    call.require(not before.main or before.main not in call.after.processes, "its old main process is there")
    _judge_launched(call)


def _judge_pause(call: Call) -> None:
    family = call.before.family(call.target)
    if not call.before.found[call.target].main:
        _judge_nobody_there(call)
        return
    was_held = family <= call.before.held(call.target)
    call.require_told(0, "already_paused" if was_held else "paused")
    call.require(family <= call.after.held(call.target), f"of {family} not all are held")
    call.require(call.told["after"] == "paused", "after: paused was due")
    call.require(call.told["changed"] is not was_held or call.changed, f"changed: {not was_held} was due")
    _judge_same_processes(call)


def _judge_resume(call: Call) -> None:
    family = call.before.family(call.target)
    if not call.before.found[call.target].main:
        _judge_nobody_there(call)
        return
    was_held = bool(family & call.before.held(call.target))
    call.require_told(0, "resumed" if was_held else "already_running")
    call.require(not family & call.after.held(call.target), f"of {family} some are held")
    call.require(f"{call.target}.paused" not in call.after.files, "something is left of the pause")
    call.require_truthful_changed()
    _judge_same_processes(call)


def _judge_nobody_there(call: Call) -> None:
    call.require_told(NOT_RUNNING, "not_running")
    call.require(f"{call.target}.paused" not in call.after.files, "something is left of a pause")
    _judge_same_processes(call)


def _judge_same_processes(call: Call) -> None:
    call.require(call.before.members(call.target) == call.after.members(call.target), "its processes are others")


JUDGES = {
    "start": _judge_start,
    "stop": _judge_end,
    "kill": _judge_end,
    "restart": _judge_restart,
    "pause": _judge_pause,
    "resume": _judge_resume,
}


def judge_document(result: Result) -> None:
    """The exit status and the sums are those of the targets."""
    results = result.json["results"]
    codes = {one["exit_code"] for one in results} - {0}
    assert result.rc == (codes.pop() if len(codes) == 1 else 1 if codes else 0), result
    assert result.json["ok"] is all(one["ok"] for one in results), result
    assert result.json["changed"] is any(one["changed"] for one in results), result
