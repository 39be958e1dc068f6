#!/usr/bin/python
"""What services of ctl are doing. It never changes anything."""

from __future__ import annotations

DOCUMENTATION = r"""
module: service_info
short_description: What services of ctl are doing
version_added: 0.1.0
description:
  - Returns what C(ctl status) knows of services of ctl, and if asked what C(ctl explain) does.
  - A service that does not run, or of which that cannot be told, is no failure. An unknown name is one.
author:
  - The authors of ctl (!UNKNOWN)
options:
  name:
    description:
      - The services - V(NAME), V(NAME@ID) for an instance of a template, or V(NAME@) for all its instances.
      - Left out, it is every service that has a definition, and every known instance.
    type: list
    elements: str
    aliases: [names, target, targets]
  explain:
    description:
      - Tell also how each is found, and what stop and kill would do.
    type: bool
    default: false
extends_documentation_fragment:
  - ctl.services.common
attributes:
  check_mode:
    description: It has no effect, in check mode or without.
    support: full
  diff_mode:
    description: There is no difference that it could show.
    support: none
seealso:
  - module: ctl.services.service
"""

EXAMPLES = r"""
- name: Look what all services do
  ctl.services.service_info:
  register: now
"""

RETURN = r"""
services:
  description: What each service is doing, by its name, as C(ctl status --json) tells it.
  returned: success
  type: dict
explanations:
  description: How each is found and what stop and kill would do, by its name, as C(ctl explain --json) tells it.
  returned: success, with O(explain=true)
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ctl.services.plugins.module_utils.ctl import SHARED, CtlFailed, ask


def main():
    """Translate parameters to one call of ctl, or two, and what it answers to facts."""
    module = AnsibleModule(
        argument_spec=dict(
            SHARED,
            name={"type": "list", "elements": "str", "aliases": ["names", "target", "targets"]},
            explain={"type": "bool", "default": False},
        ),
        supports_check_mode=True,
    )
    try:
        module.exit_json(changed=False, **look(module))
    except CtlFailed as failed:
        module.fail_json(msg=failed.msg, **failed.facts)


def look(module):
    """What the module returns. Raises CtlFailed."""
    names = module.params["name"]
    if names is not None and not names:  # none are named, which to ctl would mean all
        return {"services": {}}
    status = understood(ask(module, "status", [], names or ()))
    status.warn(module)
    # Without this word Ansible takes an exit status other than 0 for a failure, as of a service that does not run.
    found = dict(status.facts, services=status.services, failed=False)
    if module.params["explain"]:
        explained = understood(ask(module, "explain", [], list(found["services"]))) if found["services"] else None
        found["explanations"] = explained.services if explained else {}
    return found


def understood(answer):
    """The answer, unless the whole call came to nothing: then it raises CtlFailed."""
    if answer.document.get("errors"):
        raise CtlFailed(answer.failure, reason=answer.reason, **answer.facts)
    return answer


if __name__ == "__main__":
    main()
