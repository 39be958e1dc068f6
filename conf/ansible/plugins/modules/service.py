#!/usr/bin/python
"""A service of ctl, and what it should do."""

from __future__ import annotations

DOCUMENTATION = r"""
module: service
short_description: Start, stop, kill, restart, reload or pause services with ctl
version_added: 0.1.0
description:
  - States what services of ctl should do. ctl finds and proves their processes, acts, and tells what became of each.
  - All of O(name) goes to ctl in one call. One unknown name or bad definition, and nothing is done to any of them.
  - It returns when it is done - O(state=started) when the service is ready, O(state=stopped) and O(state=killed) when
    all its processes are gone.
author:
  - The authors of ctl (!UNKNOWN)
options:
  name:
    description:
      - The services - V(NAME), V(NAME@ID) for an instance of a template, or V(NAME@) for all its instances.
      - Required unless O(all=true).
    type: list
    elements: str
    aliases: [names, target, targets]
  all:
    description:
      - Every service that runs, but those that are protected. Only with O(state=stopped), O(state=killed) and
        O(state=restarted).
    type: bool
    default: false
  state:
    description:
      - What they should do.
      - V(started), V(stopped), V(killed), V(paused) and V(resumed) do nothing to a service that does so already.
      - V(restarted) and V(reloaded) are always done. V(restarted) starts one that does not run.
      - V(reloaded), V(paused) and V(resumed) fail for a service that does not run.
      - V(killed) waits for no other ctl, runs no hooks, and gives the processes no time to end by themselves.
    type: str
    required: true
    choices: [started, stopped, killed, restarted, reloaded, paused, resumed]
  schedule:
    description:
      - The stop schedule, signals and seconds as in V(TERM/30/KILL/5), in the place of that of the definition.
        With O(state=stopped) and O(state=restarted).
    type: str
  grace:
    description:
      - Seconds after the first signal of the stop schedule before KILL. With O(state=stopped) and O(state=restarted).
    type: float
  timeout:
    description:
      - Seconds to become ready, in the place of those of the definition. With O(state=started) and O(state=restarted).
    type: float
  lock_timeout:
    description:
      - Seconds to wait for another ctl that is at work on the same service. ctl's default is 60.
    type: float
  expect_pid:
    description:
      - Refuse unless this is the main process. With several services a dictionary, of pids by name.
    type: raw
  pause_for:
    description:
      - Resume it by itself after this time, as in V(90s), V(10m), V(2h). With O(state=paused).
    type: str
  rolling:
    description:
      - So many at a time, in the order of O(name), the next when one of those is ready. With O(state=restarted).
    type: int
  max_failures:
    description:
      - With O(rolling), after so many failures the rest is skipped and left as it is. ctl's default is 1.
    type: int
extends_documentation_fragment:
  - ctl.services.common
attributes:
  check_mode:
    description: Predicts with C(ctl --dry-run) whether something would be changed, and touches nothing.
    support: full
  diff_mode:
    description: The state of each service before and after.
    support: full
seealso:
  - module: ctl.services.service_info
"""

EXAMPLES = r"""
- name: Start the gateway, and go on when it is ready
  ctl.services.service:
    name: gateway
    state: started

- name: Stop it with 60 seconds of grace, in the place of those of its definition
  ctl.services.service:
    name: gateway
    state: stopped
    grace: 60
"""

RETURN = r"""
services:
  description: What became of each service, by its name, as C(ctl --json) tells it.
  returned: when ctl acted
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ctl.services.plugins.module_utils.ctl import SHARED, CtlFailed, CtlMissing, ask

VERBS = {
    "started": "start",
    "stopped": "stop",
    "killed": "kill",
    "restarted": "restart",
    "reloaded": "reload",
    "paused": "pause",
    "resumed": "resume",
}
OPTIONS = {
    "schedule": "--schedule",
    "grace": "--grace",
    "timeout": "--timeout",
    "lock_timeout": "--lock-timeout",
    "pause_for": "--for",
    "rolling": "--rolling",
    "max_failures": "--max-failures",
}


def options_of(params, check_mode):
    """The options of ctl that these parameters mean. Which of them go with a verb is for ctl to say."""
    options = []
    for name, option in OPTIONS.items():
        if params[name] is not None:
            options += [option, str(params[name])]
    for expected in expected_pids(params["expect_pid"]):
        options += ["--expect-pid", expected]
    options += ["--all", "--yes"] if params["all"] else []
    options += ["--dry-run"] if check_mode else []
    return options


def expected_pids(given):
    """As --expect-pid takes them: PID, or NAME=PID for each."""
    if given is None:
        return []
    if isinstance(given, dict):
        return [f"{target}={pid}" for target, pid in given.items()]
    return [str(given)]


def would_change(result):
    """Whether the plan of a dry run does anything."""
    return bool((result.get("plan") or {}).get("steps"))


def main():
    """Translate parameters to one call of ctl, and its answer to an outcome."""
    module = AnsibleModule(
        argument_spec=dict(
            SHARED,
            name={"type": "list", "elements": "str", "aliases": ["names", "target", "targets"]},
            all={"type": "bool", "default": False},
            state={"type": "str", "required": True, "choices": list(VERBS)},
            schedule={"type": "str"},
            grace={"type": "float"},
            timeout={"type": "float"},
            lock_timeout={"type": "float"},
            expect_pid={"type": "raw"},
            pause_for={"type": "str"},
            rolling={"type": "int"},
            max_failures={"type": "int"},
        ),
        supports_check_mode=True,
    )
    try:
        act(module)
    except CtlMissing as missing:
        if not module.check_mode:
            module.fail_json(msg=missing.msg)
        module.warn(missing.msg + "; it is taken for granted that it will be when this is done")
        module.exit_json(changed=True, services={})
    except CtlFailed as failed:
        module.fail_json(msg=failed.msg, **failed.facts)


def act(module):
    """Never returns. Raises CtlFailed where ctl gives no answer."""
    params = module.params
    answer = ask(module, VERBS[params["state"]], options_of(params, module.check_mode), params["name"] or ())
    services = answer.services
    changed = answer.document["changed"] or (module.check_mode and any(map(would_change, services.values())))
    outcome = dict(answer.facts, changed=changed, services=services)
    if not answer.ok:
        module.fail_json(msg=answer.failure(), reason=answer.reason, **outcome)
    for told in answer.diagnostics:
        module.warn(told)
    module.exit_json(**outcome)


if __name__ == "__main__":
    main()
