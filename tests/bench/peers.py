"""The peers: the same services in the hands of start-stop-daemon, supervisor, pm2, runit, s6 and a pid-file script."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.pairs import Unexpected
from bench.workshop import PYTHON, Workshop
from support.reaper import PATH
from support.sandbox import ROOT
from support.waiting import TIMEOUT, wait_until

SCRIPT = Path(__file__).with_name("pid_file_script.sh")
VENV = ROOT / ".venv"
INSTALLED = VENV / "peers"  # what bin/setup removes with the rest
PM2_VERSION, SUPERVISOR_VERSION = "7.0.4", "4.3.0"
GRACE = 1  # seconds, of what ignores TERM


@dataclass(frozen=True)
class Peer:
    """A service manager that knows the services by their names; each is stopped."""

    name: str
    start: Callable[[str], Sequence[str | Path]]
    stop: Callable[[str], Sequence[str | Path]]
    kill: Callable[[str], Sequence[str | Path]] | None
    exits: tuple[int, ...] = (0,)  # of a stop with nothing to do


class Missing(Exception):
    """This machine does not have the peer; str() says why."""


def all_peers(shop: Workshop, services: dict[str, list[str]]) -> list[Peer]:
    """Those that this machine has, set up and running; the others are noted in the report."""
    peers = []
    for name, set_up in _PEERS.items():
        try:
            peers.append(set_up(shop, services))
        except (Missing, Unexpected, AssertionError, subprocess.CalledProcessError) as error:
            shop.skip(name, str(error))
    return peers


Argv = list[str | Path]


def _start_stop_daemon(shop: Workshop, services: dict[str, list[str]]) -> Peer:
    program = _program("start-stop-daemon")
    pid_files = {name: shop.sandbox.tmp / f"ssd-{name}.pid" for name in services}

    def start(name: str) -> Argv:
        command, *arguments = services[name]
        background: Argv = ["--start", "--background", "--make-pidfile", "--pidfile", pid_files[name]]
        return [program, *background, "--startas", command, "--", *arguments]

    def stop(name: str) -> Argv:
        return [program, "--stop", "--oknodo", "--retry", f"TERM/{GRACE}/KILL/5", "--pidfile", pid_files[name]]

    def kill(name: str) -> Argv:
        return [program, "--stop", "--oknodo", "--retry", "KILL/5", "--pidfile", pid_files[name]]

    return Peer("start-stop-daemon", start, stop, kill)


def _script(shop: Workshop, services: dict[str, list[str]]) -> Peer:
    pid_files = {name: shop.sandbox.tmp / f"script-{name}.pid" for name in services}
    return Peer(
        "pid-file script",
        lambda name: [SCRIPT, "start", pid_files[name], "--", *services[name]],
        lambda name: [SCRIPT, "stop", pid_files[name]],
        lambda name: [SCRIPT, "kill", pid_files[name]],
    )


def _supervisor(shop: Workshop, services: dict[str, list[str]]) -> Peer:
    programs = INSTALLED / "supervisor" / "bin"
    if not programs.exists():
        # Not into ctl's own: what is in there, and ctl does without, would be imported by the libraries of both.
        _install(f"supervisor {SUPERVISOR_VERSION}", [PYTHON, "-m", "venv", programs.parent])
        _install("", [programs / "pip", "install", "--quiet", f"supervisor=={SUPERVISOR_VERSION}"])
    daemon, client = programs / "supervisord", programs / "supervisorctl"
    place = _place(shop, "supervisor")
    socket, conf = place / "socket", place / "supervisord.conf"
    sections = "".join(
        f"[program:{name}]\ncommand={' '.join(command)}\nautostart=false\nautorestart=false\nstartsecs=0\n"
        f"stopwaitsecs={GRACE}\nstdout_logfile=NONE\nstderr_logfile=NONE\n"
        for name, command in services.items()
    )
    conf.write_text(
        f"[supervisord]\nnodaemon=true\nlogfile={place}/log\npidfile={place}/pid\nuser=root\n"
        f"[unix_http_server]\nfile={socket}\n[supervisorctl]\nserverurl=unix://{socket}\n"
        "[rpcinterface:supervisor]\n"
        f"supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n{sections}"
    )
    shop.sandbox.reaper.start([daemon, "-c", conf], ready=None, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(socket.exists, "supervisord's socket", TIMEOUT)
    control: Argv = [client, "-c", conf]
    return Peer(
        "supervisorctl",
        lambda name: [*control, "start", name],
        lambda name: [*control, "stop", name],
        lambda name: [*control, "signal", "KILL", name],
        exits=(0, 1, 7),  # it calls what does not run an error
    )


def _pm2(shop: Workshop, services: dict[str, list[str]]) -> Peer:
    _program("node")
    program = INSTALLED / "node_modules" / ".bin" / "pm2"
    if not program.exists():
        options: Argv = ["--silent", "--no-audit", "--no-fund", "--prefix", INSTALLED]
        _install(f"pm2 {PM2_VERSION}", [_program("npm"), "install", *options, f"pm2@{PM2_VERSION}"])
    shop.environment |= {"PM2_HOME": str(_place(shop, "pm2"))}
    for name, (command, *arguments) in services.items():
        given = ["--name", name, "--interpreter", "none", "--no-autorestart", "--kill-timeout", str(GRACE * 1000)]
        _do(shop, [program, "start", command, *given, *(["--", *arguments] if arguments else [])])
        _do(shop, [program, "stop", name])
    return Peer("pm2", lambda name: [program, "start", name], lambda name: [program, "stop", name], None)


def _runit(shop: Workshop, services: dict[str, list[str]]) -> Peer:
    daemon, client = _program("runsvdir"), _program("sv")
    place = _place(shop, "runit")
    for name, command in services.items():
        _run_script(place / name, command)
    shop.sandbox.reaper.start([daemon, "-P", place], ready=None, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for name in services:
        wait_until((place / name / "supervise" / "ok").exists, "runsv", TIMEOUT)
    return Peer(
        "sv (runit)",
        lambda name: [client, "start", place / name],
        lambda name: [client, "-w", str(GRACE), "force-stop", place / name],
        lambda name: [client, "kill", place / name],
        exits=(0, 1),
    )


def _s6(shop: Workshop, services: dict[str, list[str]]) -> Peer:
    daemon, client = _program("s6-svscan"), _program("s6-svc")
    place = _place(shop, "s6")
    for name, command in services.items():
        _run_script(place / name, command)
        (place / name / "timeout-kill").write_text(str(GRACE * 1000))
    shop.sandbox.reaper.start([daemon, place], ready=None, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for name in services:
        wait_until((place / name / "supervise" / "control").exists, "s6-supervise", TIMEOUT)
    return Peer(
        "s6-svc",
        lambda name: [client, "-wu", "-u", place / name],
        lambda name: [client, "-wD", "-d", place / name],
        lambda name: [client, "-wD", "-dk", place / name],
    )


_PEERS: dict[str, Callable[[Workshop, dict[str, list[str]]], Peer]] = {
    "start-stop-daemon": _start_stop_daemon,
    "pid-file script": _script,
    "supervisor": _supervisor,
    "pm2": _pm2,
    "runit": _runit,
    "s6": _s6,
}


def _program(name: str) -> str:
    found = shutil.which(name, path=f"{PATH}:{VENV / 'bin'}") or shutil.which(name)
    if found is None:
        raise Missing(f"{name} is not installed")
    return found


def _install(what: str, argv: Sequence[str | Path]) -> None:
    if what:
        print(f"bench: installing {what} into {INSTALLED}", file=sys.stderr, flush=True)
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def _place(shop: Workshop, name: str) -> Path:
    place = shop.sandbox.root / name
    place.mkdir()
    return place


def _run_script(directory: Path, command: Sequence[str]) -> None:
    directory.mkdir()
    (directory / "run").write_text(f"#!/bin/sh\nexec {' '.join(command)}\n")
    (directory / "run").chmod(0o755)
    (directory / "down").touch()


def _do(shop: Workshop, argv: Sequence[str | Path]) -> None:
    done = subprocess.run(argv, env=shop.environment, capture_output=True, stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        raise Unexpected(f"{' '.join(map(str, argv))}: exit {done.returncode}: {done.stderr.decode(errors='replace')}")
