"""Turns what the kernel refuses into what a person can act on."""

from __future__ import annotations

import os

from ctl.model.errors import CtlError, Reason


def failure(
    error: OSError, what: str, *, where: str | None = None, otherwise: Reason = "failed", target: str | None = None
) -> CtlError:
    """`what` with the kernel's reason: permission_denied where it is one of rights, else `otherwise`."""
    denied = isinstance(error, PermissionError)
    reason: Reason = "permission_denied" if denied else otherwise
    root = "; try again as root" if denied and os.geteuid() != 0 else ""
    return CtlError(reason, f"{what}: {error.strerror or error}{root}", where=where, target=target)
