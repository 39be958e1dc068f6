"""One operation on many targets, side by side: one that fails or hangs costs the others nothing."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from ctl.model.errors import CtlError
from ctl.model.outcome import Result
from ctl.model.service import Service
from ctl.system.failure import as_ctl_error

if TYPE_CHECKING:
    from concurrent.futures import Future

T = TypeVar("T")
R = TypeVar("R")
Operation = Callable[[Service], Result]
_HEEDS_SIGNALS_EVERY = 0.2  # seconds
_LARGEST = 1024  # threads; each waits in poll(2) nearly all the time


def act_on(services: Sequence[Service], operation: Operation, note: Callable[[Result], None]) -> list[Result]:
    """The result for every service, in their order; `note` is told each as it comes.

    An error of one is recoverable: it becomes that one's result.
    """

    def guarded(service: Service) -> Result:
        try:
            result = operation(service)
        except Exception as error:  # noqa: BLE001 - what one target does to ctl must not cost the others their results
            result = failed(service.name, as_ctl_error(error))
        note(result)
        return result

    return each(services, guarded)


def each(things: Sequence[T], function: Callable[[T], R], at_once: int = _LARGEST) -> list[R]:
    """`function` of every thing, `at_once` side by side, in their order. A single one is done without a thread.

    Where no more threads can be had, those that there are do it, and at the worst this one, one after the other.
    """
    if len(things) <= 1 or at_once == 1:
        return [function(thing) for thing in things]
    from concurrent.futures import Future, wait

    from ctl.system.turns import let_others

    futures: list[Future[R]] = [Future() for _ in things]
    left = deque(zip(futures, things, strict=True))
    with let_others():
        if _threads(left, function, at_once) == 0:
            return [function(thing) for thing in things]
        # A signal may be taken by any thread, but only this one runs its handler, and only between two waits.
        while wait(futures, timeout=_HEEDS_SIGNALS_EVERY).not_done:
            pass
        return [future.result() for future in futures]


def _threads(left: deque[tuple[Future[R], T]], function: Callable[[T], R], most: int) -> int:
    """Start threads that do what is left. Returns how many there are."""
    from ctl.system.turns import begin_in_turn, in_turn

    def work() -> None:
        with suppress(IndexError):
            while True:
                future, thing = left.popleft()
                try:
                    future.set_result(in_turn(partial(function, thing)))
                except BaseException as error:  # noqa: BLE001 - whoever waits for it is to get it
                    future.set_exception(error)

    started = 0
    while left and started < most and begin_in_turn(work):
        started += 1
    return started


def failed(target: str, error: CtlError) -> Result:
    """The result of a target for which nothing could be done, or whose start was undone."""
    result = Result(target=target, ok=False, changed=False, before="unknown", after="unknown", reason=error.reason)
    result.fail(error)
    return result
