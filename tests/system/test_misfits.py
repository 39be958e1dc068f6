"""A main process that does not fit the service's own rules is told of while its record is still there."""

from __future__ import annotations

import re
from typing import Any

import pytest

from support.requires import requires_root
from support.sandbox import NOBODY_UID, Sandbox

RULES: dict[str, dict[str, Any]] = {
    "cmdline": {"cmdline": "^/no/match$"},
    "executable": {"executable": "/no/such/*"},
    "java_main": {"java_main": "com.example.Main"},
    "user": {"cmdline": "WORD", "user": str(NOBODY_UID)},
}


@pytest.mark.parametrize("key", RULES)
def test_start_warns_doctor_errs_and_explain_shows_the_rule(sandbox: Sandbox, key: str) -> None:
    requires_root()
    word = f"misfit-{sandbox.reaper.mark}"  # that no other test's process says
    rules = {name: rule.replace("WORD", word) for name, rule in RULES[key].items()}
    sandbox.service("web", "polite", 0, word, match=rules)
    where = f"{sandbox.services}/web.toml, match.{key}"
    for reason in ("started", "already_running"):
        result = sandbox.ctl("start", "web", "--json").expect(0).one
        (told,) = result["errors"]
        assert (result["reason"], told["where"]) == (reason, where)
        assert f"main process, pid {result['pid']}: {key}: " in told["what"]
        assert "once its record is lost" in told["fix"]
    (finding,) = sandbox.ctl("doctor", "web", "--json").expect(1).one["findings"]
    assert (finding["id"], finding["severity"], finding["where"]) == ("match", "error", where)
    explained = sandbox.ctl("explain", "web", "--json").expect(0).one
    assert [error["where"] for error in explained["errors"]] == [where]
    shown = sandbox.ctl("explain", "web").expect(0).stdout
    assert shown.partition("\n")[0].endswith("proved by its record; its own rules do not fit it")
    assert re.search(rf"^ +{key} +no, ", shown, re.MULTILINE), shown


@pytest.mark.parametrize("has_rules", [False, True], ids=["no rules", "rules that fit"])
def test_nothing_is_said_of_one_that_fits(sandbox: Sandbox, has_rules: bool) -> None:
    word = f"fits-{sandbox.reaper.mark}"  # that no other test's process says
    sandbox.service("web", "polite", 0, word, match={"cmdline": word} if has_rules else {})
    assert sandbox.ctl("start", "web").expect(0).stderr == ""
    assert sandbox.ctl("start", "web").expect(0).stderr == ""
    assert sandbox.ctl("doctor", "web", "--json").expect(0).one["findings"] == []


def test_one_that_hides_whose_it_is_needs_a_rule(sandbox: Sandbox) -> None:
    command = ["/usr/bin/env", "-i", *sandbox.programs("polite")]
    sandbox.define("web", {"start": {"command": command, "log": str(sandbox.log("web"))}, "ready": {"log": "ready"}})
    started = sandbox.ctl("start", "web", "--json").expect(0).one
    sandbox.adopt("web")
    (told,) = started["errors"]
    assert "has no CTL_TARGET in its environment" in told["what"]
    assert "give it a [match] rule" in told["fix"]


def test_a_user_that_is_taken_by_default_is_no_rule(sandbox: Sandbox) -> None:
    """It became another user by itself, and is found, or named, all the same."""
    requires_root()
    word = f"fits-{sandbox.reaper.mark}"
    command = ["/usr/bin/setpriv", f"--reuid={NOBODY_UID}", "--clear-groups", *sandbox.programs("polite"), "0", word]
    definition = {
        "start": {"command": command, "log": str(sandbox.log("web"))},
        "ready": {"log": "ready"},
        "match": {"cmdline": word},
    }
    sandbox.define("web", definition)
    assert sandbox.ctl("start", "web", "--json").expect(0).one["errors"] == []
