"""The processes that search where a pattern may take for ever. One is started when it is needed, and kept for more."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import select
import subprocess
import threading
from typing import Any, Final

from msgspec import Struct

from ctl.model.match import Found
from ctl.system.gate import SEARCHES
from ctl.system.turns import let_others
from ctl.system.wait import Wait, now

_SEARCHESS: Final = 8  # at most at a time
_OUTLIVES: Final = 1.0  # seconds that a helper has more than who waits for it
_CHUNK: Final = 1 << 16  # bytes


class _Helper:
    """One process that searches."""

    def __init__(self) -> None:
        """Raises OSError."""
        self._process = subprocess.Popen(
            SEARCHES, bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            cwd="/", env={}, start_new_session=True,
        )  # fmt: skip
        assert self._process.stdin is not None  # noqa: S101 - for mypy
        assert self._process.stdout is not None  # noqa: S101
        self._to, self._from = self._process.stdin.fileno(), self._process.stdout.fileno()
        os.set_blocking(self._to, False)

    def ask(self, question: bytes, until: float, wait: Wait) -> bytes:
        """A line for a line. Raises TimeoutError, OSError, and what the Wait raises; then it is to be ended."""
        left, answer = memoryview(question), b""
        while not answer.endswith(b"\n"):
            if left:
                with contextlib.suppress(BlockingIOError):
                    left = left[os.write(self._to, left[:_CHUNK]) :]
                    continue
                _await_room(self._to, until)
            elif self._from in wait([self._from], until):
                if not (part := os.read(self._from, _CHUNK)):
                    raise BrokenPipeError(errno.EPIPE, "it was killed")
                answer += part
            if now() >= until:
                raise TimeoutError
        return answer

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def end(self) -> None:
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        self._process.kill()
        self._process.wait()


def _await_room(fd: int, until: float) -> None:
    """Until what is written is being read, as it always is at once, unless the helper is held."""
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    poll.poll(max(0.0, min(until - now(), 0.1)) * 1000)


class _Answer(Struct):
    """What a helper has found."""

    whole: str
    groups: dict[str, str | None]

    def __getitem__(self, group: Any, /) -> Any:
        return self.whole if group == 0 else self.groups[group]


class Helpers:
    """As many as are asked at a time."""

    def __init__(self) -> None:
        self._free = threading.Semaphore(_SEARCHESS)
        self._idle: list[_Helper] = []

    def search(self, pattern: re.Pattern[str], text: str, until: float, wait: Wait) -> Found | None:
        """The first match. Raises TimeoutError, OSError, and what the Wait raises."""
        asked = {"pattern": pattern.pattern, "flags": pattern.flags, "text": text}
        question = json.dumps({**asked, "seconds": max(0.0, until - now()) + _OUTLIVES}).encode() + b"\n"
        with let_others():
            has_turn = self._free.acquire(timeout=max(0.0, until - now()))
        if not has_turn:
            raise TimeoutError
        helper = None
        try:
            helper = self._taken()
            answer = json.loads(helper.ask(question, until, wait))
            self._idle.append(helper)
            helper = None
        finally:
            if helper is not None:
                helper.end()
            self._free.release()
        return None if answer is None else _Answer(*answer)

    def _taken(self) -> _Helper:
        while self._idle:
            helper = self._idle.pop()
            if helper.is_alive:
                return helper
            helper.end()
        return _Helper()


helpers = Helpers()
