"""The stop schedule, in the grammar of start-stop-daemon(8)'s --retry: SIGNAL/SECONDS/SIGNAL/SECONDS."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import Final

import msgspec

# Signal numbers are Linux's on the architectures that agree with x86 (signal(7)); names are what a person types.
# They are given to the kernel by number in system/, which takes the number from its own <signal.h>.
SIGNALS: Final = (
    "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN TTOU "
    "URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS"
).split()
_BY_NUMBER: Final = dict(enumerate(SIGNALS, start=1))
_REALTIME: Final = r"RTMIN(\+([1-9]|[12]\d|30))?"  # compiled when it is needed: start-up time
_NOT_TO_STOP_WITH: Final = {"STOP", "TSTP", "TTIN", "TTOU", "CONT", "CHLD", "URG"}
_SECONDS: Final = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")
DEFAULT: Final = "TERM/30/KILL/5"
# Of a step's wait, after which the children of a main process that is still alive get the step's signal as well: it has
# as long to end them itself as they have to end before the next step.
PASSED_ON_AFTER: Final = 0.5
LONGEST_WAIT: Final = 7 * 24 * 3600.0  # seconds; longer is a slip of the keyboard, and "forever" says it plainly


class BadSchedule(ValueError):
    """The text is no schedule; str() says why, and `fix` what to write."""

    def __init__(self, what: str, fix: str | None = None) -> None:
        super().__init__(what)
        self.fix = fix


class Step(msgspec.Struct, frozen=True):
    """Send `signal` (None: only wait), then wait up to `wait` seconds for the processes to go."""

    signal: str | None
    wait: float


class Schedule(msgspec.Struct, frozen=True):
    """Steps of signal and wait. From `repeat_from` on, they are repeated for as long as it takes."""

    steps: tuple[Step, ...]
    repeat_from: int | None = None

    @property
    def longest(self) -> float:
        """The longest time, in seconds, that the whole schedule can take."""
        return float("inf") if self.repeat_from is not None else sum(step.wait for step in self.steps)

    @property
    def grace(self) -> float:
        """The wait, in seconds, before the last, forceful step: all of it where there is no such step."""
        forceful = next((i for i, step in enumerate(self.steps) if step.signal == "KILL"), None)
        return self.longest if forceful is None else sum(step.wait for step in self.steps[:forceful])

    @property
    def forceful_wait(self) -> float | None:
        """How long, in seconds, to wait after KILL; None where the schedule never sends it."""
        waits = [step.wait for step in self.steps if step.signal == "KILL"]
        return waits[-1] if waits else None

    @property
    def first_signal(self) -> str:
        return next((step.signal for step in self.steps if step.signal), "TERM")

    @property
    def catchable(self) -> tuple[str, ...]:
        """Each signal before KILL, in order."""
        until_kill = itertools.takewhile(lambda step: step.signal != "KILL", self.steps)
        return tuple(dict.fromkeys(step.signal for step in until_kill if step.signal))

    def joined(self) -> Schedule:
        """The same with each wait that has no signal of its own added to the step before it: TERM/0/10 is TERM/10.

        Of waits that are repeated forever, the first round is.
        """
        first = len(self.steps) if self.repeat_from is None else self.repeat_from
        once, repeated = _joined(self.steps[:first]), _joined(self.steps[first:])
        if once and repeated and all(step.signal is None for step in repeated):
            once = _joined((*once, *repeated))
        return Schedule((*once, *repeated), None if self.repeat_from is None else len(once))

    @property
    def first_wait(self) -> float:
        """How long, in seconds, to wait after the first signal."""
        return next((step.wait for step in self.steps if step.signal), 0.0)

    def timeline(self) -> Iterator[tuple[str | None, float]]:
        """Each signal with the end of its wait, in seconds from the schedule's beginning."""
        end = 0.0
        for step in self.steps:
            end += step.wait
            yield step.signal, end
        while self.repeat_from is not None:
            for step in self.steps[self.repeat_from :]:
                end += step.wait
                yield step.signal, end

    def after(self, index: int) -> str:
        """The signal that comes after the wait of the timeline's step of that index; empty where none does."""
        steps, following = self.steps, index + 1
        if following >= len(steps) and self.repeat_from is not None:
            again = steps[self.repeat_from :]
            return again[(following - len(steps)) % len(again)].signal or ""
        return (steps[following].signal or "") if following < len(steps) else ""

    def __str__(self) -> str:
        items: list[str] = []
        for index, step in enumerate(self.steps):
            if index == self.repeat_from:
                items.append("forever")
            if step.signal:
                items.append(step.signal)
            items.append(_plain(step.wait))
        return "/".join(items)


def parse_schedule(text: str) -> Schedule:
    """The schedule that `text` writes; a single number of seconds N means TERM/N/KILL/N, as for start-stop-daemon.

    Raises BadSchedule.
    """
    items = [item.strip() for item in text.split("/")]
    if len(items) == 1 and _SECONDS.fullmatch(items[0]):
        wait = _seconds(items[0])
        return Schedule((Step("TERM", wait), Step("KILL", wait)))
    signals: list[str | None] = []  # of each step
    waits: list[float | None] = []  # None: nothing was said
    repeat_from: int | None = None
    for item in items:
        if item == "forever":
            if repeat_from is not None:
                raise BadSchedule("has 'forever' twice")
            repeat_from = len(signals)
        elif not _SECONDS.fullmatch(item):
            signals.append(_stopping_signal(item))
            waits.append(None)
        elif signals and waits[-1] is None and repeat_from != len(signals):
            waits[-1] = _seconds(item)
        else:
            signals.append(None)
            waits.append(_seconds(item))
    if waits and waits[-1] is None:
        raise BadSchedule("ends in a signal", fix=f"say how long to wait after it, for example {text}/5")
    steps = tuple(Step(signal, wait or 0.0) for signal, wait in zip(signals, waits, strict=True))
    return _sensible(Schedule(steps, repeat_from))


def with_grace(schedule: Schedule, grace: float) -> Schedule:
    """The same first signal, `grace` seconds, KILL, 5: what `--grace` is short for."""
    return Schedule((Step(schedule.first_signal, grace), Step("KILL", 5.0)))


def signal_name(text: str) -> str:
    """The signal's name without SIG, from TERM, SIGTERM, -TERM, 15 or -15. Raises BadSchedule."""
    bare = text.removeprefix("-").upper().removeprefix("SIG")
    if bare.isascii() and bare.isdigit() and len(bare) < 4:
        named = _BY_NUMBER.get(int(bare))
        if named is None:
            raise BadSchedule(f"{text!r} is no signal's number (1 to {len(SIGNALS)})")
        return named
    if bare in SIGNALS or re.fullmatch(_REALTIME, bare):
        return bare
    from ctl.model.suggest import instead

    raise BadSchedule(f"{text!r} is neither a signal nor a number of seconds", fix=instead(bare, SIGNALS))


def _joined(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    joined: list[Step] = []
    for step in steps:
        if step.signal is None and joined:
            joined[-1] = Step(joined[-1].signal, joined[-1].wait + step.wait)
        else:
            joined.append(step)
    return tuple(joined)


def _plain(seconds: float) -> str:
    """The shortest decimal that means this number, without an exponent."""
    from decimal import Decimal

    text = format(Decimal(repr(seconds)), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _sensible(schedule: Schedule) -> Schedule:
    if not any(step.signal for step in schedule.steps):
        raise BadSchedule("sends no signal")
    if schedule.repeat_from is not None and not sum(step.wait for step in schedule.steps[schedule.repeat_from :]) > 0:
        raise BadSchedule("repeats 'forever' without a wait")
    return schedule


def _stopping_signal(text: str) -> str:
    name = signal_name(text)
    if name in _NOT_TO_STOP_WITH:
        raise BadSchedule(f"{name} stops no service")
    return name


def _seconds(text: str) -> float:
    wait = float(text)
    if wait > LONGEST_WAIT:
        raise BadSchedule(f"waits {text} seconds, which is more than a week")
    return wait
