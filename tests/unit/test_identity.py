"""When two identities mean one process."""

from __future__ import annotations

import msgspec
import pytest

from ctl.model.identity import Identity, same_process

ONE = Identity(boot_id="b1", pid_ns=4026531836, pid=4711, start_ticks=987654, pidfd_inode=77)


def but(**changes: object) -> Identity:
    return msgspec.structs.replace(ONE, **changes)


OLD_KERNEL = but(pidfd_inode=None)


@pytest.mark.parametrize(
    ("claimed", "found", "same"),
    [
        (ONE, ONE, True),
        (ONE, but(pid=4712), False),
        (ONE, but(boot_id="b2"), False),
        (ONE, but(pid_ns=4026532000), False),
        (ONE, but(start_ticks=987655), True),  # seen from another time namespace
        (ONE, but(pidfd_inode=78), False),  # reused within one tick
        (OLD_KERNEL, OLD_KERNEL, True),
        (OLD_KERNEL, ONE, True),  # an inode that only one of them has decides nothing
        (ONE, OLD_KERNEL, True),
        (OLD_KERNEL, but(start_ticks=987655), False),
        (OLD_KERNEL, but(pidfd_inode=None, start_ticks=987655), False),
        (ONE, but(pidfd_inode=None, boot_id="b2"), False),
        (but(pidfd_inode=0), ONE, False),  # 0 is an inode like any other
    ],
)
def test_same_process(claimed: Identity, found: Identity, same: bool) -> None:
    assert same_process(claimed, found) is same
    assert same_process(found, claimed) is same


def test_it_survives_json() -> None:
    assert msgspec.json.decode(msgspec.json.encode(ONE), type=Identity) == ONE
    assert msgspec.json.decode(msgspec.json.encode(OLD_KERNEL), type=Identity) == OLD_KERNEL
