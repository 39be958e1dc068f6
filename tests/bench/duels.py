"""ctl beside its peers at the same work: nothing to do, a start, a stop, a grace period that ends, a readiness."""

from __future__ import annotations

import select
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from bench.pairs import Command, Run, Took, Unexpected
from bench.pairs import run as timed
from bench.peer import Peer
from bench.peers import all_peers
from bench.report import Report
from bench.without_daemon import SCRIPT
from bench.workshop import Workshop
from support.reaper import PATH
from support.sandbox import Sandbox
from support.waiting import TIMEOUT, wait_file, wait_gone

GROUP = "one service, against its peers"
AT_ONCE, OVERDUE = "at-once", "overdue"
GRACE = 1  # seconds, of what ignores TERM
READY_AFTER = 0.7  # seconds: longer than any of them needs to begin to wait
LATE_AIM = 10.0  # ms


def compare(sandbox: Sandbox, pairs: int) -> Report:
    shop = Workshop(GROUP, sandbox, pairs)
    note = sandbox.tmp / "overdue"
    services = {
        AT_ONCE: [str(sandbox.programs.path("idle"))],
        OVERDUE: sandbox.programs("overdue", note),
    }
    for name, command in services.items():
        schedule = {"schedule": f"TERM/{GRACE}/KILL/5"}
        sandbox.define(name, {"start": {"command": command}, "ready": {"settle": 0.0}, "stop": schedule})
    peers = all_peers(shop, services, GRACE)
    for peer in peers:
        _nothing_to_do(shop, peer)
    for peer in peers:
        _start(shop, peer)
    for peer in peers:
        _stop_at_once(shop, peer)
    for peer in peers:
        _late_escalation(shop, peer, note)
    _readiness(shop)
    return shop.report


def _nothing_to_do(shop: Workshop, peer: Peer) -> None:
    aims = {"supervisorctl": 1 / 1.3, "pm2": 1 / 1.8}
    for verb, other in (("stop", peer.stop), ("kill", peer.kill)):
        if other is not None:
            argv = other([AT_ONCE])
            own = Command(shop.ctl(verb, AT_ONCE))
            aim = aims.get(peer.name) if verb == "kill" or peer.kill is None else None
            against = f"{peer.name}{'' if verb == 'stop' else ', kill'}"
            shop.compare(f"{verb}, nothing to do", own, against, Command(argv, exits=peer.exits), aim=aim)


def _start(shop: Workshop, peer: Peer) -> None:
    """Until it runs: no probe."""
    own = Command(shop.ctl("start", AT_ONCE), before=lambda: shop.do("kill", AT_ONCE))
    stopped = partial(timed, Command(peer.stop([AT_ONCE]), peer.exits), shop.environment)
    shop.compare("start of one", own, peer.name, Command(peer.start([AT_ONCE]), before=stopped))
    shop.do("kill", AT_ONCE)
    stopped()


def _stop_at_once(shop: Workshop, peer: Peer) -> None:
    own = Command(shop.ctl("stop", AT_ONCE), before=lambda: shop.do("start", AT_ONCE))
    other = Command(peer.stop([AT_ONCE]), before=partial(_do, shop, peer.start([AT_ONCE])))
    shop.compare("stop of one that ends at once on TERM", own, peer.name, other)


def _late_escalation(shop: Workshop, peer: Peer, note: Path) -> None:
    """How long after the grace period the process that ignores TERM is gone."""

    def run(start: Sequence[str | Path], stop: Sequence[str | Path]) -> Took:
        note.unlink(missing_ok=True)
        _do(shop, start)
        pidfd = shop.sandbox.reaper.adopt(int(wait_file(note).split()[0]))
        stopping = subprocess.Popen(stop, env=shop.environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        try:
            poll = select.poll()
            poll.register(pidfd, select.POLLIN)
            if not poll.poll(TIMEOUT * 1000):
                raise Unexpected(f"{' '.join(map(str, stop))}: did not end the process")
            gone = time.monotonic()
        finally:
            stopping.wait()
        return Took(gone - float(note.read_text().split()[1]) - GRACE)

    own = partial(run, shop.ctl("start", OVERDUE), shop.ctl("stop", OVERDUE))
    other = partial(run, peer.start([OVERDUE]), peer.stop([OVERDUE]))
    what = f"KILL after a grace period of {GRACE} s"
    shop.measure(what, own, peer.name, other, unit="ms late", aim=LATE_AIM)


def _readiness(shop: Workshop) -> None:
    """How long after the service says that it is ready, each in its own way, the start returns."""
    note = shop.sandbox.tmp / "announced"

    def service(kind: str) -> Run:
        port = _free_port()
        program = shop.sandbox.programs("announcer", kind, note, READY_AFTER, port)
        ready = {"log": {"log": "^ready"}, "tcp": {"tcp": f"127.0.0.1:{port}"}, "notify": {"notify": True}}[kind]
        shop.sandbox.define(f"by-{kind}", {"start": {"command": program}, "ready": ready})
        return _returning(shop, note, shop.ctl("start", f"by-{kind}"), lambda: shop.do("kill", f"by-{kind}"))

    peers: dict[str, tuple[str, Callable[[], Run]]] = {
        "tcp": ("pid-file script", lambda: _script_with_port(shop, note)),
        "notify": ("start-stop-daemon --notify-await", lambda: _notify_await(shop, note)),
        "log": ("s6-svc, descriptor 3", lambda: _s6_notified(shop, note)),
    }
    for kind, (against, peer) in peers.items():
        try:
            other = peer()
        except FileNotFoundError as error:
            shop.skip(f"readiness by {kind}, against {against}", f"{error.filename} is not installed")
            continue
        shop.measure(f"readiness by {kind}", service(kind), against, other, unit="ms late", aim=LATE_AIM)


def _returning(shop: Workshop, note: Path, start: Sequence[str | Path], end: Callable[[], None]) -> Run:
    """How long after the instant in the note the start returns."""

    def run() -> Took:
        note.unlink(missing_ok=True)
        returned = timed(Command(start), shop.environment).ended
        late = returned - float(wait_file(note))
        end()
        return Took(late)

    return run


def _script_with_port(shop: Workshop, note: Path) -> Run:
    port, pid_file = _free_port(), shop.sandbox.tmp / "ready.pid"
    program = shop.sandbox.programs("announcer", "tcp", note, READY_AFTER, port)
    start: list[str | Path] = [SCRIPT, "start", pid_file, str(port), "--", *program]
    return _returning(shop, note, start, lambda: _end(shop, pid_file))


def _notify_await(shop: Workshop, note: Path) -> Run:
    pid_file = shop.sandbox.tmp / "awaited.pid"
    command, *arguments = shop.sandbox.programs("announcer", "notify", note, READY_AFTER)
    options: list[str | Path] = ["--start", "--background", "--notify-await", "--make-pidfile", "--pidfile", pid_file]
    start: list[str | Path] = [_installed("start-stop-daemon"), *options, "--startas", command, "--", *arguments]
    return _returning(shop, note, start, lambda: _end(shop, pid_file))


def _s6_notified(shop: Workshop, note: Path) -> Run:
    daemon, client = _installed("s6-svscan"), _installed("s6-svc")
    place = shop.sandbox.root / "s6-notified"
    service = place / "ready"
    service.mkdir(parents=True)
    command = shop.sandbox.programs("announcer", "fd", note, READY_AFTER)
    (service / "run").write_text(f"#!/bin/sh\nexec {' '.join(command)}\n")
    (service / "run").chmod(0o755)
    (service / "notification-fd").write_text("3\n")
    (service / "down").touch()
    shop.sandbox.reaper.start([daemon, place], ready=None, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_file(service / "supervise" / "status")
    return _returning(shop, note, [client, "-wU", "-u", service], lambda: _do(shop, [client, "-wD", "-dk", service]))


def _installed(program: str) -> str:
    found = shutil.which(program, path=PATH)
    if found is None:
        raise FileNotFoundError(2, "is not installed", program)
    return found


def _end(shop: Workshop, pid_file: Path) -> None:
    """Without its pid file: the next start would take a zombie that nobody has reaped yet for a running service."""
    pidfd = shop.sandbox.reaper.adopt(int(pid_file.read_text()))
    pid_file.unlink()
    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    wait_gone(pidfd)


def _do(shop: Workshop, argv: Sequence[str | Path]) -> None:
    timed(Command(argv), shop.environment)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
