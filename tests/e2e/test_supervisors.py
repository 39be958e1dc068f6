"""What belongs to another supervisor comes back after a stop: ctl says so, and the command that it names holds."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from support import proc
from support.programs import Programs
from support.reaper import PATH, Process, Reaper
from support.requires import requires
from support.sandbox import CTL, ROOT, Json, Result, Sandbox
from support.systemd_host import SystemdHost
from support.waiting import wait_gone, wait_line, wait_until

pytestmark = pytest.mark.xdist_group("supervisors")

VENV_BIN = ROOT / ".venv" / "bin"


class Kept:
    """A program that somebody else starts, with a word in its arguments by which ctl finds it."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.word = f"kept-{sandbox.reaper.mark}"
        self.argv = sandbox.programs("polite", 0, self.word)
        self.log = sandbox.tmp / "kept.log"
        definition = {"match": {"cmdline": f"{self.word}$"}, "stop": {"schedule": "TERM/10/KILL/5"}}
        sandbox.define_raw(
            "web",
            "\n".join(
                f"[{table}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())
                for table, keys in definition.items()
            ),
        )

    def script(self, path: Path, *, wrapped: bool = False) -> Path:
        """A `run` script; a wrapped one stays the parent of the program."""
        path.parent.mkdir(parents=True, exist_ok=True)
        execute = "" if wrapped else "exec "
        path.write_text(f"#!/bin/sh\n{execute}{shlex.join(self.argv)} >>{self.log}\n", encoding="utf-8")
        path.chmod(0o755)
        return path

    def pids(self) -> list[int]:
        """Each that has been started so far."""
        lines = self.log.read_text(encoding="utf-8").splitlines() if self.log.exists() else []
        return [int(line.removeprefix("ready (pid: ").removesuffix(")")) for line in lines if line.endswith(")")]

    def next_pid(self, earlier: Sequence[int] = ()) -> int:
        wait_until(lambda: len(self.pids()) > len(earlier), "it was started")
        return self.pids()[len(earlier)]

    def comes_back_after(self, verb: str, *options: str) -> Result:
        """ctl ends it, and it is there again."""
        before = self.pids()
        done = self.sandbox.ctl(verb, "web", *options).expect(0)
        assert not proc.alive(before[-1])
        assert proc.alive(self.next_pid(before))
        return done

    def holds(self, command: str) -> None:
        """The command that ctl named ends it."""
        started = self.pids()
        pidfd = self.sandbox.reaper.adopt(started[-1])
        environment = self.sandbox.environment({"PATH": f"{VENV_BIN}:{CTL.parent}:{PATH}"})
        subprocess.run(["sh", "-c", command], env=environment, check=True, capture_output=True)
        wait_gone(pidfd)
        assert self.pids() == started


@pytest.fixture
def kept(sandbox: Sandbox) -> Kept:
    return Kept(sandbox)


def supervise(kept: Kept, argv: Sequence[str | Path]) -> Process:
    process = kept.sandbox.reaper.start(argv, ready=None, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    kept.next_pid()
    return process


@pytest.mark.parametrize("wrapped", [False, True])
def test_runit_restarts_it_and_sv_down_holds(kept: Kept, wrapped: bool) -> None:
    requires("runsvdir", "sv")
    directory = kept.script(kept.sandbox.root / "sv" / "gateway" / "run", wrapped=wrapped).parent
    supervise(kept, ["runsvdir", directory.parent])
    said = kept.comes_back_after("stop", "--json").one["supervisor"]
    command = f"sv down {directory}" + (" && ctl stop web" if wrapped else "")
    assert said == {"kind": "runit", "name": "gateway", "command": command, "restarts": True, "setting": None}
    planned = kept.sandbox.ctl("stop", "web", "--dry-run").expect(0)
    line = f"ctl: web: belongs to runit (gateway), which restarts it; to fix: {command}\n"
    assert planned.stderr == kept.comes_back_after("kill").stderr == line
    assert kept.sandbox.ctl("kill", "web", "--quiet", "--dry-run").expect(0).stderr == ""
    kept.holds(command)
    settled = subprocess.run(["sv", "-w", "20", "down", directory], capture_output=True, text=True, check=True)
    assert "down: " in settled.stdout
    assert kept.sandbox.ctl("stop", "web").expect(0).stderr == ""


def test_s6_restarts_it_and_s6_svc_holds(kept: Kept) -> None:
    requires("s6-svscan", "s6-svc", "s6-svwait")
    directory = kept.script(kept.sandbox.root / "scan" / "gateway" / "run").parent
    supervise(kept, ["s6-svscan", directory.parent])
    said = kept.comes_back_after("stop")
    assert said.stderr == f"ctl: web: belongs to s6 (gateway), which restarts it; to fix: s6-svc -d {directory}\n"
    kept.holds(f"s6-svc -d {directory}")
    subprocess.run(["s6-svwait", "-t", "20000", "-d", directory], check=True)
    wanted = subprocess.run(["s6-svstat", "-o", "up,wantedup", directory], capture_output=True, text=True, check=True)
    assert wanted.stdout.split() == ["false", "false"]


def test_supervisord_may_restart_it_and_supervisorctl_holds(kept: Kept) -> None:
    if not (VENV_BIN / "supervisord").exists():
        pytest.skip("needs supervisord")
    run, conf = kept.script(kept.sandbox.root / "begin"), kept.sandbox.root / "supervisord.conf"
    socket = kept.sandbox.root / "socket"
    conf.write_text(
        f"""[supervisord]
nodaemon=true
logfile={kept.sandbox.root}/supervisord.log
pidfile={kept.sandbox.root}/supervisord.pid
childlogdir={kept.sandbox.root}
[unix_http_server]
file={socket}
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl=unix://{socket}
[program:gateway]
command={run}
autorestart=true
startsecs=0
""",
        encoding="utf-8",
    )
    supervise(kept, [VENV_BIN / "supervisord", "-c", conf])
    said = kept.comes_back_after("stop")
    command = f"supervisorctl -c {conf} stop gateway"
    assert said.stderr == f"ctl: web: belongs to supervisord (gateway), which may restart it; to fix: {command}\n"
    kept.holds(command)
    explained = kept.sandbox.ctl("explain", "web").expect(0)
    assert "supervis" not in explained.stdout


def test_what_nobody_else_keeps_has_no_supervisor(sandbox: Sandbox) -> None:
    sandbox.service("web", "polite")
    sandbox.ctl("start", "web").expect(0)
    stopped = sandbox.ctl("stop", "web", "--json").expect(0)
    assert "supervisor" not in stopped.one
    assert stopped.stderr == ""


# -------------------------------------------------------------------------------------------------------------- systemd


class Supervised:
    """A unit of its own in the host, whose main process ctl finds by its arguments."""

    def __init__(self, host: SystemdHost, root: Path, reaper: Reaper, programs: Programs) -> None:
        root.mkdir()
        self.host, self.sandbox = host, Sandbox(root, reaper, programs)
        self.name = f"{root.name.replace('_', '-')}.service"
        self.kept = Kept(self.sandbox)
        self.kept.script(root / "begin")

    def start(self, **service: str) -> int:
        """Its main process, as the host sees it."""
        lines = {"Type": "exec", "ExecStart": f"{self.sandbox.root}/begin", "RestartSec": "0", **service}
        self.host.unit(self.name, "[Service]\n" + "".join(f"{key}={value}\n" for key, value in lines.items()))
        assert self.host.run("systemctl", "start", self.name).returncode == 0
        wait_line(self.kept.log, "ready (pid:")
        return self.main()

    def main(self) -> int:
        return int(self.host.properties(self.name)["MainPID"])

    def ctl(self, *args: str, rc: int = 0, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        paths = {"CTL_CONF": str(self.sandbox.conf), "CTL_RUN_DIR": str(self.sandbox.run_dir)}
        done = self.host.run(CTL, *args, env={**paths, **(env or {})})
        assert done.returncode == rc, f"{done}"
        return done

    def would(self, verb: str) -> Json:
        """What is said of who would undo it, once systemd has answered in time."""
        said: list[Json] = []

        def is_certain() -> bool:
            said.append(self.result(verb, "web", "--dry-run").get("supervisor", {"setting": ""}))
            return said[-1]["setting"] is not None

        wait_until(is_certain, "systemd has answered in time")
        return {key: said[-1][key] for key in ("restarts", "setting") if key in said[-1] and said[-1]["setting"]}

    def result(self, *args: str) -> Json:
        (result,) = json.loads(self.ctl(*args, "--json").stdout)["results"]
        assert isinstance(result, dict)
        return result


@pytest.fixture
def unit(
    host: SystemdHost, base: Path, reaper: Reaper, programs: Programs, request: pytest.FixtureRequest
) -> Supervised:
    return Supervised(host, base / request.node.name.partition("[")[0], reaper, programs)


@pytest.mark.systemd
def test_a_unit_restarts_it_and_systemctl_stop_holds(unit: Supervised) -> None:
    first = unit.start(Restart="always")
    line = f"ctl: web: belongs to {unit.name}, which restarts it (Restart=always); to fix: systemctl stop {unit.name}\n"
    wait_until(lambda: unit.ctl("stop", "web", "--dry-run").stderr == line, "systemd has answered in time")
    assert unit.ctl("stop", "web").stderr in (line, line.replace("restarts it (Restart=always)", "may restart it"))
    wait_until(lambda: unit.main() not in {0, first}, "it came back")
    second = unit.main()
    wait_until(lambda: len(unit.kept.pids()) == 2, "it is ready")
    by = unit.result("kill", "web")["supervisor"]
    assert (by["kind"], by["name"]) == ("systemd", unit.name)
    assert (by["restarts"], by["setting"]) in ((True, "Restart=always"), (None, None))
    wait_until(lambda: unit.main() not in {0, second}, "it came back")
    wait_until(lambda: len(unit.kept.pids()) == 3, "it is ready")
    assert "supervisor  belongs to" in unit.ctl("explain", "web").stdout

    assert unit.host.run(*by["command"].split()).returncode == 0
    assert unit.host.properties(unit.name)["ActiveState"] == "inactive"
    assert "supervisor" not in unit.result("stop", "web")
    assert len(unit.kept.pids()) == 3


@pytest.mark.systemd
def test_how_it_ends_decides_whether_a_unit_restarts_it(unit: Supervised) -> None:
    unit.start(Restart="on-abnormal")
    assert unit.would("stop") == {"restarts": False, "setting": "Restart=on-abnormal"}
    assert unit.would("kill") == {"restarts": True, "setting": "Restart=on-abnormal"}
    restart = unit.ctl("restart", "web", "--dry-run", rc=6)  # it has no [start]
    assert "has no [start] table" in restart.stderr
    unit.host.run("systemctl", "stop", unit.name)


@pytest.mark.systemd
def test_a_unit_that_calls_ctl_itself_is_told_nothing(unit: Supervised) -> None:
    unit.start(
        Restart="always",
        ExecStop=f"{CTL} stop web",
        Environment=f"CTL_CONF={unit.sandbox.conf} CTL_RUN_DIR={unit.sandbox.run_dir}",
    )
    assert unit.host.run("systemctl", "stop", unit.name).returncode == 0
    journal = unit.host.journal(unit.name)
    assert "web: stopped, pid" in journal
    assert "belongs to" not in journal


@pytest.mark.systemd
def test_a_unit_that_only_holds_it_is_not_its_supervisor(unit: Supervised) -> None:
    """As cron.service holds what a job has started: it restarts its own main process, and no other."""
    log = unit.kept.log
    script = unit.sandbox.root / "job"
    script.write_text(f"#!/bin/sh\nsetsid {shlex.join(unit.kept.argv)} >>{log} &\nexec sleep infinity\n", "utf-8")
    script.chmod(0o755)
    main = unit.start(Restart="always", ExecStart=str(script))
    assert unit.would("stop") == {}
    assert unit.ctl("stop", "web").stdout.startswith("web: stopped")
    assert unit.main() == main
    unit.host.run("systemctl", "stop", unit.name)


@pytest.mark.systemd
def test_a_systemd_that_hangs_keeps_nothing_from_being_done(unit: Supervised) -> None:
    """It is asked after the act, and for a second: without that bound, systemctl waits for 25 of them."""
    main = unit.start(Restart="always")
    manager = os.pidfd_open(unit.host.leader)
    try:
        signal.pidfd_send_signal(manager, signal.SIGSTOP)
        began = time.monotonic()
        said = unit.ctl("stop", "web")
        took = time.monotonic() - began
    finally:
        signal.pidfd_send_signal(manager, signal.SIGCONT)
        os.close(manager)
    assert said.stdout.startswith(f"web: stopped, pid {main}")
    assert (
        said.stderr == f"ctl: web: belongs to {unit.name}, which may restart it; to fix: systemctl stop {unit.name}\n"
    )
    assert took < 20
    unit.host.run("systemctl", "stop", unit.name)


@pytest.mark.systemd
def test_a_watchdog_ends_what_is_paused(unit: Supervised) -> None:
    unit.start(Restart="on-watchdog", WatchdogSec="600")
    assert unit.would("pause") == {"restarts": True, "setting": "WatchdogSec=10min"}
    line = f"ctl: web: belongs to {unit.name}, whose watchdog ends it while it is paused (WatchdogSec=10min)\n"
    wait_until(lambda: unit.ctl("pause", "web", "--dry-run").stderr == line, "systemd has answered in time")
    unit.host.run("systemctl", "stop", unit.name)
