"""What the single file executes, as its __main__: finds where it was unpacked, unpacks it the first time, starts ctl.

The build fills in the four names below.
"""

import _imp  # what is built in: the other modules take longer to import than all that is done here
import _signal  # type: ignore[import-not-found]
import os
import sys
from typing import NoReturn

BUILD = "@BUILD@"  # ctl's version and a checksum of all that is packed: the name of the directory
DIGEST = "@DIGEST@"
PYTHON = "@PYTHON@"
SUFFIX = "@SUFFIX@"  # of compiled modules: it tells Python's version, the processor and the C library
OF_ROOT = "/var/cache/ctl"

# Until ctl has begun something, Ctrl-C ends it as it ends any program, and not with a trace of what was being imported.
if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)


def fail(what: str) -> NoReturn:
    """One line, and the exit status of what is not set up."""
    sys.stderr.write(f"ctl: {sys.argv[0]}: {what}\n")
    sys.exit(199)


# Up to here an older Python must understand this, and below it must be able to compile it.
_FOUND = f"{sys.version_info[0]}.{sys.version_info[1]}"
if PYTHON != _FOUND:
    fail(f"it is built for Python {PYTHON}, and {sys.executable} is {_FOUND}: no python{PYTHON} is in the PATH")
if SUFFIX not in _imp.extension_suffixes():
    fail(f"it is built for *{SUFFIX}, and {sys.executable} takes *{_imp.extension_suffixes()[0]}")


def main() -> None:
    """Does not return."""
    place = unpacked() or unpack_in_a_place()
    sys.path[0] = place
    try:
        from ctl.__main__ import launch

        launch()
    except ImportError as error:
        fail(f"it cannot be loaded: {error} (remove {place}, and the next run unpacks it anew)")


def unpack_in_a_place() -> str:
    """The directory where it now is."""
    from ctl_build.single.unpack import CannotUnpack, unpack

    try:
        return unpack(sys.path[0], BUILD, DIGEST, places(), is_ours)
    except CannotUnpack as error:
        fail(str(error))


def unpacked() -> str | None:
    """The directory that holds this build, None where there is none yet. What root has unpacked serves all."""
    for place in (*places(), OF_ROOT):
        found = f"{place}/{BUILD}"
        if is_ours(place) and os.path.isdir(found):
            return found
    return None


def places() -> list[str]:
    """Where it may be unpacked, the best first. Root takes no word of HOME, which sudo may have left as it was."""
    chosen = os.environ.get("CTL_CACHE_DIR")
    if chosen:
        return [os.path.abspath(chosen)]
    if os.geteuid() == 0:
        return [OF_ROOT]
    given = os.environ.get("XDG_CACHE_HOME", ""), os.path.expanduser("~/.cache")
    return [f"{place}/ctl" for place in given if os.path.isabs(place)]


def is_ours(place: str) -> bool:
    """Whether nobody but this user and root can have put there what is about to be executed.

    Where that is root's, nor can anybody have put another directory in its place.
    """
    place = os.path.realpath(place)
    try:
        found = os.lstat(place)
        if found.st_uid not in {0, os.geteuid()} or is_open(found, place):
            return False
        while found.st_uid == 0 and place != "/":
            place = os.path.dirname(place)
            above = os.lstat(place)
            if above.st_uid != 0 or (is_open(above, place) and not above.st_mode & 0o1000):  # sticky, as /tmp is
                return False
    except OSError:
        return False
    return True


def is_open(found: os.stat_result, place: str) -> bool:
    """Whether others than its owner may write to it. The group root is root alone, unless the group bits are the mask
    of an ACL, acl(5).
    """
    if found.st_mode & (0o002 if found.st_gid == 0 else 0o022):
        return True
    return bool(found.st_mode & 0o020) and "system.posix_acl_access" in os.listxattr(place)


if __name__ == "__main__":
    main()
