"""Unpacks the single file into a directory of its user's own: once, and whole, however many begin at a time."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
import tempfile
import zipfile
import zipimport
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Final

PACKED: Final = "packed.zip"  # within the single file, in one piece: its directory is quickly read
_UNFINISHED: Final = ".new-"
_GIVEN_UP: Final = 3600.0  # seconds


class CannotUnpack(Exception):
    """There is no place for it, in words."""


def unpack(archive: str, build: str, digest: str, places: Sequence[str], is_ours: Callable[[str], bool]) -> str:
    """Unpack it in the first place that takes it. Returns the directory. Raises CannotUnpack."""
    content = zipimport.zipimporter(archive).get_data(PACKED)
    if hashlib.sha256(content).hexdigest() != digest:
        raise CannotUnpack("it is damaged: copy it anew")
    faults = []
    for place in places:
        try:
            return _unpack(content, Path(place), build, is_ours)
        except OSError as error:
            faults.append(f"{place}: {error.strerror or error}")
        except CannotUnpack as error:
            faults.append(f"{place}: {error}")
    tried = "; ".join(faults) or "the user has no home directory"
    raise CannotUnpack(f"it cannot be unpacked: {tried}; CTL_CACHE_DIR may name a directory of the user's own")


def _unpack(content: bytes, place: Path, build: str, is_ours: Callable[[str], bool]) -> str:
    before = os.umask(0o022)  # ctl believes no definition that others may write to
    try:
        return _unpack_there(content, place, place / build, is_ours)
    finally:
        os.umask(before)


def _unpack_there(content: bytes, place: Path, target: Path, is_ours: Callable[[str], bool]) -> str:
    place.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        place.mkdir(mode=_mode())
    if not is_ours(str(place)):
        raise CannotUnpack(f"it, or what is above it, can be written by others ({_described(place)})")
    if os.statvfs(place).f_flag & os.ST_NOEXEC:
        raise CannotUnpack("it is on a file system that is mounted noexec")
    unfinished = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=place))
    _remove_given_up(unfinished)
    try:
        with zipfile.ZipFile(BytesIO(content)) as packed:
            packed.extractall(unfinished)
        unfinished.chmod(_mode())
        _sync(unfinished)
        unfinished.rename(target)
    except OSError:
        if not target.is_dir():  # else another was quicker
            raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return str(target)


def _mode() -> int:
    """Of directories: what root has unpacked, others may read."""
    return 0o755 if os.geteuid() == 0 else 0o700


def _remove_given_up(unfinished: Path) -> None:
    """What was begun an hour before `unfinished` or earlier: whoever did has been killed."""
    began = unfinished.stat().st_mtime
    for other in unfinished.parent.glob(f"{_UNFINISHED}*"):
        with contextlib.suppress(OSError):
            if began - other.stat().st_mtime > _GIVEN_UP:
                shutil.rmtree(other)


def _sync(directory: Path) -> None:
    """Have it on the disk before it has its name: after a power failure it is whole, or not there. syncfs(2)."""
    import ctypes

    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        ctypes.CDLL(None).syncfs(fd)
    finally:
        os.close(fd)


def _described(place: Path) -> str:
    found = place.lstat()
    return f"owner {found.st_uid}, mode {stat.S_IMODE(found.st_mode):04o}"
