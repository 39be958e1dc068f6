"""Peers whose daemon is the parent of the services: supervisor, pm2, runit and s6."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from bench.peer import INSTALLED, Argv, Commands, Peer, all_at_a_time, daemon, do, install, place, program
from bench.workshop import PYTHON, Workshop
from support.waiting import TIMEOUT, wait_until

PM2_VERSION, SUPERVISOR_VERSION = "7.0.4", "4.3.0"
PATIENCE = "60"  # seconds that sv waits for all of a thousand to be up
MOST = 2000  # services of s6-svscan, which by itself takes fewer than two thousand
# supervisord wants three pipes for each that it runs.
_SUPERVISORD = """\
[supervisord]
nodaemon=true
logfile={place}/log
pidfile={place}/pid
user=root
minfds=10000
minprocs=2000
[unix_http_server]
file={place}/socket
[supervisorctl]
serverurl=unix://{place}/socket
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
"""
_PROGRAM = """\
[program:{name}]
command={command}
autostart=false
autorestart=false
startsecs=0
stopwaitsecs={grace}
stdout_logfile=NONE
stderr_logfile=NONE
"""


def supervisor(shop: Workshop, services: Commands, grace: int) -> Peer:
    programs = INSTALLED / "supervisor" / "bin"
    if not programs.exists():
        # Not into ctl's own: what is in there, and ctl does without, would be imported by the libraries of both.
        pip = (programs / "pip", "install", "--quiet", f"supervisor=={SUPERVISOR_VERSION}")
        install(f"supervisor {SUPERVISOR_VERSION}", (PYTHON, "-m", "venv", programs.parent), pip)
    its = place(shop, "supervisor")
    conf, socket = its / "supervisord.conf", its / "socket"
    sections = (
        _PROGRAM.format(name=name, command=" ".join(command), grace=grace) for name, command in services.items()
    )
    conf.write_text(_SUPERVISORD.format(place=its) + "".join(sections))
    daemon(shop, [programs / "supervisord", "-c", conf])
    wait_until(socket.exists, "supervisord's socket", TIMEOUT)
    control: Argv = [programs / "supervisorctl", "-c", conf]
    return Peer(
        "supervisorctl",
        lambda names: [*control, "start", _one_or_all(names)],
        lambda names: [*control, "stop", _one_or_all(names)],
        lambda names: [*control, "status", _one_or_all(names)],
        lambda names: [*control, "signal", "KILL", _one_or_all(names)],
        exits=(0, 1, 7),  # it calls what does not run an error
    )


def pm2(shop: Workshop, services: Commands, grace: int) -> Peer:
    """Its daemon is started by the first command; `pm2 kill` ends the daemon, and there is no other kill."""
    program("node")
    client = INSTALLED / "node_modules" / ".bin" / "pm2"
    if not client.exists():
        options: Argv = ["--silent", "--no-audit", "--no-fund", "--prefix", INSTALLED]
        install(f"pm2 {PM2_VERSION}", [program("npm"), "install", *options, f"pm2@{PM2_VERSION}"])
    its = place(shop, "pm2")
    # By itself it stops two at a time: a thousand that need two seconds would take a quarter of an hour.
    shop.environment |= {"PM2_HOME": str(its), "PM2_CONCURRENT_ACTIONS": str(len(services))}
    common = {
        "interpreter": "none",
        "autorestart": False,
        "kill_timeout": grace * 1000,
        "out_file": "/dev/null",
        "error_file": "/dev/null",
    }
    apps = [{"name": name, "script": argv[0], "args": argv[1:], **common} for name, argv in services.items()]
    (its / "apps.json").write_text(json.dumps({"apps": apps}))
    do(shop, [client, "start", its / "apps.json"])  # with autostart=false, no later start of it would start it
    do(shop, [client, "stop", "all"])
    return Peer(
        "pm2",
        lambda names: [client, "start", _one_or_all(names)],
        lambda names: [client, "stop", _one_or_all(names)],
        lambda names: [client, "describe", names[0]] if len(names) == 1 else [client, "status"],
        None,
    )


def runit(shop: Workshop, services: Commands, grace: int) -> Peer:
    scan, client = program("runsvdir"), program("sv")
    its = place(shop, "runit")
    _run_scripts(its, services)
    daemon(shop, [scan, "-P", its])
    for name in services:
        wait_until((its / name / "supervise" / "ok").exists, f"runsv {name}", TIMEOUT)

    def directories(names: Sequence[str]) -> Argv:
        return [its / name for name in names]

    return Peer(
        "sv (runit)",
        lambda names: [client, "-w", PATIENCE, "start", *directories(names)],
        lambda names: [client, "-w", str(grace), "force-stop", *directories(names)],
        lambda names: [client, "status", *directories(names)],
        lambda names: [client, "kill", *directories(names)],
        exits=(0, 1),
        kill_is_no_end="sv kill sends the signal, and runsv starts the service again",
    )


def s6(shop: Workshop, services: Commands, grace: int) -> Peer:
    scan, client, status = program("s6-svscan"), program("s6-svc"), program("s6-svstat")
    its = place(shop, "s6")
    _run_scripts(its, services)
    for name in services:
        (its / name / "timeout-kill").write_text(str(grace * 1000))
    daemon(shop, [scan, "-c", str(MOST), its])
    for name in services:
        wait_until((its / name / "supervise" / "control").exists, f"s6-supervise {name}", TIMEOUT)
    return Peer(
        "s6-svc",
        lambda names: all_at_a_time(shop, names, lambda name: [client, "-wu", "-u", its / name]),
        lambda names: all_at_a_time(shop, names, lambda name: [client, "-wD", "-d", its / name]),
        lambda names: all_at_a_time(shop, names, lambda name: [status, its / name]),
        lambda names: all_at_a_time(shop, names, lambda name: [client, "-wD", "-dk", its / name]),
        one_by_one=True,
    )


def _one_or_all(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else "all"


def _run_scripts(its: Path, services: Commands) -> None:
    for name, command in services.items():
        directory = its / name
        directory.mkdir()
        (directory / "run").write_text(f"#!/bin/sh\nexec {' '.join(command)}\n")
        (directory / "run").chmod(0o755)
        (directory / "down").touch()
