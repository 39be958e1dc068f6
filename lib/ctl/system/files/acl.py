"""POSIX access control lists, acl(5), which the mode of a file does not show: its group bits are only their mask."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final, Literal

Kind = Literal["access", "default"]  # who may do what now; what is given to whatever is made in a directory

# linux/posix_acl_xattr.h, little-endian: a version in 4 bytes; for each entry a tag and permissions in 2, an id in 4.
_VERSION: Final = 2
_HEADER: Final = 4
_ENTRY: Final = 8
_USER, _GROUP, _MASK, _OTHER = 0x02, 0x08, 0x10, 0x20
_WRITE: Final = 2


def writer_of(path: str, kind: Kind, trusted: frozenset[int] = frozenset({0})) -> str | None:
    """Whom the ACL of a file lets write beyond what its mode says, as setfacl(1) has it: u:1000, g:100 or o.

    None where there is no such ACL, or only users in `trusted` (and the group root) gain by it. A link is followed.
    """
    try:
        raw = os.getxattr(path, f"system.posix_acl_{kind}")
    except OSError:  # ENODATA: none; ENOTSUP: the file system has none
        return None
    if _number(raw[:_HEADER]) != _VERSION:
        return "somebody"
    entries = [raw[start : start + _ENTRY] for start in range(_HEADER, len(raw), _ENTRY)]
    return next(_writers([(_number(one[:2]), _number(one[2:4]), _number(one[4:])) for one in entries], trusted), None)


def _writers(entries: list[tuple[int, int, int]], trusted: frozenset[int]) -> Iterator[str]:
    mask = next((permissions for tag, permissions, _ in entries if tag == _MASK), _WRITE)
    for tag, permissions, number in entries:
        if tag == _OTHER and permissions & _WRITE:
            yield "o"
        elif permissions & mask & _WRITE:
            if tag == _USER and number not in trusted:
                yield f"u:{number}"
            elif tag == _GROUP and number != 0:
                yield f"g:{number}"


def _number(raw: bytes) -> int:
    return int.from_bytes(raw, "little")
