"""One call of ctl: its host, its targets, and how its outcome leaves by stdout, stderr and the exit status."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from ctl.model.errors import CtlError
from ctl.model.outcome import Fault, Result, Status
from ctl.model.service import Service
from ctl.model.target import Target, parse_target
from ctl.shell import render
from ctl.system.host import Host, open_host
from ctl.system.interrupts import Interrupts, Patience
from ctl.system.streams import write_err, write_out
from ctl.verbs import many


class Document(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What --json prints: exactly one, whatever happens."""

    schema: int
    verb: str
    ok: bool
    changed: bool
    results: Sequence[msgspec.Struct]
    errors: list[Fault] = []


interrupts = Interrupts()


class Session(msgspec.Struct, kw_only=True):
    """The options that every verb takes."""

    verb: str
    conf: Path | None
    run_dir: Path | None
    as_json: bool
    quiet: bool
    verbose: bool

    def host(self) -> Host:
        """Raises CtlError."""
        return open_host(self.conf, self.run_dir, Patience(interrupts), self._say, self._say_more)

    def act(self, targets: Sequence[str], operation: Callable[[Service, Host], Result]) -> int:
        """Resolve and check all targets, then do it to all of them side by side. Returns the exit status."""
        host = self.host()
        results = many.act_on(resolve(host, targets), lambda service: operation(service, host))
        if self.as_json:
            self._print_document(results, ok=all(result.ok for result in results))
        for result in results:
            self._print_result(result)
        return exit_code([result.exit_code for result in results])

    def show(self, statuses: Sequence[Status], *, one_line_each: bool) -> None:
        if self.as_json:
            self._print_document(statuses, ok=all(status.state != "unknown" for status in statuses))
        for status in statuses:
            for line in render.refused_claims(status.target, status.claim):
                write_err(line)
            for fault in status.errors:
                write_err(render.fault_lines(status.target, fault))
        if self.as_json or self.quiet:
            return
        width = max((len(status.target) for status in statuses), default=0)
        for status in statuses:
            lines = [render.status_line(status, width)] if one_line_each else render.status_block(status)
            write_out("\n".join(lines))

    def present(self, results: Sequence[msgspec.Struct], lines: Sequence[str], faults: Sequence[Fault]) -> None:
        """One document, or the lines that a person reads. These hold the faults; else stderr does."""
        if self.as_json:
            self._print_document(results, ok=not faults)
        if self.as_json or self.quiet:
            for fault in faults:
                write_err(render.fault_lines(fault.target or "", fault))
        else:
            write_out("\n".join(lines))

    def fail(self, error: CtlError) -> int:
        """The whole call came to nothing. Returns the exit status."""
        write_err(render.error_lines(error))
        if self.as_json:
            self._print(
                Document(schema=1, verb=self.verb, ok=False, changed=False, results=[], errors=[Fault.of(error)])
            )
        return error.exit_code

    def _print_document(self, results: Sequence[msgspec.Struct], *, ok: bool) -> None:
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
            write_err(line)
        if self.verbose:
            for sent in result.signals:
                write_err(render.diagnostic(result.target, f"{sent.signal} to pid {sent.pid} at {sent.at_s:.3f} s"))
        for fault in result.errors:
            write_err(render.fault_lines(result.target, fault))
        if not self.as_json and not self.quiet:
            for line in render.result_lines(result):
                write_out(line)

    def _say_more(self, target: str, what: str) -> None:
        if self.verbose:
            write_err(render.diagnostic(target, what))

    def _say(self, target: str, what: str) -> None:
        if not self.quiet:
            write_err(render.diagnostic(target, what))


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
