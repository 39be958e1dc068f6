"""The peers that this machine has: those that it could have are installed when they are first needed."""

from __future__ import annotations

import subprocess

from bench import with_daemon, without_daemon
from bench.pairs import Unexpected
from bench.peer import Commands, Missing, Peer, SetUp
from bench.workshop import Workshop

PEERS: dict[str, SetUp] = {
    "start-stop-daemon": without_daemon.start_stop_daemon,
    "pid-file script": without_daemon.pid_file_script,
    "supervisor": with_daemon.supervisor,
    "pm2": with_daemon.pm2,
    "runit": with_daemon.runit,
    "s6": with_daemon.s6,
}


def all_peers(shop: Workshop, services: Commands, grace: int) -> list[Peer]:
    """Those that this machine has, set up and running."""
    return [peer for name in PEERS if (peer := one_peer(name, shop, services, grace))]


def one_peer(name: str, shop: Workshop, services: Commands, grace: int) -> Peer | None:
    """None where this machine does not have it, or where it does not work; that is noted in the report."""
    try:
        return PEERS[name](shop, services, grace)
    except (Missing, Unexpected, AssertionError, subprocess.CalledProcessError) as error:
        shop.skip(name, str(error))
        return None
