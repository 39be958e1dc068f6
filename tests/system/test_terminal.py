"""On a terminal: what is waited for is shown while it is waited for, and no longer; and nothing of it anywhere else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support import proc
from support.pty import Terminal
from support.reaper import PATH
from support.requires import requires
from support.sandbox import CTL, Sandbox
from support.screen import Screen, cells, plain
from support.waiting import wait_gone, wait_line

STYLED = re.compile(r"\033\[[0-9;]*m")


@contextmanager
def typed(
    sandbox: Sandbox, *args: object, rows: int = 24, columns: int = 80, env: dict[str, str] | None = None
) -> Iterator[Terminal]:
    """`ctl ARGS`, typed at a terminal."""
    argv: list[str | Path] = [CTL, *map(str, args)]
    with Terminal(sandbox.reaper, argv, sandbox.environment(env), rows=rows, columns=columns) as terminal:
        yield terminal


def deaf(sandbox: Sandbox, seconds: float = 1.0, **tables: dict[str, object]) -> int:
    """A running service that only KILL ends, that many seconds after TERM."""
    sandbox.service("web", "ignorer", stop={"schedule": f"TERM/{seconds:g}/KILL/5"}, **tables)
    pid: int = sandbox.ctl("start", "web", "--json").expect(0).one["pid"]
    wait_line(sandbox.log("web"), "ready (pid:")
    return pid


def test_a_long_stop_is_shown_while_it_lasts(sandbox: Sandbox) -> None:
    pid = deaf(sandbox)
    with typed(sandbox, "stop", "web") as terminal:
        shown = terminal.expect(" until KILL")
        assert plain(shown).endswith(f"web: TERM sent to pid {pid}, 1 s until KILL")
        assert terminal.wait() == 0
        (line,) = Screen(terminal.screen, 24, 80).everything
    assert re.fullmatch(rf"web: stopped, but only KILL ended it, pid {pid}, 1\.\d\d s", line)


@pytest.mark.parametrize(
    ("option", "env"), [("--quiet", {}), ("--json", {}), ("--verbose", {"TERM": "dumb"})], ids=["quiet", "json", "dumb"]
)
def test_nothing_is_drawn_where_it_is_not_wanted(sandbox: Sandbox, option: str, env: dict[str, str]) -> None:
    deaf(sandbox, 0.7)
    with typed(sandbox, "stop", "web", option, env=env) as terminal:
        assert terminal.wait() == 0
        assert "\033" not in terminal.screen
        assert "until KILL" not in terminal.screen


def test_pipes_get_results_and_diagnostics_alone(sandbox: Sandbox) -> None:
    pid = deaf(sandbox, 0.7)
    result = sandbox.ctl("stop", "web", env={"TERM": "xterm"}).expect(0)
    assert re.fullmatch(rf"web: stopped, but only KILL ended it, pid {pid}, 0\.\d\d s\n", result.stdout)
    assert result.stderr == ""


def test_a_quick_stop_does_not_flicker(sandbox: Sandbox) -> None:
    sandbox.service("web", "polite", ready={"log": "ready"})
    sandbox.ctl("start", "web").expect(0)
    with typed(sandbox, "stop", "web") as terminal:
        assert terminal.wait() == 0
        assert "\033" not in terminal.screen


def test_ctrl_c_leaves_a_clean_terminal(sandbox: Sandbox) -> None:
    pid = deaf(sandbox, 60)
    with typed(sandbox, "stop", "web", columns=200) as terminal:
        terminal.expect(" until KILL")
        terminal.interrupt()
        assert terminal.wait() == 130
        (line,) = Screen(terminal.screen, 24, 200).everything
    what = f"interrupted: pid {pid} has been sent TERM and is still running"
    assert line == f"ctl: web: {what}; to fix: ctl stop web goes on, ctl kill web ends it at once"


def test_a_lost_terminal_does_not_keep_a_stop_from_its_end(sandbox: Sandbox) -> None:
    deaf(sandbox)
    pidfd = sandbox.adopt("web")
    with typed(sandbox, "stop", "web") as terminal:
        terminal.expect(" until KILL")
        terminal.hang_up()
        terminal.wait()
    wait_gone(pidfd, 0)
    assert not sandbox.has_run("web")


def test_a_lost_terminal_does_not_leave_a_pause_half_done(sandbox: Sandbox) -> None:
    drained = sandbox.tmp / "drained"
    sandbox.service("web", "idle", drain={"command": ["test", "-e", str(drained)], "interval": 0.05})
    pid = sandbox.ctl("start", "web", "--json").expect(0).one["pid"]
    with typed(sandbox, "pause", "web") as terminal:
        terminal.expect("draining")
        terminal.hang_up()
        drained.touch()
        terminal.wait()
    assert proc.state(pid) == "T"


def test_ctrl_z_leaves_a_clean_terminal_and_fg_goes_on(sandbox: Sandbox) -> None:
    deaf(sandbox, 1.5)
    env = sandbox.environment({"PS1": "$ ", "INPUTRC": "/dev/null", "TERM": "vt100"})
    with Terminal(sandbox.reaper, ["bash", "--norc", "--noediting", "-i"], env) as terminal:
        terminal.send(f"{CTL} stop web\n")
        terminal.expect(" until KILL")
        terminal.send("\x1a")
        terminal.expect("Stopped")
        assert not [line for line in Screen(terminal.screen, 24, 80).lines if "until KILL" in line]
        terminal.send("fg\n")
        terminal.expect("only KILL ended it")
        assert not [line for line in Screen(terminal.screen, 24, 80).lines if "until KILL" in line]


def test_many_targets_are_no_more_than_the_terminal_is_high(sandbox: Sandbox) -> None:
    names = [f"web{number}" for number in range(30)]
    for name in names:
        sandbox.service(name, "idle", ready={"settle": 2})
    sandbox.service("bad", "crash", ready={"settle": 2})
    with typed(sandbox, "start", "bad", *names, rows=20) as terminal:
        terminal.expect("0 of 31 started, 1 failed")
        terminal.expect("more\033[K\r\n")
        screen = Screen(terminal.screen, 20, 80)
        assert screen.lines[0] == "0 of 31 started, 1 failed"
        assert re.fullmatch(r"web\d+: waiting until it is ready \(alive for 2 s\), \d s left", screen.lines[1])
        assert screen.lines[18:] == [f"… and {30 - 17} more"]
        assert screen.scrollback == []
        assert terminal.wait() == 151
        everything = Screen(terminal.screen, 20, 80).everything
    results = [line for line in everything if line.startswith("web")]
    assert [line.partition(":")[0] for line in results] == names
    assert not re.search(r"waiting|of 31 started|more", "".join(everything))


def test_it_fits_a_narrow_terminal_and_one_that_becomes_narrower(sandbox: Sandbox) -> None:
    """What a drain says may be of wide characters, and hold what would drive the terminal."""
    says = ["sh", "-c", r"printf '接続中接続中接続中接続中\033[2J'; exit 1"]
    deaf(sandbox, 0.1, drain={"command": says, "interval": 0.1, "timeout": 2})
    with typed(sandbox, "stop", "web", columns=60) as terminal:
        shown = terminal.expect("…")
        assert cells(plain(shown).rpartition("\n")[2].lstrip("\r")) <= 59
        assert "接続中" in shown
        assert "\033[2J" not in terminal.screen
        terminal.resize(24, 30)
        narrow = terminal.expect("…")
        assert "\033[2A\033[J" in narrow  # the terminal has broken what was one line
        assert cells(plain(narrow).rpartition("\n")[2].rpartition("J")[2]) == 29
        assert terminal.wait() == 0


def test_who_holds_the_target_is_shown(sandbox: Sandbox) -> None:
    sandbox.service("web", "never_ready", ready={"log": "^up$"})
    start = sandbox.ctl_popen("start", "web")
    wait_line(sandbox.log("web"), "waiting for a database")
    with typed(sandbox, "stop", "web", "--lock-timeout", 0.9, columns=200) as terminal:
        terminal.expect("s left")
        waiting = f"waiting for ctl start (pid {start.pid})"
        assert Screen(terminal.screen, 24, 200).lines == [f"ctl: web: {waiting}", f"web: {waiting}, 1 s left"]
        assert terminal.wait() == 153
        first, second = Screen(terminal.screen, 24, 200).lines
    assert first == f"ctl: web: {waiting}"
    held = f"ctl start (pid {start.pid}) holds it; waited 0.9 s ({sandbox.run_dir / 'web.lock'})"
    assert second == f"ctl: web: {held}; to fix: --lock-timeout waits longer, ctl kill web cuts it short"
    sandbox.ctl("kill", "web").expect(0)
    sandbox.collect(start)


def test_diagnostics_are_printed_above_and_stay(sandbox: Sandbox) -> None:
    """A terminal of few lines, so that they scroll off it."""
    says = ["sh", "-c", "echo 3 sessions; exit 1"]
    sandbox.service("web", "polite", drain={"command": says, "interval": 0.2, "timeout": 1.5})
    sandbox.ctl("start", "web").expect(0)
    with typed(sandbox, "stop", "web", "--verbose", columns=200, rows=4) as terminal:
        terminal.expect("left: command sh: exit status 1: 3 sessions")
        terminal.expect("not drained yet")  # while something is drawn
        assert terminal.wait() == 0
        lines = Screen(terminal.screen, 4, 200).everything
    assert lines[0] == "ctl: web: draining, at most 1.5 s"
    answer = (
        "(?:.*; before that: )?command sh: exit status 1: 3 sessions"  # the deadline may cut the last question short
    )
    told = [line for line in lines if re.fullmatch(f"ctl: web: not drained yet: {answer}", line)]
    assert told
    assert len(lines) == len(told) + 4
    assert lines[-3].startswith("ctl: web: TERM to pid ")
    assert re.match(rf"ctl: web: not drained within 1\.5 s: {answer} \(", lines[-2])
    assert lines[-1].startswith("web: stopped, pid ")


@pytest.fixture
def shop(sandbox: Sandbox) -> Sandbox:
    """A running service and two that are not."""
    long = "orders-of-a-shop-with-a-very-long-name"
    sandbox.define("web", {"description": "本店 " * 40, "start": {"command": ["true"]}})
    sandbox.define(long, {"description": "what it is for", "start": {"command": ["true"]}})
    sandbox.service("api", "idle", ready={"settle": 0.05})
    sandbox.ctl("start", "api").expect(0)
    return sandbox


@pytest.mark.parametrize("columns", [40, 200])
def test_the_status_of_all_is_a_table_that_fits(shop: Sandbox, columns: int) -> None:
    with typed(shop, "status", columns=columns) as terminal:
        assert terminal.wait() == 0
        lines = Screen(terminal.screen, 24, columns).lines
        assert "\033[32mready" in terminal.screen
        assert "\033[2mstopped" in terminal.screen
    assert len(lines) == 4
    assert all(cells(line) <= columns for line in lines)
    assert re.match(rf"api +ready +{shop.pid('api')}", lines[1])
    if columns == 40:
        assert lines[0].split() == ["TARGET", "STATE", "PID"]
        assert lines[2].split() == ["orders-of-a-shop-wi…", "stopped"]
    else:
        assert lines[0].split() == "TARGET STATE PID UPTIME READY MEMORY DESCRIPTION".split()
        assert re.search(r"ready +\d+ +\d+s +yes +[0-9.]+ MiB$", lines[1])
        assert lines[2].split()[0] == "orders-of-a-shop-with-a-very-long-name"
        assert lines[3].endswith("…")


def test_no_color_means_none(shop: Sandbox) -> None:
    for args in (["status"], ["status", "api"], ["status", "nope"], ["kill", "api"]):
        with typed(shop, *args, env={"NO_COLOR": "1"}) as terminal:
            terminal.wait()
            assert not STYLED.search(terminal.screen), args
    with typed(shop, "status", "web", env={"NO_COLOR": ""}) as terminal:
        assert terminal.wait() == 3
        assert "\033[1mweb\033[0m: \033[2mstopped\033[0m - 本店" in terminal.screen


def test_piped_status_is_as_it_was(shop: Sandbox) -> None:
    api, _, web = shop.ctl("status").expect(0).stdout.splitlines()
    assert re.fullmatch(rf"api {{36}} ready     pid {shop.pid('api')}, up \d+s", api)
    assert web == f"web {' ' * 35} stopped   - " + ("本店 " * 40).rstrip()


def test_a_failure_is_red_and_says_who_speaks(sandbox: Sandbox) -> None:
    with typed(sandbox, "stop", "nope", columns=500) as terminal:
        assert terminal.wait() == 5
        assert terminal.screen.startswith("\033[1mctl: nope:\033[0m\033[31m no such service (")


SHELLS = {
    "bash": (["bash", "--norc", "-i"], 'eval "$(ctl completion bash)"'),
    "zsh": (["zsh", "-f", "-i"], "autoload -Uz compinit; compinit -u -D; source <(ctl completion zsh)"),
}


@pytest.mark.parametrize("shell", SHELLS)
def test_tab_completes_what_is_typed(sandbox: Sandbox, shell: str) -> None:
    requires(shell)
    argv, setup = SHELLS[shell]
    sandbox.service("worker@", "polite", ready={"log": "ready"})
    sandbox.ctl("start", "worker@15").expect(0)
    env = sandbox.environment({"PATH": f"{CTL.parent}:{PATH}", "PS1": "> ", "INPUTRC": "/dev/null"})
    with Terminal(sandbox.reaper, argv, env, columns=200) as terminal:
        terminal.send(f"{setup}; echo se''t\n")
        terminal.expect("set")
        terminal.expect("> ")
        terminal.send("ctl stat\twor\t1\t\n")
        terminal.expect("worker@15")
        assert "ready" in terminal.expect("uses:")
        terminal.send("exit\n")
        assert terminal.wait() == 0
