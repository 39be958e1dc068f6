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
  - ansible.builtin.action_common_attributes
  - ctl.services.common
attributes:
  check_mode:
    support: full
    details: It has no effect, in check mode or without.
  diff_mode:
    support: none
seealso:
  - module: ctl.services.service
"""

EXAMPLES = r"""
- name: Look at all services of the host
  ctl.services.service_info:
  register: seen

- name: Require that each of them runs
  ansible.builtin.assert:
    that: item.value.state in ["running", "ready"]
    fail_msg: "{{ item.key }} is {{ item.value.state }}"
    quiet: true
  loop: "{{ seen.services | dict2items }}"
  loop_control:
    label: "{{ item.key }}"

- name: Look how the gateway is found, and what a stop would do
  ctl.services.service_info:
    name: gateway
    explain: true
  register: gateway

- name: Say what a stop would do
  ansible.builtin.debug:
    var: gateway.explanations.gateway.plans.stop.says

- name: Wait until the broker answers its probe again
  ctl.services.service_info:
    name: broker
  register: broker
  until: broker.services.broker.ready
  retries: 30
  delay: 2
"""

RETURN = r"""
services:
  description: What each service is doing, by its name, as the results of C(ctl status --json) tell it.
  returned: success
  type: dict
  contains:
    target:
      description: Its name.
      type: str
    state:
      description:
        - V(stopped), V(starting), V(running), V(ready), V(paused), V(stopping), V(unknown), V(ended) or V(crashed)
          where it is gone though nobody asked for that, or V(stale) where only its pid file remains.
      type: str
    description:
      description: What its definition says of it.
      type: str
    pid:
      description: The main process, V(null) where there is none. So are all the following then.
      type: int
    since:
      description: When it was started, as in RFC 3339.
      type: str
    uptime_s:
      description: Seconds since then.
      type: float
    user:
      description: Whose process it is.
      type: str
    command:
      description: Its arguments, joined by spaces.
      type: str
    cpu_percent:
      description: How much of a processor it uses.
      type: float
    rss_bytes:
      description: The memory that it uses.
      type: int
    threads:
      description: How many threads it has.
      type: int
    children:
      description: How many child processes it has.
      type: int
    ready:
      description: What its probe says, V(null) where it has none.
      type: bool
    paused_since:
      description: When it was paused by ctl.
      type: str
    paused_until:
      description: When it is resumed by itself.
      type: str
    left_over:
      description: Processes of runs that are over, which were left alone.
      type: list
      elements: dict
    wanted:
      description: What was asked for last (V(up), V(down) or V(paused)), when, and by whom.
      type: dict
    last_end:
      description: How its main process ended last, when, after how long, and by whom, as far as that is known.
      type: dict
    last_words:
      description: The last lines of its log, of one that has ended though nobody asked for that.
      type: list
      elements: str
    claim:
      description: What each record and pid file says, and whether it holds.
      type: list
      elements: dict
    errors:
      description: Why something cannot be told.
      type: list
      elements: dict
  sample:
    gateway:
      target: gateway
      state: ready
      description: SQL gateway
      pid: 4711
      since: "2026-11-20T14:02:11+00:00"
      uptime_s: 3641.2
      user: gateway
      ready: true
explanations:
  description: How each is found and what stop and kill would do, by its name, as C(ctl explain --json) tells it.
  returned: success, with O(explain=true)
  type: dict
  sample:
    gateway:
      target: gateway
      answer: running
      pids: [4711]
      plans:
        stop:
          says: would carry out TERM/30/KILL/5 on pid 4711; at most 35 s
reason:
  description: Why it failed.
  returned: failure
  type: str
  sample: unknown_target
cmd:
  description: How ctl was called.
  returned: when ctl was called
  type: list
  elements: str
  sample: [/opt/ctl/bin/ctl, status, --json, --, gateway]
rc:
  description: The exit status of C(ctl status), 0 where all of them run.
  returned: when ctl was called
  type: int
  sample: 0
stderr:
  description: What ctl told a person. Where nothing failed, its lines are warnings.
  returned: when ctl was called
  type: str
  sample: ""
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
