"""What each target waits for, drawn on the terminal for as long as it waits, and erased after.

rich.live would hide the cursor, which stays hidden when ctl is killed, and put itself between Python and its streams.
So only the width of characters is rich's; the cursor rests below what is drawn, where a shell's prompt may follow.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple, Self

from ctl.model.outcome import Result
from ctl.model.printable import printable
from ctl.model.service import Service
from ctl.shell.paint import cut, painted
from ctl.shell.render import duration
from ctl.system import terminal
from ctl.system.streams import write_err
from ctl.system.wait import now

_FIRST = 0.5  # seconds; what is quicker is not worth a flicker
_EVERY = 0.25  # seconds
_FD = 2
_DONE = {
    "start": "started", "stop": "stopped", "kill": "killed", "restart": "restarted", "reload": "reloaded",
    "pause": "paused", "resume": "resumed",
}  # fmt: skip


class Step(NamedTuple):
    """What a target waits for."""

    what: str
    until: float | None  # monotonic
    then: str
    why: str

    def text(self, instant: float) -> str:
        left = "" if self.until is None or math.isinf(self.until) else f", {_seconds(self.until - instant)}"
        if left:
            left += f" until {self.then}" if self.then else " left"
        return self.what + left + (f": {self.why}" if self.why else "")


class Line(NamedTuple):
    """One line of what is drawn: who it is about, in bold, and the rest."""

    name: str
    rest: str

    def within(self, width: int) -> Line:
        """As much of it as there is room for in so many cells, and nothing in it that could drive the terminal."""
        name, rest = (printable(text).replace("\t", " ") for text in self)
        whole = cut(name + rest, width)
        return Line(whole[: len(name)], whole[len(name) :])


@contextmanager
def view_of(verb: str, total: int) -> Iterator[View | None]:
    """Draws for the block, from half a second on; nothing of it stays. None where nothing can be drawn."""
    view = None
    if terminal.is_drawable(_FD):
        with suppress(OSError):
            view = View(verb, total)
    if view is None:
        yield None
        return
    with view.shown():
        yield view


class View:
    """How far an operation has come.

    Verbs only leave word of what they wait for. A thread draws it: neither a slow terminal nor a lost one delays them.
    """

    def __init__(self, verb: str, total: int) -> None:
        self._done = _DONE.get(verb, "done")
        self._total = total
        self._succeeded = 0
        self._ended: dict[str, bool] = {}  # whether it went well
        self._steps: dict[str, Step] = {}
        self._lines: deque[str] = deque()  # to be printed above
        self._drawn: list[Line] = []
        self._width = 0
        self._lost = False
        self._style = "bold" if terminal.has_colours(_FD) else ""
        self._began = now()
        self._pulse = terminal.Pulse(self._beat)

    def progress(self, target: str, what: str, until: float | None = None, /, *, then: str = "", why: str = "") -> None:
        """The host's Progress."""
        self._steps[target] = Step(what, until, then, why)

    def say(self, text: str) -> None:
        """Print it above what is drawn."""
        if self._lost:
            write_err(text)
            return
        self._lines.append(text)
        self._pulse.wake()

    def counted(self, operation: Callable[[Service], Result]) -> Callable[[Service], Result]:
        """The operation, which is struck off the view when it ends."""

        def counted(service: Service) -> Result:
            ok = False
            try:
                result = operation(service)
                ok = result.ok
                return result
            finally:
                self._ended[service.name] = ok

        return counted

    @contextmanager
    def shown(self) -> Iterator[Self]:
        self._begin()
        try:
            with terminal.cleared_for_suspension(self._pulse.end, self._begin):
                yield self
        finally:
            self._pulse.end()

    def _begin(self) -> None:
        try:
            self._pulse.begin(max(self._began + _FIRST - now(), 0.0), _EVERY)
        except RuntimeError:
            self._lost = True

    def _beat(self, last: bool) -> None:
        printed = [self._lines.popleft() for _ in range(len(self._lines))]
        try:
            self._draw(printed, last)
        except Exception:  # noqa: BLE001 - whatever becomes of the drawing, it is not what was asked for
            self._lost = True
            for text in printed:
                write_err(text)

    def _draw(self, printed: list[str], last: bool) -> None:
        if self._lost:
            raise OSError
        columns, rows = terminal.size(_FD)
        hidden = last or now() < self._began + _FIRST or not terminal.is_ours(_FD)
        lines = [] if hidden else self._frame(columns - 1, rows - 1)
        if not printed and lines == self._drawn and (columns == self._width or not lines):
            return
        # One write for all of it, so that nobody sees it half done.
        text = self._to_the_top(columns) if self._drawn else ""
        text += "".join(f"{line}\n" for line in printed)
        text += "".join(f"{painted(line.name, self._style)}{line.rest}\033[K\n" for line in lines)
        self._drawn, self._width = lines, columns
        terminal.write(_FD, text)

    def _to_the_top(self, columns: int) -> str:
        """To where the drawing begins, and clear the rest; a terminal that has become narrower has broken its lines."""
        from rich.cells import cell_len

        rows = sum(max(math.ceil(cell_len(line.name + line.rest) / columns), 1) for line in self._drawn)
        return f"\r\033[{rows}A\033[J"

    def _frame(self, width: int, height: int) -> list[Line]:
        """The lines that are to be seen, each of at most `width` cells."""
        instant = now()
        waiting = [(name, step) for name, step in self._steps.copy().items() if name not in self._ended]
        lines = [Line(name, f": {step.text(instant)}") for name, step in waiting]
        if self._total > 1:
            lines = [self._head(), *_fitting(lines, self._total - len(self._ended), height - 1)]
        return [line.within(width) for line in lines[: max(height, 0)]]

    def _head(self) -> Line:
        ended = list(self._ended.copy().values())
        failed = ended.count(False)
        text = f"{ended.count(True)} of {self._total} {self._done}" + (f", {failed} failed" if failed else "")
        return Line("", text)


def _fitting(lines: list[Line], under_way: int, height: int) -> list[Line]:
    if under_way <= height and len(lines) <= height:
        return lines
    shown = lines[: max(height - 1, 0)]
    return [*shown, Line("", f"… and {under_way - len(shown)} more")]


def _seconds(left: float) -> str:
    whole = max(math.ceil(left), 0)
    return f"{whole} s" if whole < 120 else duration(whole)
