"""The C library, for the system calls that Python has no function for."""

from __future__ import annotations

import ctypes
import os
from functools import cache
from typing import Any


@cache
def libc() -> Any:
    return ctypes.CDLL(None, use_errno=True)


def checked(result: int) -> int:
    """What one of its functions has returned. Raises OSError where it failed, and so returned less than zero."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
