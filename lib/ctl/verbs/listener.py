"""Whether it is the service that answers at its address, or another process that listens there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from ctl.model.answer import Answer
from ctl.model.service import Service
from ctl.model.verdict import NO, UNKNOWN, YES, Verdict
from ctl.system import procfs
from ctl.system.host import Host
from ctl.system.listeners import Holders, Peer, holders_of, holds_any, sockets_at
from ctl.system.pidfd import Handle, open_handle
from ctl.system.procfs import Forbidden, Gone
from ctl.system.wait import now
from ctl.verbs.anothers import anothers

if TYPE_CHECKING:
    from ctl.system.members import Members

_LOOK_WITHIN: Final = 1.0  # seconds at the descriptors of all processes


class Listener(NamedTuple):
    """Yes where a member listens there, no where another process does, unknown where that cannot be told."""

    verdict: Verdict
    why: str = ""


def judge_answer(
    answer: Answer, service: Service, host: Host, mains: Sequence[Handle], members: Callable[[], Members]
) -> Listener:
    """Whose a yes of ready.tcp or ready.http is. The members are asked for only where neither a main process nor a
    descendant of one listens: that is the costly part.

    Any listener is right where the definition says so, and where what was asked has no address.
    """
    if answer.peer is None or service.ready.listener == "any":
        return Listener(YES)
    inodes = sockets_at(answer.peer)
    if inodes is None:
        return _untold(answer.peer, "it is no address of this host and network namespace")
    if not inodes:
        return _untold(answer.peer, "no process of this network namespace listens there")
    return _judge(answer.peer, inodes, service, host, mains, members)


def _judge(
    peer: Peer,
    inodes: frozenset[int],
    service: Service,
    host: Host,
    mains: Sequence[Handle],
    members: Callable[[], Members],
) -> Listener:
    hidden = False
    for pid in _closest(mains, service, host):
        if (holds := holds_any(pid, inodes)) is True:
            return Listener(YES)
        hidden = hidden or holds is None
    family = members()
    own = {member.pid for member in family.refresh()}
    doubtful = {member.pid for member in family.unproved()}
    holders = holders_of(inodes, now() + _LOOK_WITHIN)
    if not own.isdisjoint(holders.pids):
        return Listener(YES)
    if hidden or not own.isdisjoint(holders.unread):
        return _untold(peer, "this user may not see the sockets of the service")
    if not doubtful.isdisjoint(holders.pids):
        return _untold(peer, "who listens there carries the token of its run as another user, which proves nothing")
    return _of_strangers(peer, holders, service, host)


def _closest(mains: Sequence[Handle], service: Service, host: Host) -> Iterator[int]:
    yield from (main.pid for main in mains)
    for main in mains:
        yield from procfs.descendants(main.pid, anothers(service, host)) or ()


def _of_strangers(peer: Peer, holders: Holders, service: Service, host: Host) -> Listener:
    if not holders.found_all:
        return _untold(peer, "who listens there may not be seen")
    if any(map(_is_manager, holders.pids)):
        return _untold(peer, "systemd listens there")
    named = next(filter(None, (_described(pid, service, host) for pid in holders.pids)), None)
    if named is None:
        return _untold(peer, "who listened there has ended")
    return Listener(NO, f"{_shown(peer)} is held by {named}")


def _is_manager(pid: int) -> bool:
    """Whether it may hold the socket for the service: systemd does, systemd.socket(5)."""
    from ctl.system.managers import is_service_manager

    try:
        return pid == 1 or is_service_manager(pid)
    except Gone:
        return False


def _described(pid: int, service: Service, host: Host) -> str | None:
    """The process and the service that it belongs to, None where it has ended."""
    try:
        handle = open_handle(pid)
        if handle is None:
            return None
        with handle:
            others = host.others_than(service.name)()
            whose = others.whose(handle)
            for parent in procfs.parents(pid) if whose is None else ():
                if (above := open_handle(parent)) is not None:
                    with above:
                        whose = whose or others.whose(above)
            return f"{handle.stat.comm}, pid {pid}" + (f" (service {whose})" if whose else "")
    except (Forbidden, Gone):
        return f"pid {pid}"


def _untold(peer: Peer, why: str) -> Listener:
    return Listener(UNKNOWN, f"cannot tell whether it is the service that answers at {_shown(peer)}: {why}")


def _shown(peer: Peer) -> str:
    host, port = peer
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
