"""Turns what the kernel refuses into what a person can act on."""

from __future__ import annotations

import os
from typing import Final

from ctl.model.errors import CtlError, Reason

AS_ROOT: Final = "try again as root"


def failure(
    error: OSError, what: str, *, where: str | None = None, otherwise: Reason = "failed", target: str | None = None
) -> CtlError:
    """`what` with the kernel's reason: permission_denied where it is one of rights, else `otherwise`."""
    denied = isinstance(error, PermissionError)
    reason: Reason = "permission_denied" if denied else otherwise
    fix = AS_ROOT if denied and os.geteuid() != 0 else None
    return CtlError(reason, f"{what}: {error.strerror or error}", where=where, fix=fix, target=target)
