"""What can be a target's name: it becomes the name of a file, and goes through shells, units and playbooks."""

from __future__ import annotations

import pytest

from ctl.model.errors import CtlError
from ctl.model.target import LONGEST, Target, parse_target


@pytest.mark.parametrize(
    ("text", "target", "definition"),
    [
        ("web", Target("web"), "web.toml"),
        ("9", Target("9"), "9.toml"),
        ("a_b.c-d:e", Target("a_b.c-d:e"), "a_b.c-d:e.toml"),
        ("worker@1", Target("worker", "1"), "worker@.toml"),
        ("worker@eu-west.1", Target("worker", "eu-west.1"), "worker@.toml"),
        ("w" * LONGEST, Target("w" * LONGEST), "w" * LONGEST + ".toml"),
    ],
)
def test_a_name(text: str, target: Target, definition: str) -> None:
    assert parse_target(text) == target
    assert str(target) == text
    assert target.definition == definition


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "web ", " web", "web db", "-web", "--all", ".", "..", ".hidden", "_web", "web/db", "../web",
        "/etc/passwd", "web\n", "web\0", "web;reboot", "web*", "w\u00e9b", "\u0661", "@", "@1", "worker@", "worker@@1",
        "worker@1@2", "worker@-1", "worker@.", "worker@../x", "w" * (LONGEST + 1),
    ],
)  # fmt: skip
def test_no_name(text: str) -> None:
    with pytest.raises(CtlError) as caught:
        parse_target(text)
    error = caught.value
    assert (error.reason, error.exit_code) == ("unknown_target", 5)
    assert "cannot be a service: a name is letters, digits" in error.what
    assert error.what.isprintable(), "what is shown cannot drive a terminal"
    assert len(error.what) < 250


def test_the_text_is_shown_as_it_was_typed() -> None:
    with pytest.raises(CtlError, match=r"^'web db' cannot be a service") as caught:
        parse_target("web db")
    assert caught.value.what.endswith("begins with a letter or digit, and may end in @INSTANCE")
