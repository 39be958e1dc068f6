"""What an event is, whom it is about, and who is behind it."""

from __future__ import annotations

import pytest

from ctl.model.errors import CtlError, Reason
from ctl.model.event import Event, is_about, kind_of
from ctl.model.outcome import Result, Signalled
from ctl.system import who


@pytest.mark.parametrize(
    ("reason", "signals", "kind"),
    [("busy", [], "refused"), ("ambiguous", [], "refused"), ("not_ready", [], "failed"), ("timeout", [1], "failed"),
     ("permission_denied", [1], "failed"), ("interrupted", [], "failed")],
)  # fmt: skip
def test_a_refusal_is_what_nothing_was_begun_for(reason: Reason, signals: list[int], kind: str) -> None:
    result = Result(target="web", ok=True, changed=False, before="running", after="running", reason="stopped")
    assert kind_of(result) == "done"
    result.signals = [Signalled(pid, "TERM", 0.0) for pid in signals]
    result.fail(CtlError(reason, "why"))
    assert kind_of(result) == kind


@pytest.mark.parametrize(
    ("target", "names", "shown"),
    [("web", (), True), ("web", ("web",), True), ("web", ("db", "web"), True), ("web", ("we",), False),
     ("worker@1", ("worker@",), True), ("worker@1", ("worker@1",), True), ("worker@10", ("worker@1",), False),
     ("worker", ("worker@",), False)],
)  # fmt: skip
def test_whom_an_event_is_about(target: str, names: tuple[str, ...], shown: bool) -> None:
    event = Event(time="", target=target, verb="stop", event="done", uid=0, user="root", ctl_pid=1, run_dir="/run")
    assert is_about(event, names) is shown


@pytest.mark.parametrize(
    ("argv", "is_ansible"),
    [(["/bin/sh", "-c", "/usr/bin/python3.11 && sleep 0"], True),  # with pipelining
     (["/bin/sh", "-c", "echo BECOME-SUCCESS-qwertz ; /usr/bin/python3"], True),
     (["/usr/bin/python3", "/usr/bin/ansible-playbook", "site.yml"], True),
     (["/bin/sh", "-c", "ls && sleep 0"], False), (["grep", "-r", "ansible"], False), (["sh"], False), ([], False)],
)  # fmt: skip
def test_what_ansible_executes(argv: list[str], is_ansible: bool) -> None:
    assert who._is_ansible(argv) is is_ansible
