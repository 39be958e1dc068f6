"""Turns what the kernel refuses into what a person can act on."""

from __future__ import annotations

import os
from typing import Final

from ctl.model.errors import CtlError, Reason
from ctl.system.environment import variable
from ctl.system.procfs import Forbidden
from ctl.system.streams import write_err

AS_ROOT: Final = "try again as root"


def failure(
    error: OSError, what: str, *, where: str | None = None, otherwise: Reason = "failed", target: str | None = None
) -> CtlError:
    """`what` with the kernel's reason: permission_denied where it is one of rights, else `otherwise`."""
    denied = isinstance(error, PermissionError)
    reason: Reason = "permission_denied" if denied else otherwise
    fix = AS_ROOT if denied and os.geteuid() != 0 else None
    return CtlError(reason, f"{what}: {error.strerror or error}", where=where, fix=fix, target=target)


def as_ctl_error(error: Exception) -> CtlError:
    """What no one has foreseen, as what a person can act on. With CTL_DEBUG=1 the trace is shown."""
    if isinstance(error, CtlError):
        return error
    import traceback

    if variable("CTL_DEBUG"):
        write_err("".join(traceback.format_exception(error)).rstrip())
    if isinstance(error, OSError):
        path = error.filename  # of a call that was given a descriptor, it is a number
        return failure(
            error, "the kernel refuses it", where=os.fsdecode(path) if isinstance(path, str | bytes) else None
        )
    if isinstance(error, Forbidden):
        return CtlError("failed", "the kernel refuses to tell what this process is", where=f"/proc/{error}")
    if isinstance(error, MemoryError):
        return CtlError("failed", "there is no memory left")
    if isinstance(error, RuntimeError) and str(error) == "can't start new thread":
        return CtlError("failed", "no thread can be started: the user or the control group may have no more")
    if isinstance(error, RecursionError):
        return CtlError("failed", "something that it reads is nested too deeply")
    frame = traceback.extract_tb(error.__traceback__)[-1]
    what = f"a fault in ctl itself: {type(error).__name__}: {error}"
    return CtlError("internal", what, where=f"{frame.filename}:{frame.lineno}; CTL_DEBUG=1 shows the trace")
