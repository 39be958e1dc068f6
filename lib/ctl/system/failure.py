"""Turns what the kernel refuses into what a person can act on."""

from __future__ import annotations

from ctl.model.errors import CtlError, Reason


def failure(
    error: OSError, what: str, *, where: str | None = None, otherwise: Reason = "failed", target: str | None = None
) -> CtlError:
    """`what` with the kernel's reason: permission_denied where it is one of rights, else `otherwise`."""
    reason: Reason = "permission_denied" if isinstance(error, PermissionError) else otherwise
    return CtlError(reason, f"{what}: {error.strerror or error}", where=where, target=target)
