"""Who listens on a TCP port of this host: sockets by proc_net(5), and their processes by proc_pid_fd(5)."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterable
from typing import Final

import msgspec

from ctl.system import procfs
from ctl.system.wait import now

Peer = tuple[str, int]  # a numeric address, with its zone where it has one, and a port

_LISTENING: Final = "0A"  # TCP_LISTEN, in hexadecimal
_WORD: Final = 4  # bytes; each word of an address is printed as a number of this host's
_MAPPED: Final = bytes(10) + b"\xff\xff"  # an IPv4 address in IPv6, RFC 4291


class Holders(msgspec.Struct, frozen=True):
    """The processes that hold a socket."""

    pids: list[int]
    found_all: bool  # whether at least one is known of each socket
    unread: frozenset[int]  # those whose sockets this user may not see


def sockets_at(peer: Peer) -> frozenset[int] | None:
    """The inodes of the listening sockets one of which answers at this address; None where it is no address of this
    host and network namespace.

    The kernel prefers the very address to the wildcard, and IPv4's to IPv6's. With SO_REUSEPORT there are several.
    """
    if not _is_local(peer):
        return None
    wanted = _packed(peer[0])
    kinds: list[set[int]] = [set(), set(), set()]
    for file, is_ipv6 in (("/proc/net/tcp", False), ("/proc/net/tcp6", True)):
        for address, inode in _listening(file, peer[1]):
            plain = _unmapped(address)
            if plain == wanted:
                kinds[0].add(inode)
            elif not any(plain) and len(plain) == len(wanted):
                kinds[1].add(inode)
            elif is_ipv6 and not any(address):
                kinds[2].add(inode)  # it takes IPv4 as well: else nobody would have answered
    return frozenset(next((kind for kind in kinds if kind), set()))


def holds_any(pid: int, inodes: frozenset[int]) -> bool | None:
    """Whether the process holds one of these sockets; None where this user may not see that."""
    held = _sockets_of(pid)
    return None if held is None else not inodes.isdisjoint(held)


def holders_of(inodes: frozenset[int], until: float) -> Holders:
    """Every process that holds one of these sockets. At `until`, a monotonic instant, the others count as unread."""
    pids: list[int] = []
    unread: set[int] = set()
    found: set[int] = set()
    for pid in procfs.pids():
        held = _sockets_of(pid) if now() < until else None
        if held is None:
            unread.add(pid)
        elif here := inodes.intersection(held):
            pids.append(pid)
            found |= here
    return Holders(pids, found == inodes, frozenset(unread))


def _is_local(peer: Peer) -> bool:
    """Only an address of its own can a host bind to, but where ip_nonlocal_bind allows any, ip(7)."""
    host = peer[0]
    family, name = (socket.AF_INET6, "ipv6") if ":" in host else (socket.AF_INET, "ipv4")
    try:
        with open(f"/proc/sys/net/{name}/ip_nonlocal_bind", encoding="ascii") as file:
            if file.read().strip() != "0" and not (host.startswith("127.") or host == "::1"):
                return False
        with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as probe:
            probe.bind((host, 0))
    except OSError:
        return False
    return True


def _packed(host: str) -> bytes:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return _unmapped(socket.inet_pton(family, host.partition("%")[0]))


def _unmapped(address: bytes) -> bytes:
    return address.removeprefix(_MAPPED)


def _listening(file: str, port: int) -> Iterable[tuple[bytes, int]]:
    """Address and inode of each socket that listens on the port. Those that listen come first: no others are read."""
    ending = f":{port:04X}"
    try:
        with open(file, encoding="ascii") as lines:
            next(lines, None)
            for line in lines:
                _, local, _, state, *rest = line.split()
                if state != _LISTENING:
                    return
                if local.endswith(ending):
                    yield _address(local.partition(":")[0]), int(rest[5])
    except FileNotFoundError:  # a kernel without IPv6
        return


def _address(digits: str) -> bytes:
    raw = bytes.fromhex(digits)
    if sys.byteorder == "big":
        return raw
    return b"".join(raw[at : at + _WORD][::-1] for at in range(0, len(raw), _WORD))


def _sockets_of(pid: int) -> set[int] | None:
    """The inodes of its sockets, none where it has ended; None where this user may not see them."""
    try:
        links = _descriptors(f"/proc/{pid}/fd")
        if not links:  # its first thread may have ended, and have none any more
            threads = (_descriptors(f"/proc/{pid}/task/{thread}/fd") for thread in os.listdir(f"/proc/{pid}/task"))
            links = next(filter(None, threads), [])
    except PermissionError:
        return None
    except OSError:
        return set()
    return {int(link[8:-1]) for link in links if link.startswith("socket:[")}


def _descriptors(directory: str) -> list[str]:
    links = []
    for name in os.listdir(directory):
        try:
            links.append(os.readlink(f"{directory}/{name}"))
        except FileNotFoundError:  # closed meanwhile
            continue
    return links
