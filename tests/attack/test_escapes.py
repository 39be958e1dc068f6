"""What a service says of itself drives no terminal: its argv, its name, its environment, what it writes to its log and
what its hooks write reach a person escaped, by whatever verb."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.programs import public_python
from support.pty import Terminal
from support.sandbox import CTL, Sandbox
from support.waiting import wait_line

# Clears the screen, sets the clipboard, turns red by a C1 control, runs backwards, overwrites its line, adds one.
EVIL = "\033[2J\033]52;c;aGk=\007\u009b31m\u202edcba\rnew\nweb: stopped\177\b\033[41mred"
SAYS = f"""
import signal, sys, os
signal.signal(signal.SIGTERM, lambda *_: None)
with open("/proc/self/comm", "w") as comm:
    comm.write("\\033[5mname")
print({EVIL!r}, flush=True)
if os.fork() == 0:
    os.setsid()
print("ready (pid: ", flush=True)
while True:
    signal.pause()
"""
FAILS = ["/bin/sh", "-c", f"printf '%s' '{EVIL}'; exit 3"]
# What ctl itself sends: colours other than the one above, and the moves of its live view.
OWN = re.compile(r"\033\[(?:\d|[39]\d)?m|\033\[K|\r\033\[\d+A\033\[J")

CALLS = [
    ("status",), ("status", "web"), ("status", "--json"),
    ("explain", "web"), ("explain", "web", "--verbose"), ("explain", "web", "--json"),
    ("stop", "web", "--dry-run"), ("kill", "web", "--dry-run"), ("stop", "web", "--dry-run", "--json"),
    ("restart", "web", "--dry-run"), ("start", "web"), ("start", "dead"), ("start", "dead", "--json"),
    ("check",), ("doctor",), ("doctor", "web"), ("doctor", "--json"),
    ("wait", "web", "--timeout", "0.1"), ("reload", "web"), ("reload", "web", "--json"),
    ("pause", "web", "--verbose"), ("resume", "web", "--verbose"), ("logs", "web", "--json"), ("logs", "web", "dead"),
    ("events",), ("events", "--json"),
    ("stop", "web"), ("stop", "web", "--verbose", "--json"), ("start", EVIL), ("stop", "web", EVIL),
]  # fmt: skip


@pytest.fixture
def evil(sandbox: Sandbox) -> Iterator[Sandbox]:
    sandbox.service(
        "web", "idle",
        start={"command": [public_python(), "-c", SAYS, EVIL], "environment": {"EVIL": EVIL}},
        stop={"schedule": "TERM/0.6", "before": [FAILS]}, reload={"command": FAILS},
        drain={"command": FAILS, "timeout": 0.1},
    )  # fmt: skip
    sandbox.service("dead", "idle", start={"command": FAILS}, ready={"command": FAILS, "timeout": 5})
    sandbox.ctl("start", "web").expect(0)
    wait_line(sandbox.log("web"), "ready (pid:")
    yield sandbox
    sandbox.ctl("kill", "web").expect(0)


def raw(text: str) -> set[str]:
    """What a terminal would act on."""
    return {char for char in text if not char.isprintable() and char not in "\n\t"}


def test_nothing_of_it_reaches_a_pipe(evil: Sandbox) -> None:
    for call in CALLS:
        result = evil.ctl(*call)
        assert result.rc < 199, call
        if call != ("logs", "web", "dead"):
            assert raw(result.stdout + result.stderr) == set(), call


def test_nothing_of_it_reaches_a_terminal(evil: Sandbox) -> None:
    for call in CALLS:
        argv: list[str | Path] = [CTL, *call]
        with Terminal(evil.reaper, argv, evil.environment(), columns=200) as terminal:
            assert terminal.wait() < 199
            shown = OWN.sub("", terminal.screen)
        if call[0] == "logs":
            shown = shown.replace("\033[41m", "")  # a log keeps its colours
        assert raw(shown) == set(), call


def test_the_journal_can_be_shown_by_any_program(evil: Sandbox) -> None:
    evil.ctl("reload", "web").expect(1)
    journal = (evil.log_dir / "events.jsonl").read_text(encoding="utf-8")
    assert "u007f" in journal
    assert raw(journal) == set()


def test_a_log_keeps_its_colours_on_a_terminal_alone(evil: Sandbox) -> None:
    for env, kept in (({}, True), ({"NO_COLOR": "1"}, False)):
        argv: list[str | Path] = [CTL, "logs", "web"]
        with Terminal(evil.reaper, argv, evil.environment(env)) as terminal:
            assert terminal.wait() == 0
            assert (r"\x7f\x08" + "\033[41mred\033[0m\n" in terminal.screen) is kept
            assert (r"\x7f\x08\x1b[41mred" in terminal.screen) is not kept
    assert EVIL.replace("\r", "\n") in evil.ctl("logs", "web").stdout, "a pipe gets it as it was written"
