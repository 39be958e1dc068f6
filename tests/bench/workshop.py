"""What every comparison stands on: a sandbox, the peers that this machine has, and the rows that come out."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Unpack

from bench.pairs import Command, Pairs, Run, Unexpected, in_turn, run
from bench.report import Report, Row, Skipped, Terms, row
from support.reaper import PATH
from support.sandbox import CTL, ROOT, Sandbox

PYTHON = ROOT / ".venv" / "bin" / "python"


class Workshop:
    """One group of comparisons. They share a sandbox; whatever they start, the sandbox's reaper ends."""

    def __init__(self, group: str, sandbox: Sandbox, pairs: int) -> None:
        self.group, self.sandbox, self.pairs = group, sandbox, pairs
        self.environment = sandbox.environment()
        self._rows: list[Row] = []
        self._skipped: list[Skipped] = []

    def ctl(self, *arguments: str) -> tuple[str | Path, ...]:
        return (CTL, *arguments)

    def do(self, *arguments: str) -> None:
        """ctl, not timed. Raises Unexpected."""
        done = self.sandbox.ctl(*arguments, timeout=300)
        if done.rc != 0:
            raise Unexpected(str(done))

    def compare(self, what: str, own: Command, against: str, other: Command, **terms: Unpack[Terms]) -> None:
        """Time the two and keep the row. What cannot be compared is noted, and the rest goes on."""
        program = str(other.argv[0])
        if shutil.which(program, path=PATH) is None:
            self.skip(f"{what}, against {against}", f"{program} is not installed")
            return
        self.measure(what, lambda: run(own, self.environment), against, lambda: run(other, self.environment), **terms)

    def measure(self, what: str, own: Run, against: str, other: Run, **terms: Unpack[Terms]) -> None:
        """`compare` for what is not a command from its start to its end."""
        self.say(f"{what}, against {against}")
        try:
            timed = in_turn(own, other, self.pairs)
        except (Unexpected, AssertionError) as error:  # the latter of what was waited for, and did not come
            self.went_wrong(f"{what}, against {against}", error)
        else:
            self.keep(what, against, timed, **terms)

    def keep(self, what: str, against: str, timed: Pairs, **terms: Unpack[Terms]) -> None:
        self._rows.append(row(self.group, what, against, timed, **terms))

    def say(self, what: str) -> None:
        """What is being measured, for who waits for it."""
        print(f"{self.group}: {what}", file=sys.stderr, flush=True)

    def went_wrong(self, what: str, error: Exception) -> None:
        print(error, file=sys.stderr, flush=True)
        self.skip(what, "something went wrong, see above")

    def skip(self, what: str, why: str) -> None:
        self._skipped.append(Skipped(self.group, what, why))

    @property
    def report(self) -> Report:
        return Report(tuple(self._rows), tuple(self._skipped))
