"""From what a user types to the services that are meant: all of them checked before anything is done to one."""

from __future__ import annotations

from collections.abc import Sequence

from ctl.model.errors import CtlError
from ctl.model.service import Service
from ctl.model.target import Target, parse_target, template_of
from ctl.system.host import Host


def resolve(
    host: Host, targets: Sequence[str], *, none_is_fine: bool = False, undefined_too: bool = False
) -> list[Service]:
    """The services named, each once, in order. Nothing is done to any of them when one name is wrong.

    A template without an instance is an error, too, unless `none_is_fine`. With `undefined_too`, a service whose
    definition cannot be used is what its state file says. Raises CtlError with every wrong name.
    """
    services: dict[str, Service] = {}
    errors: list[CtlError] = []
    for text in targets:
        try:
            for target in _meant(host, text, none_is_fine):
                services[str(target)] = host.service(target)
        except CtlError as error:
            if not (undefined_too and (found := _undefined(host, text))):
                errors.append(error)
            else:
                services |= found
    if errors:
        first, *others = errors
        first.others += tuple(others)
        note_refusal(host, first, first.target or " ".join(targets))
        raise first
    return list(services.values())


def _undefined(host: Host, text: str) -> dict[str, Service]:
    """What state files say of a service, or of the instances of a template, that has no usable definition."""
    from ctl.verbs.undefined import recorded_instances, service_or_copy

    template = template_of(text)
    try:
        targets = [parse_target(text)] if template is None else recorded_instances(host, template)
        return {str(target): service_or_copy(target, host) for target in targets}
    except CtlError:
        return {}


def _meant(host: Host, text: str, none_is_fine: bool) -> list[Target]:
    template = template_of(text)
    if template is None:
        return [parse_target(text)]
    from ctl.verbs.targets import instances

    host.config.require_template(template)
    found = instances(host, [template])
    if not found:
        what, fix = "no instance of it is known or running", f"name one: {template}@ID"
        if not none_is_fine:
            raise CtlError("unknown_target", what, fix=fix, target=text)
        host.say(text, what, None, fix)
    return found


def note_refusal(host: Host, error: CtlError, target: str) -> None:
    """The whole call came to nothing."""
    where = f" ({error.where})" if error.where else ""
    host.note(target, "refused", reason=error.reason, what=error.what + where)
