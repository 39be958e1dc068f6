"""What a minute of waiting costs beside a call that has nothing to do.

A process that ends is waited for by its pidfd, without polling: nothing grows with the wait. A port has to be asked
again and again, ten times a second: that costs a little processor time for as long as it is waited for.

The waits of a pair are side by side, begun one after another so that no two of them start, or end, at the same time; it
is their processor time that counts. That of any call differs by more than what is looked for: of the calls with nothing
to do, which come after each, the one in the middle counts.
"""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench.pairs import Command, Pairs, Running, Took, Unexpected, run
from bench.report import Report
from bench.workshop import Workshop
from support.sandbox import Sandbox
from support.waiting import wait_file

GROUP = "waiting for a minute"
MINUTE = 60  # seconds
LIMIT = MINUTE + 60
APART = 1.0  # seconds
MOST = 5  # pairs: each takes more than a minute
IDLE = 5  # calls with nothing to do, for each wait
AIM = 20.0  # ms of processor, for a wait on a pidfd
AIM_OF_POLLING = 1000.0  # ms of processor: 600 connections that are refused


@dataclass(frozen=True)
class _Wait:
    """One that takes a minute, and the same call when there is nothing left to wait for."""

    what: str
    verb: str
    long: Command
    idle: Command
    aim: float = AIM


def compare(sandbox: Sandbox, pairs: int) -> Report:
    shop = Workshop(GROUP, sandbox, min(pairs, MOST))
    with ExitStack() as ports:
        try:
            measured = [_measure(shop, number, ports) for number in range(shop.pairs)]
        except (Unexpected, AssertionError) as error:
            shop.went_wrong("all", error)
        else:
            for waits in zip(*measured, strict=True):
                wait = waits[0][0]
                pairs_of_it = Pairs(tuple(long for _, long, _ in waits), tuple(idle for _, _, idle in waits))
                against = f"{wait.verb} with nothing to do"
                shop.keep(wait.what, against, pairs_of_it, unit="+ ms of processor", aim=wait.aim, peer=False)
    return shop.report


def _measure(shop: Workshop, number: int, ports: ExitStack) -> list[tuple[_Wait, Took, Took]]:
    """Each wait with what it took, and what it takes when there is nothing to do. Raises Unexpected."""
    shop.say(f"calls of ctl wait side by side, {number + 1} of {shop.pairs}")
    waits = [make(shop, number, ports) for make in (_stop_of_the_deaf, _start_by_tcp, _wait_by_tcp)]
    running = []
    for wait in waits:
        running.append(Running(wait.long, shop.environment))
        time.sleep(APART)
    long = [one.end() for one in running]  # in the order of their ends
    for wait, took in zip(waits, long, strict=True):
        if not MINUTE - 2 * APART < took.wall < MINUTE + 10:
            raise Unexpected(f"{wait.what}: it took {took.wall:.1f} s")
    idle = zip(*([run(wait.idle, shop.environment) for wait in waits] for _ in range(IDLE)), strict=True)
    return list(zip(waits, long, map(_middle, idle), strict=True))


def _middle(calls: Iterable[Took]) -> Took:
    return sorted(calls, key=lambda took: took.cpu)[IDLE // 2]


def _stop_of_the_deaf(shop: Workshop, number: int, _: ExitStack) -> _Wait:
    name = f"deaf-{number}"
    schedule = {"schedule": f"TERM/{MINUTE}/KILL/5"}
    start = {"command": [str(shop.sandbox.programs.path("deaf"))]}
    shop.sandbox.define(name, {"start": start, "ready": {"settle": 0.0}, "stop": schedule})
    argv = shop.ctl("stop", name)
    long = Command(argv, before=lambda: shop.do("start", name))
    return _Wait(f"stop of one that ignores TERM for {MINUTE} s", "stop", long, Command(argv))


def _start_by_tcp(shop: Workshop, number: int, ports: ExitStack) -> _Wait:
    name = f"started-{number}"
    _define_by_tcp(shop, name, ports)
    argv = shop.ctl("start", name)
    return _Wait(
        f"start of one that listens after {MINUTE} s, ready.tcp", "start", Command(argv), Command(argv), AIM_OF_POLLING
    )


def _wait_by_tcp(shop: Workshop, number: int, ports: ExitStack) -> _Wait:
    """The service is started by another ctl, which is not timed."""
    name = f"awaited-{number}"
    _define_by_tcp(shop, name, ports)
    argv = shop.ctl("wait", "--for", "ready", name)
    long = Command(argv, before=_starting(shop, name))
    return _Wait(
        f"wait --for ready, of one that listens after {MINUTE} s, ready.tcp",
        "wait",
        long,
        Command(argv),
        AIM_OF_POLLING,
    )


def _starting(shop: Workshop, name: str) -> Callable[[], None]:
    def start() -> None:
        argv = shop.ctl("start", name)
        shop.sandbox.reaper.start(argv, ready=None, env=shop.environment, stdout=subprocess.DEVNULL)
        wait_file(shop.sandbox.pid_file(name))
        time.sleep(APART)  # until that ctl, too, does nothing but wait

    return start


def _define_by_tcp(shop: Workshop, name: str, ports: ExitStack) -> None:
    note: Path = shop.sandbox.tmp / name
    port = _held_port(ports)
    # What is quick to start, so that it is not that which ctl competes with for the processor.
    sleeps = ["/bin/sh", "-c", 'sleep "$0" && exec "$@"', MINUTE]
    command = [*map(str, sleeps), *shop.sandbox.programs("announcer", "tcp", note, 0, port)]
    ready = {"tcp": f"127.0.0.1:{port}", "timeout": LIMIT}
    shop.sandbox.define(name, {"start": {"command": command}, "ready": ready})


def _held_port(ports: ExitStack) -> int:
    """Nobody else is given it for all this time: it is bound, and shared with SO_REUSEADDR, socket(7)."""
    held = ports.enter_context(socket.socket())
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    port: int = held.getsockname()[1]
    return port
