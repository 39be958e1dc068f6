"""One call of ctl: its host, its targets, and how its outcome leaves by stdout, stderr and the exit status."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ctl.model.command_line import ACTING
from ctl.model.errors import CtlError
from ctl.model.outcome import Claim, Fault, Result, Status
from ctl.model.printable import printable_json
from ctl.model.service import Service
from ctl.shell import render
from ctl.shell.resolving import resolve
from ctl.system.host import Host, open_host
from ctl.system.interrupts import Interrupts, Patience
from ctl.system.streams import is_terminal, read_line, write_err, write_out
from ctl.verbs import many

if TYPE_CHECKING:
    from ctl.shell.live import View
    from ctl.verbs.targets import AtWork


class Document(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What --json prints: exactly one, whatever happens."""

    schema: int
    verb: str
    ok: bool
    changed: bool
    results: Sequence[msgspec.Struct]
    errors: list[Fault] = []


interrupts = Interrupts()
# How one operation gets to many services.
Spread = Callable[[Sequence[Service], many.Operation, Host], list[Result]]
_FEW = 10  # results that a person sees at a glance
_NEVER_HALF_DONE = ("stop", "kill", "restart", "pause", "resume")  # they go on when the terminal is lost


class Session(msgspec.Struct, kw_only=True):
    """The options that every verb takes."""

    verb: str
    conf: Path | None
    run_dir: Path | None
    as_json: bool
    quiet: bool
    verbose: bool
    dry_run: bool = False
    view: View | None = None  # what is drawn while an operation lasts

    def host(self, settings_faults: list[CtlError] | None = None) -> Host:
        """Raises CtlError; with `settings_faults`, what is wrong in ctl.toml is added to those instead."""
        noted_as = self.verb if self.verb in ACTING and not self.dry_run else None
        patience = Patience(interrupts)
        return open_host(self.conf, self.run_dir, patience, self.note, self._say_more, noted_as, settings_faults)

    def act(self, targets: Sequence[str], operation: Callable[[Service, Host], Result]) -> int:
        """Resolve and check all targets, then do it to all of them side by side. Returns the exit status."""
        host = self.host()
        return self.act_on(host, resolve(host, targets), operation)

    def act_on_named_or_all(
        self,
        targets: Sequence[str],
        operation: Callable[[Service, Host], Result],
        *,
        ask: bool,
        spread: Spread | None = None,
        undefined_too: bool = False,
        is_bare: bool = False,
    ) -> int:
        """`act`, where naming a template that has no instance, or nobody, is nothing to do.

        With no targets: to every service that is at work and not protected. On a terminal that is asked about first.
        `undefined_too`: also to what has no usable definition, as its state file says. `is_bare`: nothing on the
        command line says that all are meant, so it is done only where a person confirms it, or for a unit of systemd.
        """
        host = self.host()
        if targets:
            services = resolve(host, targets, none_is_fine=True, undefined_too=undefined_too)
            return self.act_on(host, services, operation, spread=spread)
        from ctl.verbs.targets import at_work

        found = at_work(host, undefined_too=undefined_too)
        if is_bare and host.unit is None and not (is_terminal(0) and is_terminal(2)):
            return self.fail(self._unnamed(found))
        for name in found.protected:
            self.note(name, "is protected: left alone", None, f"ctl {self.verb} {name}")
        if not (found.services or found.unusable):
            self.note("", f"nothing to {self.verb}: no service is running")
        if ask and found.services and not self._confirmed(found, host):
            return self.fail(CtlError("failed", "not confirmed: nothing was done"))
        return self.act_on(host, list(found.services.values()), operation, found.unusable, spread)

    def act_on(
        self,
        host: Host,
        services: Sequence[Service],
        operation: Callable[[Service, Host], Result],
        unusable: Sequence[Result] = (),
        spread: Spread | None = None,
    ) -> int:
        """Do it to all of them, side by side or as `spread` has it, and tell what became of each.

        Returns the exit status.
        """

        if self.verb in _NEVER_HALF_DONE:
            interrupts.outlive_terminal()
        for result in unusable:
            host.note_result(result)
        host.prepare_for(len(services))
        results = self._watched(host, services, lambda service: operation(service, host), spread or _side_by_side)
        results += unusable
        if self.as_json:
            self.print_document(results, ok=all(result.ok for result in results))
        for result in sorted(results, key=lambda result: not result.ok):  # what failed is what a person must see last
            self._print_result(result)
        failures = [result.target for result in results if not result.ok]
        if failures and len(results) > _FEW:
            self.tell(None, f"{len(failures)} of {len(results)} failed: {', '.join(failures)}")
        return exit_code([result.exit_code for result in results])

    def _unnamed(self, found: AtWork) -> CtlError:
        """What to say to a script that has named nothing, as where a variable of it is empty."""
        what = f"names no services: nothing was done; this would {self.verb} {len(found.services) or 'none'}"
        return CtlError("usage", what, fix=f"name them, or give ctl {self.verb} --all", details=_listed(found))

    def _confirmed(self, found: AtWork, host: Host) -> bool:
        """Whether whoever sits at the terminal says yes; where nobody does, nobody is asked.

        Raises CtlError where the question would not be seen, and Interrupted.
        """
        if not is_terminal(0):
            return True
        if not is_terminal(2):
            what = "would ask first, and cannot, as stderr is no terminal: nothing was done"
            raise CtlError("failed", what, fix="--yes goes on without asking")
        for line in _listed(found):
            write_err(f"  {line}")
        count = len(found.services)
        these = "this service" if count == 1 else f"these {count} services"
        write_err(f"{self.verb.capitalize()} {these}? [y/N] ", end="")
        answer = read_line(lambda: host.pause([0], math.inf))
        return answer.strip().lower() in ("y", "yes")

    def _watched(
        self, host: Host, services: Sequence[Service], operation: many.Operation, spread: Spread
    ) -> list[Result]:
        """Do it to all, and where somebody waits for it at a terminal, and not systemd, show how far it has come."""
        if self.quiet or self.as_json or host.herald is not None or not is_terminal(2):
            return spread(services, operation, host)
        from ctl.shell.live import view_of

        with view_of(self.verb, len(services)) as self.view:
            if self.view is None:
                return spread(services, operation, host)
            host.progress = self.view.progress
            results = spread(services, self.view.counted(operation), host)
        self.view = None
        return results

    def tell(
        self,
        target: str | None,
        what: str,
        where: str | None = None,
        fix: str | None = None,
        details: Sequence[str] = (),
        *,
        failed: bool = True,
    ) -> None:
        """A message on stderr."""
        paint: render.Paint | None = None
        if is_terminal(2):
            from ctl.shell.paint import painted
            from ctl.system.terminal import has_colours

            paint = painted if has_colours(2) else None
        text = render.diagnostic(target, what, where, fix, details, paint=paint, style="red" if failed else "")
        if self.view is not None:
            self.view.say(text)
        else:
            write_err(text)

    def show(self, statuses: Sequence[Status], *, one_line_each: bool) -> None:
        if self.as_json:
            self.print_document(statuses, ok=all(status.state != "unknown" for status in statuses))
        for status in statuses:
            self._tell_claims(status.target, status.claim)
            for fault in status.errors:
                self.tell_fault(status.target, fault)
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

    def print_document(self, results: Sequence[msgspec.Struct], *, ok: bool) -> None:
        """What --json prints."""
        changed = any(isinstance(result, Result) and result.changed for result in results)
        self._print(Document(schema=1, verb=self.verb, ok=ok, changed=changed, results=results))

    def present(
        self,
        results: Sequence[msgspec.Struct],
        lines: Sequence[str],
        faults: Sequence[Fault],
        *,
        ok: bool | None = None,
    ) -> None:
        """One document, or the lines that a person reads. These hold the faults; else stderr does."""
        if self.as_json:
            self.print_document(results, ok=not faults if ok is None else ok)
        if self.as_json or self.quiet:
            for fault in faults:
                self.tell_fault(fault.target, fault)
        else:
            write_out("\n".join(lines))

    def fail(self, error: CtlError) -> int:
        """The whole call came to nothing. Returns the exit status."""
        self.tell_error(error)
        if self.as_json:
            errors = Fault.each_of(error)
            self._print(Document(schema=1, verb=self.verb, ok=False, changed=False, results=[], errors=errors))
        return error.exit_code

    def tell_error(self, error: CtlError) -> None:
        """It, and each of those that were found together with it."""
        for fault in Fault.each_of(error):
            self.tell_fault(fault.target, fault)

    def tell_fault(self, target: str | None, fault: Fault) -> None:
        self.tell(target, fault.what, fault.where, fault.fix, fault.details)

    def _tell_claims(self, target: str, claims: Sequence[Claim]) -> None:
        """Each pid file or record that says nothing believable; it was not used."""
        for claim in claims:
            if claim.verdict == "refused":
                self.tell(target, f"{claim.source} {claim.why}; it is not believed", claim.where, claim.fix)

    def _print(self, document: Document) -> None:
        write_out(as_json(document))

    def _print_result(self, result: Result) -> None:
        self._tell_claims(result.target, result.claims)
        if self.verbose:
            for sent in result.signals:
                self.tell(result.target, f"{sent.signal} to pid {sent.pid} at {sent.at_s:.3f} s", failed=False)
        for fault in result.errors:
            self.tell_fault(result.target, fault)
        if (undone := render.undone(self.verb, result)) is not None:
            self.note(result.target, *undone)
        if not self.as_json and not self.quiet:
            for line in render.result_lines(result):
                write_out(line)

    def _say_more(self, target: str, what: str, where: str | None = None, fix: str | None = None, /) -> None:
        if self.verbose:
            self.tell(target, what, where, fix, failed=False)

    def note(self, target: str, what: str, where: str | None = None, fix: str | None = None, /) -> None:
        """What whoever wants to hear no more than errors does not hear."""
        if not self.quiet:
            self.tell(target, what, where, fix, failed=False)


def _listed(found: AtWork) -> tuple[str, ...]:
    """A line for each service that is at work."""
    width = max(map(len, found.services), default=0)
    return tuple(
        f"{name:<{width}}  {'no main process' if pid is None else f'pid {pid}'}" for name, pid in found.pids.items()
    )


def _side_by_side(services: Sequence[Service], operation: many.Operation, host: Host) -> list[Result]:
    return many.act_on(services, operation, host.note_result)


def as_json(value: msgspec.Struct) -> str:
    """One line of JSON, which drives no terminal."""
    try:
        return printable_json(msgspec.json.encode(value).decode())
    except UnicodeEncodeError:  # a path or an argument that is no UTF-8: JSON can only hold it escaped
        import json

        return json.dumps(msgspec.to_builtins(value))


def exit_code(codes: Sequence[int]) -> int:
    """0 when all went well, the one code of all that failed, or 1 when they failed for different reasons."""
    failures = {code for code in codes if code}
    return failures.pop() if len(failures) == 1 else 1 if failures else 0
