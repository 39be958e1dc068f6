"""What resumes a service at its time although the ctl that paused it is gone: a ctl of its own session that waits.

It is started, and watches, before anything is paused. Whatever then becomes of the ctl that pauses, it goes on: it
has no terminal, none of that ctl's descriptors but two pipes, and no part in its session (setsid(2)), so no hang-up
reaches it. A reboot ends it together with all that is paused.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from io import FileIO

from ctl.model.errors import CtlError
from ctl.system import procfs
from ctl.system.another import own_program
from ctl.system.failure import failure
from ctl.system.host import Host
from ctl.system.wait import now

_READY = b"watching\n"
_WITHIN = 30.0  # seconds to come up
_CHUNK = 4096  # bytes of what it says
# Called by a service or its hook, it would be held together with the service, or end with the hook; nor is it
# for it to tell systemd anything of the unit that its caller may be working for.
_NOT_ITS_OWN = ("CTL_TARGET", "CTL_RUN_ID", "CTL_TOKEN", "CTL_HOOK_ID", "NOTIFY_SOCKET", "MAINPID", "SERVICE_RESULT")


@contextmanager
def keeper(arguments: Sequence[str], host: Host) -> Iterator[None]:
    """Have another ctl, called with `arguments`, stand by for the block and after it.

    Its stdin ends with the block: from then on, or when this ctl has died, it knows what there is to do. Raises
    CtlError (failed) where it does not come up.
    """
    environment = {name: value for name, value in os.environ.items() if name not in _NOT_ITS_OWN}
    with ExitStack() as opened:
        try:
            told, _tell = map(opened.enter_context, _pipe())
            answer, hear = map(opened.enter_context, _pipe())
            process = subprocess.Popen(
                [*own_program(), *arguments],
                stdin=told,
                stdout=hear,
                stderr=hear,
                env=environment,
                start_new_session=True,
            )
        except OSError as error:
            raise failure(error, "cannot have it resumed later", where="--for") from None
        told.close()
        hear.close()
        process.returncode = 0  # it goes on without us: there is nothing to wait for
        said, until = b"", now() + _WITHIN
        while not said.endswith(_READY) and host.pause([answer.fileno()], until) and (part := answer.read(_CHUNK)):
            said += part
        if not said.endswith(_READY):
            what = "cannot have it resumed later: the ctl that was to do it does not come up"
            details = tuple(said.decode(errors="backslashreplace").splitlines()) or ("it says nothing",)
            raise CtlError("failed", what, where="--for", details=details)
        yield


def _pipe() -> tuple[FileIO, FileIO]:
    reading, writing = os.pipe2(os.O_CLOEXEC)
    return FileIO(reading), FileIO(writing, "wb")


def is_kept(pause: str) -> bool:
    """Whether another ctl stands by to resume the pause with this id."""
    for pid in procfs.pids():
        try:
            argv = procfs.read_argv(pid) or []
        except procfs.Gone:
            continue
        if "--due" in argv and pause in argv:
            return True
    return False


def stand_by() -> int:
    """Tell the ctl that waits for this keeper that it watches. Returns what becomes readable when that ctl is done."""
    os.chdir("/")  # keep no file system busy
    with contextlib.suppress(BrokenPipeError):
        os.write(1, _READY)
    return 0
