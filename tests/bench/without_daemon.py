"""Peers that trust pid files and have no daemon: start-stop-daemon, and a script of the kind that JVM projects ship."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from bench.peer import Act, Argv, Commands, Peer, all_at_a_time, program
from bench.workshop import Workshop

SCRIPT = Path(__file__).with_name("pid_file_script.sh")


def start_stop_daemon(shop: Workshop, services: Commands, grace: int) -> Peer:
    """With --exec, as its manual advises: the process whose pid it is now may be anybody's."""
    client = program("start-stop-daemon")
    all_of_one_kind = next(iter(services.values()))

    def known(name: str, command: Sequence[str]) -> Argv:
        return ["--pidfile", shop.sandbox.tmp / f"ssd-{name}.pid", "--exec", command[0]]

    def start(names: Sequence[str]) -> Argv:
        command, *arguments = services[names[0]]
        options: Argv = ["--start", "--background", "--make-pidfile"]
        tail: Argv = ["--startas", command, "--", *arguments]
        return all_at_a_time(shop, names, lambda name: [client, *options, *known(name, [command]), *tail])

    def stop(schedule: str) -> Act:
        options: Argv = ["--stop", "--oknodo", "--remove-pidfile", "--retry", schedule]
        return lambda names: all_at_a_time(
            shop, names, lambda name: [client, *options, *known(name, services.get(name, all_of_one_kind))]
        )

    def status(names: Sequence[str]) -> Argv:
        command = services[names[0]]
        return all_at_a_time(shop, names, lambda name: [client, "--status", *known(name, command)])

    return Peer("start-stop-daemon", start, stop(f"TERM/{grace}/KILL/5"), status, stop("KILL/5"), one_by_one=True)


def pid_file_script(shop: Workshop, services: Commands, grace: int) -> Peer:
    def act(verb: str, names: Sequence[str]) -> Argv:
        tail = ["--", *services[names[0]]] if verb == "start" else []
        return all_at_a_time(
            shop,
            names,
            lambda name: ["env", f"GRACE={grace}", SCRIPT, verb, shop.sandbox.tmp / f"script-{name}.pid", *tail],
        )

    start, stop, status, kill = (partial(act, verb) for verb in ("start", "stop", "status", "kill"))
    return Peer("pid-file script", start, stop, status, kill, one_by_one=True)
