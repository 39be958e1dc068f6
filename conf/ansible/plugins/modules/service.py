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
  - ansible.builtin.action_common_attributes
  - ctl.services.common
attributes:
  check_mode:
    support: full
    details: It is foreseen with C(ctl --dry-run). Where ctl is missing, an earlier task is taken to install it.
  diff_mode:
    support: full
    details: The state of each service before and after.
seealso:
  - module: ctl.services.service_info
"""

EXAMPLES = r"""
- name: Start the gateway, and go on when it is ready
  ctl.services.service:
    name: gateway
    state: started

- name: Stop two services side by side, with 60 seconds of grace in the place of those of their definitions
  ctl.services.service:
    name:
      - gateway
      - broker
    state: stopped
    grace: 60

- name: Restart all workers, two at a time; where one is not ready in time, the rest is left as it is
  ctl.services.service:
    name: worker@
    state: restarted
    rolling: 2

- name: Hold the engine for the time of a snapshot; it is resumed after ten minutes, whatever becomes of this play
  ctl.services.service:
    name: engine
    state: paused
    pause_for: 10m

- name: Look what is running
  ctl.services.service_info:
    name: gateway
  register: seen

- name: Kill it, if it is still the process that was looked at
  ctl.services.service:
    name: gateway
    state: killed
    expect_pid: "{{ seen.services.gateway.pid }}"

- name: Restart every service that runs, with what their definitions now say
  ctl.services.service:
    all: true
    state: restarted
  register: restarted

- name: Say which of them had to be killed
  ansible.builtin.debug:
    msg: "{{ restarted.services | dict2items | selectattr('value.escalated') | map(attribute='key') }}"
"""

RETURN = r"""
services:
  description: What became of each service, by its name, as the results of C(ctl --json) tell it.
  returned: when ctl was called; it is empty where nothing was done to any of them
  type: dict
  contains:
    target:
      description: Its name.
      type: str
    ok:
      description: Whether it is now as O(state) says.
      type: bool
    changed:
      description: Whether anything was changed. V(false) in check mode, where RV(services.plan) says what would be.
      type: bool
    before:
      description: Its state before - V(stopped), V(running), V(paused), V(ended), V(crashed), V(stale) or V(unknown).
      type: str
    after:
      description: Its state after.
      type: str
    reason:
      description:
        - What was done, as in V(started) or V(already_running), or why it failed, as in V(not_ready) or
          V(identity_mismatch).
      type: str
    pid:
      description: The main process, V(null) where there is none.
      type: int
    escalated:
      description: Whether only KILL ended it.
      type: bool
    drained:
      description: Whether it was drained, V(null) where that was not asked or not answered.
      type: bool
    duration_s:
      description: Seconds that it took.
      type: float
    signals:
      description: The signals that were sent, with the pid and when.
      type: list
      elements: dict
    survivors:
      description: Processes that are still there after all.
      type: list
      elements: dict
    left_over:
      description: Processes of runs that are over, which were left alone.
      type: list
      elements: dict
    errors:
      description:
        - What went wrong, with RV(services.reason), what it was, where that was set, what fixes it, and further lines.
      type: list
      elements: dict
    claims:
      description: What each record and pid file says, and whether it holds.
      type: list
      elements: dict
    plan:
      description: In check mode, what would be done. Left out where a start would do nothing.
      type: dict
      contains:
        steps:
          description: The steps, in words; without one, nothing would be changed.
          type: list
          elements: str
        processes:
          description: The processes that would be signalled.
          type: list
          elements: dict
        longest_s:
          description: Seconds that it could take, V(null) where there is no limit.
          type: float
        after:
          description: The state after it.
          type: str
    supervisor:
      description: Who else has the process in their care, such as a systemd unit. Left out where nobody has.
      type: dict
      contains:
        kind:
          description: What it is - V(systemd), V(runit), V(s6), V(supervisord), V(docker), and the like.
          type: str
        name:
          description: Its own name for the process, such as that of the unit; V(null) where that is not known.
          type: str
        command:
          description: The command that holds where what was done here is undone.
          type: str
        restarts:
          description: Whether it undoes what was done; V(null) where that cannot be told.
          type: bool
        setting:
          description: Where that is set, such as V(Restart=always).
          type: str
    paused_until:
      description: When a pause is over by itself, as in RFC 3339.
      type: str
    exit_code:
      description: That of ctl, had this service been the only one.
      type: int
  sample:
    gateway:
      target: gateway
      ok: true
      changed: true
      before: running
      after: stopped
      reason: stopped
      pid: 4711
      escalated: false
      drained: true
      duration_s: 1.204
      signals:
        - pid: 4711
          signal: TERM
          at_s: 0.0
      survivors: []
      errors: []
      claims: []
      exit_code: 0
reason:
  description: Why it failed; of several services that of the first one which did.
  returned: failure
  type: str
  sample: not_ready
msg:
  description: What went wrong, as ctl says it; of a service that did not become ready with the tail of its log.
  returned: failure
  type: str
  sample: "gateway: is not ready after 60 s (ready.timeout)"
cmd:
  description: How ctl was called.
  returned: when ctl was called
  type: list
  elements: str
  sample: [/opt/ctl/bin/ctl, stop, --json, --, gateway]
rc:
  description: The exit status of ctl.
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
    options = [f"{option}={params[name]}" for name, option in OPTIONS.items() if params[name] is not None]
    options += [f"--expect-pid={expected}" for expected in expected_pids(params["expect_pid"])]
    options += ["--all", "--yes"] if params["all"] else []
    options += ["--dry-run"] if check_mode else []
    return options


def expected_pids(given):
    """As --expect-pid takes them: PID, or NAME=PID for each."""
    if given is None:
        return []
    return [f"{name}={pid}" for name, pid in given.items()] if isinstance(given, dict) else [given]


def is_changed(result):
    """Whether it was changed or, after a dry run, would be: then its plan has a step."""
    return result["changed"] or bool(plan_of(result).get("steps"))


def state_after(result):
    """The state that it is in or, after a dry run, would be in."""
    return plan_of(result).get("after") or result["after"]


def plan_of(result):
    """What a dry run foresees; nothing, where there is nothing to do."""
    return result.get("plan") or {}


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
    # To ctl, naming none can mean all: a list that happens to be empty must not.
    if not module.params["name"] and not module.params["all"]:
        module.fail_json(msg="name is missing or empty: name the services, or say all=true")
    try:
        act(module)
    except CtlMissing as missing:
        if not module.check_mode:
            module.fail_json(msg=missing.msg)
        module.warn(missing.msg + ". It is taken for granted that an earlier task would do that")
        module.exit_json(changed=True, services={})
    except CtlFailed as failed:
        module.fail_json(msg=failed.msg, **failed.facts)


def act(module):
    """Never returns. Raises CtlFailed where ctl gives no answer."""
    params = module.params
    answer = ask(module, VERBS[params["state"]], options_of(params, module.check_mode), params["name"] or ())
    services = answer.services
    outcome = dict(answer.facts, changed=any(map(is_changed, services.values())), services=services)
    if module._diff:  # noqa: SLF001 - a module has no other way to ask
        outcome["diff"] = {
            "before": {name: result["before"] for name, result in services.items()},
            "after": {name: state_after(result) for name, result in services.items()},
        }
    if not answer.ok:
        module.fail_json(msg=answer.failure, reason=answer.reason, **outcome)
    answer.warn(module)
    module.exit_json(**outcome)


if __name__ == "__main__":
    main()
