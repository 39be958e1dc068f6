"""The key of a run directory: it makes the token by which a process is known as one of a run.

The id of a run is public, since every user may read records. Its token is in the environment of its processes alone,
and only who may read the key can tell which token is whose.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final, NamedTuple

from ctl.model.errors import CtlError
from ctl.system.failure import failure
from ctl.system.trust import user_name

TOKEN: Final = "CTL_TOKEN"  # noqa: S105 - the name of the variable
RUN_ID: Final = "CTL_RUN_ID"  # what tells the processes of a run that was started by a ctl without tokens
_SIZE: Final = 32  # bytes
_NAME: Final = ".key"


class Key(NamedTuple):
    """32 random bytes, kept for as long as the run directory is there."""

    secret: bytes

    @property
    def id(self) -> str:
        """Which key it is, for records. It tells nothing of the secret."""
        return _digest(self.secret, b"", b"ctl key id")

    def token(self, target: str, run_id: str) -> str:
        """What the processes of this run of the target carry."""
        return _digest(self.secret, f"{target} {run_id}".encode(), b"ctl token")


def read_key(run_dir: Path) -> Key | None:
    """The key, None where there is none. Raises CtlError where it may not be read, or others could have."""
    file = run_dir / _NAME
    try:
        fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise failure(error, "cannot read the key of the run directory", where=str(file)) from None
    try:
        found = os.fstat(fd)
        if (fault := _fault(found)) is not None:
            fix = f"rm '{file}', once none of its services runs"
            raise CtlError("failed", f"the key of the run directory {fault}", where=str(file), fix=fix)
        return Key(os.read(fd, _SIZE))
    finally:
        os.close(fd)


def make_key(run_dir: Path) -> Key:
    """The key, made where there is none yet. Raises CtlError."""
    known = read_key(run_dir)
    if known is not None:
        return known
    file = run_dir / _NAME
    temporary = run_dir / f"{_NAME}.{os.urandom(8).hex()}"
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            os.write(fd, os.urandom(_SIZE))
            os.link(temporary, file)  # whole or not at all, and never in the place of another one
        except FileExistsError:
            pass
        finally:
            os.close(fd)
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise failure(error, "cannot make the key of the run directory", where=str(file)) from None
    made = read_key(run_dir)
    if made is None:
        raise CtlError("failed", "the key of the run directory was removed while it was made", where=str(file))
    return made


def _fault(found: os.stat_result) -> str | None:
    if not stat.S_ISREG(found.st_mode):
        return "is not a regular file"
    if found.st_uid != os.geteuid():
        return f"belongs to {user_name(found.st_uid)}"
    if found.st_mode & 0o077:
        return f"is open to others (mode {stat.S_IMODE(found.st_mode):04o})"
    return None if found.st_size == _SIZE else f"is {found.st_size} bytes long, not {_SIZE}"


def _digest(secret: bytes, text: bytes, purpose: bytes) -> str:
    # Imported where a token is made or compared, and not by way of hashlib, which loads OpenSSL as well: that would
    # take a quarter of the time in which a kill starts up.
    try:
        from _blake2 import blake2b
    except ImportError:
        from hashlib import blake2b
    return blake2b(text, key=secret, digest_size=16, person=purpose, usedforsecurity=False).hexdigest()
