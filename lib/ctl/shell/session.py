"""One call of ctl: its host, its targets, and how its outcome leaves by stdout, stderr and the exit status."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ctl.model.errors import CtlError
from ctl.model.outcome import Fault, Result, Status
from ctl.model.service import Service
from ctl.model.target import Target, parse_target
from ctl.shell import render
from ctl.system.host import Host, open_host
from ctl.system.interrupts import Interrupts, Patience
from ctl.system.streams import is_terminal, write_err, write_out
from ctl.verbs import many

if TYPE_CHECKING:
    from ctl.shell.live import View


class Document(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What --json prints: exactly one, whatever happens."""

    schema: int
    verb: str
    ok: bool
    changed: bool
    results: Sequence[Result | Status]
    errors: list[Fault] = []


interrupts = Interrupts()
_ENDING = ("stop", "kill", "restart")  # what is not left half done when the terminal is lost


class Session(msgspec.Struct, kw_only=True):
    """The options that every verb takes."""

    verb: str
    conf: Path | None
    run_dir: Path | None
    as_json: bool
    quiet: bool
    verbose: bool
    view: View | None = None  # what is drawn while an operation lasts

    def host(self) -> Host:
        """Raises CtlError."""
        return open_host(self.conf, self.run_dir, Patience(interrupts), self._say, self._say_more)

    def act(self, targets: Sequence[str], operation: Callable[[Service, Host], Result]) -> int:
        """Resolve and check all targets, then do it to all of them side by side. Returns the exit status."""
        host = self.host()
        if self.verb in _ENDING:
            interrupts.outlive_terminal()
        results = self._watched(host, resolve(host, targets), lambda service: operation(service, host))
        if self.as_json:
            self._print_document(results, ok=all(result.ok for result in results))
        for result in results:
            self._print_result(result)
        return exit_code([result.exit_code for result in results])

    def _watched(self, host: Host, services: list[Service], operation: many.Operation) -> list[Result]:
        """Do it to all, and where somebody waits for it at a terminal show how far it has come."""
        if self.quiet or self.as_json or not is_terminal(2):
            return many.act_on(services, operation)
        from ctl.shell.live import view_of

        with view_of(self.verb, len(services)) as self.view:
            if self.view is None:
                return many.act_on(services, operation)
            host.progress = self.view.progress
            results = many.act_on(services, self.view.counted(operation))
        self.view = None
        return results

    def tell(self, text: str, target: str | None, *, failed: bool = True) -> None:
        """A diagnostic on stderr."""
        if is_terminal(2):
            from ctl.shell.paint import diagnostic

            text = diagnostic(text, target, failed=failed)
        if self.view is not None:
            self.view.say(text)
        else:
            write_err(text)

    def show(self, statuses: Sequence[Status], *, one_line_each: bool) -> None:
        if self.as_json:
            self._print_document(statuses, ok=all(status.state != "unknown" for status in statuses))
        for status in statuses:
            for line in render.refused_claims(status.target, status.claim):
                self.tell(line, status.target)
            for fault in status.errors:
                self.tell(render.fault_lines(status.target, fault), status.target)
        if self.as_json or self.quiet or not statuses:
            return
        if is_terminal(1):
            from ctl.shell.status_screen import lines_of

            write_out("\n".join(lines_of(statuses, one_line_each=one_line_each)))
            return
        width = max((len(status.target) for status in statuses), default=0)
        for status in statuses:
            lines = [render.status_line(status, width)] if one_line_each else render.status_block(status)
            write_out("\n".join(lines))

    def fail(self, error: CtlError) -> int:
        """The whole call came to nothing. Returns the exit status."""
        self.tell(render.error_lines(error), error.target)
        if self.as_json:
            self._print(
                Document(schema=1, verb=self.verb, ok=False, changed=False, results=[], errors=[Fault.of(error)])
            )
        return error.exit_code

    def _print_document(self, results: Sequence[Result | Status], *, ok: bool) -> None:
        changed = any(isinstance(result, Result) and result.changed for result in results)
        self._print(Document(schema=1, verb=self.verb, ok=ok, changed=changed, results=results))

    def _print(self, document: Document) -> None:
        try:
            write_out(msgspec.json.encode(document).decode())
        except UnicodeEncodeError:  # a path or an argument that is no UTF-8: JSON can only hold it escaped
            import json

            write_out(json.dumps(msgspec.to_builtins(document)))

    def _print_result(self, result: Result) -> None:
        for line in render.refused_claims(result.target, result.claims):
            self.tell(line, result.target)
        if self.verbose:
            for sent in result.signals:
                self._note(result.target, f"{sent.signal} to pid {sent.pid} at {sent.at_s:.3f} s")
        for fault in result.errors:
            self.tell(render.fault_lines(result.target, fault), result.target)
        if not self.as_json and not self.quiet:
            for line in render.result_lines(result):
                write_out(line)

    def _say_more(self, target: str, what: str) -> None:
        if self.verbose:
            self._note(target, what)

    def _say(self, target: str, what: str) -> None:
        if not self.quiet:
            self._note(target, what)

    def _note(self, target: str, what: str) -> None:
        self.tell(render.diagnostic(target, what), target, failed=False)


def resolve(host: Host, targets: Sequence[str]) -> list[Service]:
    """The services named, each once, in order. Nothing is done to any of them when one name is wrong.

    Raises CtlError with every wrong name.
    """
    services: dict[str, Service] = {}
    errors: list[CtlError] = []
    for text in targets:
        try:
            target = parse_target(text)
            services[str(target)] = _understood(host, target)
        except CtlError as error:
            errors.append(error)
    if errors:
        first, *others = errors
        first.details += tuple(render.error_lines(other) for other in others)
        raise first
    return list(services.values())


def _understood(host: Host, target: Target) -> Service:
    try:
        service = host.config.service(target)
        host.rules(service)
    except CtlError as error:
        error.target = str(target)
        raise
    return service


def exit_code(codes: Sequence[int]) -> int:
    """0 when all went well, the one code of all that failed, or 1 when they failed for different reasons."""
    failures = {code for code in codes if code}
    return failures.pop() if len(failures) == 1 else 1 if failures else 0
