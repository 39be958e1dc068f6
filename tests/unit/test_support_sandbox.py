"""The sandbox runs ctl as a user does, in directories of its own; a script stands for ctl here."""

from __future__ import annotations

import os
import subprocess
import tomllib
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from support import guard, proc
from support import sandbox as sandbox_module
from support.programs import Programs
from support.reaper import MARK, SESSION, Reaper, sweep
from support.sandbox import NOBODY_UID, PLAIN_UID, Sandbox
from support.strace import at_each, calls, kill_at, since, was_killed
from support.waiting import wait_file

StandIn = Callable[[str], None]


@pytest.fixture
def stand_in(public_dir: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """`stand_in(script)` lets a shell script be ctl."""

    def write(script: str) -> None:
        path = public_dir / "ctl"
        path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        path.chmod(0o755)
        monkeypatch.setattr(sandbox_module, "CTL", path)

    return write


def test_ctl_gets_a_clean_environment(sandbox: Sandbox, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CTL_LEAK", "1")
    stand_in('env; echo "$@" >&2; exit 3')
    result = sandbox.ctl("stop", "web", env={"A": "b"}).expect(3)
    seen = dict(line.split("=", 1) for line in result.stdout.splitlines())
    assert (seen["CTL_CONF"], seen["CTL_RUN_DIR"], seen["A"]) == (str(sandbox.conf), str(sandbox.run_dir), "b")
    assert seen[MARK] == sandbox.reaper.mark
    assert "CTL_LEAK" not in seen
    assert Path(seen["HOME"]) == sandbox.home
    assert result.stderr == "stop web\n"


def test_json_of_one_and_of_many(sandbox: Sandbox, stand_in: StandIn) -> None:
    stand_in("""echo '{"ok": true, "results": [{"target": "a", "pid": 1}]}'""")
    result = sandbox.ctl()
    assert result.json["ok"]
    assert result.one["pid"] == result.by_target["a"]["pid"] == 1


def test_concurrent_runs(sandbox: Sandbox, stand_in: StandIn) -> None:
    stand_in('mkdir "$CTL_RUN_DIR/lock" && echo won; head -c 300000 /dev/zero >&2')
    results = [sandbox.collect(process) for process in [sandbox.ctl_popen() for _ in range(5)]]
    assert sorted(result.stdout for result in results) == ["", "", "", "", "won\n"]
    assert all(len(result.stderr) >= 300000 for result in results)


def test_users(sandbox: Sandbox, plain_sandbox: Sandbox, stand_in: StandIn) -> None:
    stand_in("id -u; id -G; echo $$ > $CTL_RUN_DIR/web.pid")
    assert plain_sandbox.ctl().expect(0).stdout.split() == [str(PLAIN_UID)] * 2
    assert plain_sandbox.pid("web") > 1
    assert "Permission denied" in sandbox.ctl(user=NOBODY_UID).stderr


def test_definitions_carry_the_mark(sandbox: Sandbox) -> None:
    text = (
        '[start]\ncommand = ["a b", "\\"c\\"", "é"]\nenvironment = { X = "1" }\n[match]\ncmdline = \'a\\.b\'\nmax = 2\n'
    )
    read = tomllib.loads(sandbox.define("web@", text).read_text(encoding="utf-8"))
    assert read["start"] == {"command": ["a b", '"c"', "é"], "environment": {"X": "1", MARK: sandbox.reaper.mark}}
    assert read["match"] == {"cmdline": r"a\.b", "max": 2}
    assert sandbox.define_raw("bad", "[start").read_text(encoding="utf-8") == "[start"
    sandbox.define("wrong", {"start": {"command": 3, "environment": "x"}, "strat": {}})


def test_services_of_programs(sandbox: Sandbox) -> None:
    path = sandbox.service("web", "slow_stop", 3, stop={"schedule": "TERM/1/KILL/1"}, ready={"tcp": "127.0.0.1:1"})
    read = tomllib.loads(path.read_text(encoding="utf-8"))
    assert read["start"]["command"][-1] == "3"
    assert read["stop"] == {"schedule": "TERM/1/KILL/1"}
    assert read["ready"] == {"tcp": "127.0.0.1:1"}


def test_what_a_service_leaves_is_found_by_its_mark(sandbox: Sandbox, stand_in: StandIn) -> None:
    stand_in(f'env -i {MARK}="${MARK}" CTL_TARGET=web setsid "$@" > "$CTL_RUN_DIR/out" 2>&1 &')
    sandbox.ctl(*sandbox.programs("ignorer")).expect(0)
    assert "ready" in wait_file(sandbox.run_dir / "out")
    (pid,) = proc.services("web")
    assert proc.environment(pid)[MARK] == sandbox.reaper.mark
    sandbox.reaper.close()
    assert not proc.alive(pid)


def test_sandboxes_end_by_themselves(new_sandbox: Callable[[], AbstractContextManager[Sandbox]]) -> None:
    with new_sandbox() as one, new_sandbox() as other:
        assert one.root != other.root
        pid = one.reaper.start(one.programs("ignorer")).pid
    assert proc.state(pid) == proc.GONE
    assert not one.root.exists()


def test_killed_at_each_system_call(
    new_sandbox: Callable[[], AbstractContextManager[Sandbox]], sandbox: Sandbox, stand_in: StandIn
) -> None:
    stand_in('exec mkdir "$CTL_RUN_DIR/1" "$CTL_RUN_DIR/2" "$CTL_RUN_DIR/3"')
    every = calls(sandbox)
    assert every[0].name == "execve"
    made = [call for call in since(every, "/run/1") if call.name == "mkdir"]
    assert [call.nth for call in made] == [1, 2, 3]

    def check(call: object) -> None:
        assert call in made
        with new_sandbox() as other:
            position = made.index(call)
            assert was_killed(kill_at(other, made[position]))
            assert sorted(os.listdir(other.run_dir)) == ["1", "2", "3"][:position]

    at_each(made, check)
    with pytest.raises(AssertionError, match="3 of 3:\nkilled at mkdir #1"):
        at_each(made, lambda call: pytest.fail(str(call)))


def test_the_sweep_of_the_session_finds_what_a_test_left(reaper: Reaper, programs: Programs) -> None:
    mark = f"{SESSION}-left"
    command = programs("ignorer")
    with subprocess.Popen(command, env=reaper.environment({MARK: mark}), stdout=subprocess.PIPE) as left:
        # Popen returns while the kernel is still executing the program: its environ is there once it has spoken.
        assert left.stdout
        assert left.stdout.readline()
        assert sweep(f"{SESSION}-lef*") == [left.pid]
        assert left.wait() == -9


def test_the_guard_sees_what_was_touched(tmp_path: Path) -> None:
    roots = (tmp_path / "run", tmp_path / "etc")
    before = guard.snapshot(roots)
    assert before == {}
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "web.pid").write_text("1", encoding="ascii")
    assert guard.changed(before, guard.snapshot(roots)) == [str(roots[0]), str(roots[0] / "web.pid")]


def test_the_real_home_and_run_directory_are_out_of_reach(session_dir: Path) -> None:
    for name in ("HOME", "XDG_RUNTIME_DIR", "CTL_CONF", "CTL_RUN_DIR"):
        assert Path(os.environ[name]).is_relative_to(session_dir)
    assert Path("~").expanduser().is_relative_to(session_dir)
