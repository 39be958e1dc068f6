"""Which processes a name stands for: one instance and never its neighbour, and nobody at a terminal who says no."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence

import pytest

from support import proc
from support.bystander import assert_untouched
from support.pty import Terminal
from support.sandbox import CTL, Sandbox
from support.strace import calls
from support.waiting import wait_line

IDS = ["1", "10", "1x", "11"]
WORKERS = [f"worker@{number}" for number in IDS]


def forget(sandbox: Sandbox, *targets: str) -> None:
    for target in targets:
        sandbox.record(target).unlink()
        sandbox.pid_file(target).unlink()


def start(sandbox: Sandbox, *targets: str) -> dict[str, int]:
    """Starts them side by side; the main process of each, once it has spoken."""
    started = sandbox.ctl("start", *targets, "--json").expect(0).by_target
    for target in targets:
        wait_line(sandbox.log(target), "ready (pid:")
    return {target: started[target]["pid"] for target in targets}


def template(sandbox: Sandbox, *, rules: bool) -> None:
    """Instances that record each signal, told apart by their argv or only by the mark that ctl puts on them."""
    word = f"{sandbox.reaper.mark}-worker" if rules else "-"
    match = {"cmdline": f"{word}@{{instance}}"} if rules else {}
    arguments = ["-", f"{word}@{{instance}}"] if rules else ["-"]
    log = {"log": str(sandbox.log_dir / "{target}.log")}
    settings = {"schedule": "USR1/0/KILL/5"}
    sandbox.service("worker@", "recorder", *arguments, start=log, match=match, stop=settings)


@pytest.mark.parametrize("recorded", [True, False], ids=["recorded", "record lost"])
@pytest.mark.parametrize("rules", [True, False], ids=["by rule", "by mark"])
def test_an_instance_is_never_taken_for_its_neighbour(sandbox: Sandbox, rules: bool, recorded: bool) -> None:
    template(sandbox, rules=rules)
    pids = start(sandbox, *WORKERS)
    if not recorded:
        forget(sandbox, *WORKERS)
    for target, verb in (("worker@1", "stop"), ("worker@1x", "kill"), ("worker@10", "stop")):
        assert sandbox.ctl(verb, target, "--json").expect(0).one["pid"] == pids.pop(target)
        assert sandbox.ctl(verb, target, "--json").expect(0).one["changed"] is False
        for other, pid in pids.items():
            assert proc.alive(pid), f"{target} has taken {other}"
            assert "got" not in sandbox.log(other).read_text(encoding="utf-8")
    assert list(pids) == ["worker@11"]


def test_every_instance_that_is_known_in_any_way(sandbox: Sandbox) -> None:
    """Recorded, running without a record, started by hand, known by a record alone. A record of old is cleared away."""
    template(sandbox, rules=True)
    pids = start(sandbox, "worker@1", "worker@2", "worker@3")
    forget(sandbox, "worker@2")
    pidfd = sandbox.reaper.adopt(pids["worker@3"])
    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    word = f"{sandbox.reaper.mark}-worker@"
    by_hand = sandbox.reaper.start(sandbox.programs("recorder", "-", f"{word}by-hand"))
    retitled = sandbox.reaper.start(sandbox.programs("recorder", "-", f"{word}5: 3 jobs"))
    strangers = [
        sandbox.reaper.start(sandbox.programs("recorder", "-", text))
        for text in (word, f"{word}@7", f"{sandbox.reaper.mark}-workers@8")
    ]
    status = sandbox.ctl("status", "worker@", "--json").by_target
    states = {name: one["state"] for name, one in status.items()}
    assert states.pop("worker@3") == "ended"
    assert set(states) == {"worker@1", "worker@2", "worker@5", "worker@by-hand"}
    assert {status["worker@by-hand"]["pid"], status["worker@5"]["pid"]} == {by_hand.pid, retitled.pid}
    stopped = sandbox.ctl("stop", "worker@", "--json").expect(0).by_target
    assert {name: one["reason"] for name, one in stopped.items()} == {
        name: "already_stopped" if name == "worker@3" else "escalated" for name in status
    }
    assert not list(sandbox.run_dir.glob("worker@*.pid"))
    assert not any(map(sandbox.has_run, status))
    for stranger in strangers:
        assert_untouched(stranger)
    left = sandbox.ctl("status", "worker@", "--json").by_target
    assert {name: one["state"] for name, one in left.items()} == dict.fromkeys(status, "stopped"), "they are remembered"


def test_what_fits_a_template_and_names_no_instance_is_none(sandbox: Sandbox) -> None:
    word = f"{sandbox.reaper.mark}-optional"
    sandbox.define("worker@", {"match": {"cmdline": f"{word}( --id {{instance}})?$"}})
    for arguments in ((word,), (word, "--id", "1")):
        sandbox.reaper.start(sandbox.programs("recorder", "-", *arguments))
    assert list(sandbox.ctl("status", "worker@", "--json").by_target) == ["worker@1"]


def test_the_instances_of_all_templates_are_looked_for_at_once(sandbox: Sandbox) -> None:
    for name in ("worker", "engine", "broker"):
        sandbox.define(f"{name}@", {"match": {"cmdline": f"{sandbox.reaper.mark}-{name} {{instance}}$"}})
    bystander = sandbox.reaper.start(sandbox.programs("recorder", "-"))
    read = [call for call in calls(sandbox, "status") if f'"/proc/{bystander.pid}/cmdline"' in call.line]
    assert len(read) == 1


# -- at a terminal


def answer(text: str) -> Callable[[Terminal], None]:
    return lambda terminal: terminal.send(text)


def ctrl_c(terminal: Terminal) -> None:
    terminal.interrupt()


NO = {"no": answer("n\n"), "Enter": answer("\n"), "what is no answer": answer("yess\n"), "Ctrl-D": answer("\x04")}


def at_a_terminal(sandbox: Sandbox, argv: Sequence[str], reply: Callable[[Terminal], None] | None) -> tuple[int, str]:
    """The exit code of such a call, and all that was shown. Without a reply, it must not ask."""
    with Terminal(sandbox.reaper, [CTL, *argv], sandbox.environment({"TERM": "dumb"}), columns=500) as terminal:
        if reply is not None:
            terminal.expect("[y/N] ")
            reply(terminal)
        code = terminal.wait()
        assert reply is not None or "[y/N]" not in terminal.screen
        return code, terminal.screen


def test_whoever_sits_at_a_terminal_is_asked_first(sandbox: Sandbox) -> None:
    for name in ("db", "gateway", "vault"):
        sandbox.service(name, "recorder", stop={"schedule": "USR1/0/KILL/5", "protected": name == "vault"})
    pids = start(sandbox, "db", "gateway", "vault")
    calls = [["stop"], ["stop", "--all"], ["kill", "--all"], ["restart", "--all"]]
    for argv, (name, reply) in zip(calls, NO.items(), strict=True):
        code, screen = at_a_terminal(sandbox, argv, reply)
        assert code == 1, name
        assert f"  db       pid {pids['db']}\n  gateway  pid {pids['gateway']}\n" in screen
        assert f"{argv[0].capitalize()} these 2 services? [y/N] " in screen
        assert "ctl: not confirmed: nothing was done\n" in screen
        assert f"ctl: vault: is protected: left alone; to fix: ctl {argv[0]} vault\n" in screen
    code, screen = at_a_terminal(sandbox, ["stop"], ctrl_c)
    assert code == 130
    assert "interrupted" in screen
    unseen = sandbox.tmp / "unseen"
    with Terminal(sandbox.reaper, ["sh", "-c", f"{CTL} stop 2>{unseen}"], sandbox.environment()) as terminal:
        assert terminal.wait() == 2
    assert "names no services: nothing was done; this would stop 2" in unseen.read_text(encoding="utf-8")
    with Terminal(sandbox.reaper, ["sh", "-c", f"{CTL} stop --all 2>{unseen}"], sandbox.environment()) as terminal:
        assert terminal.wait() == 1
    assert "cannot, as stderr is no terminal: nothing was done; to fix: --yes goes on" in unseen.read_text(
        encoding="utf-8"
    )
    code, screen = at_a_terminal(sandbox, ["stop", "--dry-run"], None)
    assert code == 0
    assert "db: would take at most" in screen
    for name, pid in pids.items():
        assert proc.alive(pid)
        assert "got" not in sandbox.log(name).read_text(encoding="utf-8"), f"{name} was signalled"

    code, screen = at_a_terminal(sandbox, ["stop"], answer("y\n"))
    assert code == 0
    assert f"gateway: stopped, but only KILL ended it, pid {pids['gateway']}" in screen
    assert [proc.alive(pids[name]) for name in ("db", "gateway", "vault")] == [False, False, True]
    again = start(sandbox, "db")
    assert at_a_terminal(sandbox, ["kill", "--all", "--yes"], None)[0] == 0
    assert not proc.alive(again["db"])
    # Nothing is left that could be asked about; and who names a service has said what is meant.
    assert at_a_terminal(sandbox, ["stop"], None)[0] == 0
    assert at_a_terminal(sandbox, ["stop", "vault"], None)[0] == 0
    assert not proc.alive(pids["vault"])


def test_where_nobody_can_be_asked_nobody_is(sandbox: Sandbox) -> None:
    """From a script or cron: stdin is no terminal, and what comes from it is no answer. All must be said by name."""
    sandbox.service("web", "polite")
    pids = start(sandbox, "web")
    for bare in (["stop"], ["stop", "--json"], ["stop", "--quiet"]):
        refused = sandbox.ctl(*bare, stdin="y\n").expect(2)
        assert f"web  pid {pids['web']}" in refused.stderr
    assert proc.alive(pids["web"])
    stopped = sandbox.ctl("stop", "--all", stdin="n\n").expect(0)
    assert stopped.stdout.startswith(f"web: stopped, pid {pids['web']}, ")
    assert stopped.stderr == ""
