"""A directory on a full or on a read-only file system, for root as well, with all that is in it still readable."""

from __future__ import annotations

import errno
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sh

from support.requires import requires_mounts

ROOM = 1024 * 1024
INODES = 64


@contextmanager
def full(path: Path, *, inodes: bool = False) -> Iterator[None]:
    """Inside, the directory is on a tmpfs without a free block (an empty file can be made, not written to).

    With `inodes` it has free blocks and no free inode. Changes made inside are gone afterwards.
    """
    requires_mounts()
    status = path.stat()
    options = f"size={ROOM},nr_inodes={INODES},mode={status.st_mode & 0o7777:o},uid={status.st_uid},gid={status.st_gid}"
    with tempfile.TemporaryDirectory() as aside:
        sh.cp("-a", f"{path}/.", aside)
        sh.mount("-t", "tmpfs", "-o", options, "tmpfs", path)
        try:
            sh.cp("-a", f"{aside}/.", path)
            (_fill_inodes if inodes else _fill_blocks)(path)
            yield
        finally:
            _unmount(path)


@contextmanager
def read_only(path: Path) -> Iterator[None]:
    """Inside, the directory is mounted read-only."""
    requires_mounts()
    sh.mount("--bind", path, path)
    try:
        sh.mount("-o", "remount,ro,bind", path)
        yield
    finally:
        _unmount(path)


def _unmount(path: Path) -> None:
    # Lazily: a service may still have its directory or its log in there.
    sh.umount("--lazy", path)


def _fill_blocks(path: Path) -> None:
    try:
        with open(path / ".fill", "wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
    except OSError as error:
        _expect_full(error)
    assert shutil.disk_usage(path).free == 0


def _fill_inodes(path: Path) -> None:
    try:
        for number in range(2 * INODES):
            (path / f".fill-{number}").touch()
    except OSError as error:
        _expect_full(error)


def _expect_full(error: OSError) -> None:
    if error.errno != errno.ENOSPC:
        raise error
