"""One operation on many targets, side by side: one that fails or hangs costs the others nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from ctl.model.errors import CtlError
from ctl.model.outcome import Result
from ctl.model.service import Service

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
    """`function` of every thing, `at_once` side by side, in their order. A single one is done without a thread."""
    if len(things) <= 1 or at_once == 1:
        return [function(thing) for thing in things]
    from concurrent.futures import ThreadPoolExecutor, wait

    from ctl.system.turns import in_turn, let_others

    with let_others(), ThreadPoolExecutor(max_workers=min(len(things), at_once)) as threads:
        # By turns, too: else each thread that is made would take the interpreter's lock from the one that computes.
        futures = [in_turn(partial(threads.submit, in_turn, partial(function, thing))) for thing in things]
        # A signal may be taken by any thread, but only this one runs its handler, and only between two waits.
        while wait(futures, timeout=_HEEDS_SIGNALS_EVERY).not_done:
            pass
        return [future.result() for future in futures]


def failed(target: str, error: CtlError) -> Result:
    """The result of a target for which nothing could be done, or whose start was undone."""
    result = Result(target=target, ok=False, changed=False, before="unknown", after="unknown", reason=error.reason)
    result.fail(error)
    return result


def as_ctl_error(error: Exception) -> CtlError:
    """What no one has foreseen, as what a person can act on."""
    if isinstance(error, CtlError):
        return error
    if isinstance(error, OSError):
        return CtlError("failed", f"{error.strerror or error}", where=error.filename)
    what = f"a fault in ctl itself: {type(error).__name__}: {error}"
    return CtlError("internal", what, where="CTL_DEBUG=1 shows the trace")
