"""One operation on many targets, a few at a time: where one fails, those that have not begun are left as they are."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait

from ctl.model.errors import CtlError, Interrupted
from ctl.model.outcome import Result
from ctl.model.service import Service
from ctl.system.host import Host
from ctl.verbs.many import Operation, act_on, failed

_HEEDS_SIGNALS_EVERY = 0.2  # seconds


def act_in_turn(
    services: Sequence[Service], operation: Operation, host: Host, at_once: int, max_failures: int
) -> list[Result]:
    """The result for every service, in their order. The next one begins when one of those under way has ended.

    None begins any more after `max_failures` have failed, or an interrupt: those are skipped.
    """
    failures: list[Result] = []

    def in_turn(service: Service) -> Result:
        try:
            host.patience.check()
        except Interrupted as error:
            return skipped(service, "skipped, since ctl was interrupted before its turn", code=error.exit_code)
        if len(failures) >= max_failures:
            names = ", ".join(failure.target for failure in failures)
            return skipped(service, f"skipped, since {names} failed", where=f"--max-failures {max_failures}")
        result = act_on([service], operation, host.note_result)[0]
        if not result.ok:
            failures.append(result)
        return result

    def skipped(service: Service, what: str, where: str | None = None, code: int = 0) -> Result:
        """Nothing was done. After a failure it has no exit code of its own: the call's is that of what failed."""
        result = failed(service.name, CtlError("skipped", what, where=where))
        result.exit_code = code
        host.note_result(result)
        return result

    if at_once == 1:
        return [in_turn(service) for service in services]
    with ThreadPoolExecutor(max_workers=at_once) as threads:
        futures = [threads.submit(in_turn, service) for service in services]
        while wait(futures, timeout=_HEEDS_SIGNALS_EVERY).not_done:
            pass  # between two waits, this thread heeds signals for all
        return [future.result() for future in futures]
