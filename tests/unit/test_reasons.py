"""What a rule says in words, and how near a process comes that no rule fits."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from ctl.model.match import Marker, Program, Rules, glob
from ctl.model.reasons import Words, answers, nearness, words_of_pattern
from ctl.model.verdict import NO, UNKNOWN, YES

MARKER = Marker(target="web", run_dir="/run/ctl")
EXE = "/usr/lib/jvm/bin/java"
JVM = ("/usr/bin/java", "-cp", "x.jar", "org.example.Main")


@dataclass(frozen=True)
class Seen:
    """A process of which all that the rules ask can be seen, unless it is None."""

    uid: int | None = 33
    argv: Sequence[str] | None = JVM
    executable: str | None = EXE
    marker: Marker | None = MARKER
    is_overwritten: bool = False
    program: Program | None = None

    @property
    def command_line(self) -> str | None:
        return None if self.argv is None else " ".join(self.argv)

    def mentions(self, text: bytes) -> bool:
        return self.command_line is None or text in self.command_line.encode()


@pytest.mark.parametrize(
    ("rules", "wanted", "look", "verdict", "why"),
    [
        (Rules(uid=33), {}, Seen(), YES, "is user33"),
        (Rules(uid=34), {}, Seen(), NO, "is user33, must be user34"),
        (Rules(uid=33), {}, Seen(uid=None), UNKNOWN, "not allowed to read /proc/7/status; try as root"),
        (Rules(executable=glob("*/java")), {}, Seen(), YES, f"is {EXE}"),
        (Rules(executable=glob("*/jva")), {"executable": "*/jva"}, Seen(), NO, f"is {EXE}, must be */jva"),
        (Rules(uid=33), {}, Seen(uid=0), NO, "is user0, must be user33"),
        (Rules(java_main="org.example.Main"), {}, Seen(), YES, "is org.example.Main"),
        (Rules(java_main="a.B"), {"java_main": "a.B"}, Seen(), NO, "its main class is org.example.Main, must be a.B"),
        (Rules(java_main="a.B"), {}, Seen(argv=("vi", "a.B")), NO, "it is no JVM"),
        (Rules(java_main="a.B"), {}, Seen(argv=("java",)), NO, "its arguments name no main class (an @file may)"),
        (Rules(cmdline=re.compile("ex.*Main")), {}, Seen(), YES, "finds 'example.Main'"),
        (Rules(cmdline=re.compile("x")), {"cmdline": "x"}, Seen(argv=()), NO, "it has no arguments"),
        (
            Rules(cmdline=re.compile(r"org\.example\.Mian")), {"cmdline": r"org\.example\.Mian"}, Seen(), NO,
            "'org.example.Mian' is not in its arguments",
        ),
        (
            Rules(cmdline=re.compile("org.example.Main .*java")), {"cmdline": "org.example.Main .*java"}, Seen(), NO,
            "finds nothing in its arguments, although its words are there",
        ),
        (Rules(marker=MARKER), {}, Seen(), YES, "has CTL_TARGET=web CTL_RUN_DIR=/run/ctl"),
        (Rules(marker=MARKER), {}, Seen(marker=Marker()), NO, "has no CTL_TARGET in its environment"),
        (
            Rules(marker=MARKER), {"marker": "X"}, Seen(marker=Marker("db", "/run/ctl")), NO,
            "has CTL_TARGET=db CTL_RUN_DIR=/run/ctl, must be X",
        ),
    ],
)  # fmt: skip
def test_why(rules: Rules, wanted: dict[str, str], look: Seen, verdict: str, why: str) -> None:
    (answer,) = answers(rules, look, 7, wanted, lambda uid: f"user{uid}").values()
    assert (answer.verdict, answer.why) == (verdict, why)


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        (r"org\.example\.Main", ["org.example.Main"]),
        (r"/opt/gateway/bin/server\b", ["gateway", "server"]),
        (r"(?<![A-Za-z0-9_])worker@1(?![A-Za-z0-9_]|[.:-][A-Za-z0-9_])", ["worker@1"]),
        (r"(?:gateway|engine)-main .*\.conf$", ["gateway", "engine", "main", "conf"]),
        (r"(?i)server[0-9]{1,3}(?P<kind>-blue)?", ["server", "blue"]),
        ("a.b", []),
    ],
)
def test_the_words_of_a_pattern(pattern: str, words: list[str]) -> None:
    assert words_of_pattern(pattern) == words


def test_a_rule_that_holds_counts_more_than_any_word() -> None:
    words = Words(program=frozenset({"gateway"}), rules=frozenset({"org.example.Main"}))
    named = nearness({"cmdline": NO}, words, "gateway org.example.Main")
    holding = nearness({"cmdline": NO, "executable": YES}, words, "vi")
    assert holding > named > 0
    assert nearness({"cmdline": NO, "user": YES}, words, "vi notes") == 0, "whose it is alone makes nobody near"
