"""One operation on many targets, a few at a time: where one fails, those that have not begun are left as they are."""

from __future__ import annotations

from collections.abc import Sequence

from ctl.model.errors import CtlError, Interrupted
from ctl.model.outcome import Result
from ctl.model.service import Service
from ctl.system.host import Host
from ctl.verbs.many import Operation, act_on, each, failed


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

    return each(services, in_turn, at_once)
