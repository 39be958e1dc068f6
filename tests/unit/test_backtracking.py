"""How many steps a search may take: a bound that holds, and no larger than it need be for what people write."""

from __future__ import annotations

import re

import pytest

from ctl.model.backtracking import shape_of
from ctl.model.match import glob

FEW = 10_000_000
A_JVM = "/usr/bin/java -Xmx1g -cp " + "/opt/lib/some.jar:" * 500 + " org.example.Gateway --name gateway --id 1"


def steps(pattern: str, text: str) -> float:
    return shape_of(re.compile(pattern)).steps(text)


@pytest.mark.parametrize(
    "pattern",
    [
        r"org\.example\.Gateway",
        r"org\.example\.Gateway .*--id 1$",
        r"^/usr/bin/java .*org\.example\.Gateway .*--id 1$",
        r"java .*-Xmx.* org\.example\.(Gateway|Engine) .*--name gateway",
        r"(?<![A-Za-z0-9_])gateway(?![A-Za-z0-9_]|[.:-][A-Za-z0-9_])",
        r"--id (?P<instance>[A-Za-z0-9_]+(?:[.:@-][A-Za-z0-9_]+)*(?<![.:-]))$",
        r" (\w+\.)+Gateway --name",
        r" (?:/[^/: ]+)+ --id",
        r"^ready \(pid: \d+\)",
        r"Started \S+ in [0-9.]+ seconds",
    ],
)
def test_what_people_write_is_matched_at_once(pattern: str) -> None:
    assert steps(pattern, A_JVM) < FEW


@pytest.mark.parametrize(
    "pattern",
    [
        "(a+)+$",
        "(a*)*b",
        "(a|aa)+$",
        "(a|b|ab)*c",
        r"(\w+\s?)+$",
        r"(\w+[-\w])+x",
        "(.*,)+x",
        "((a+)+b)+",
        "(x+x+)+y",
        r"(?:(\w+)-?)*$",
        r"(?i)(\w+\.)+x",
        r"(?P<one>a+)(?:b(?P=one))*c",
        "(?:a?){64}b",
        "(a{1,9}){1,99}b",
    ],
)
def test_a_repeat_within_a_repeat_has_no_bound(pattern: str) -> None:
    assert steps(pattern, "a" * 100) > FEW


@pytest.mark.parametrize(
    ("pattern", "text", "at_least"),
    [
        ("a.*b", "a" * 1000, 1000**2 / 2),  # from each a to the end
        (".*x", "a" * 1000, 1000**2 / 2),
        ("a.*a.*b", "a" * 300, 300**3 / 6),  # each a with each later one to the end
        (".*a.*b", "a" * 300, 300**3 / 6),
        ("(?i)a.*A.*b", "a" * 300, 300**3 / 6),
        ("aa.*b", "aa" * 500, 1000**2 / 2 - 1000),  # it overlaps itself
        ("(?=.*a)(?=.*b)x", "a" * 1000, 1000**2),
        ("(a|ab|b)(a|ab|b)(a|ab|b)d", "abab", 3**3),
        (r"[a-z]+([a-z]b?)*c", "a" * 300, 300**3 / 6),
        ("a?a?a?a?b", "aaaa", 16),
    ],
)
def test_the_bound_holds(pattern: str, text: str, at_least: float) -> None:
    assert steps(pattern, text) >= at_least


@pytest.mark.parametrize(("pattern", "length"), [("^a", 10_000), ("a.*b", 100), ("a.*a.*b", 15), ("(a+)+b", 0)])
def test_short_texts_take_few_steps_whatever_they_hold(pattern: str, length: int) -> None:
    shape = shape_of(re.compile(pattern))
    within = shape.length_within(100_000)
    assert within >= length
    assert within == 0 or max(shape.steps("a" * within), shape.steps("ab" * (within // 2))) <= 100_000


def test_an_attacker_moves_the_bound_with_his_text() -> None:
    pattern = r"org\.example\.Gateway .*--id 1$"
    assert steps(pattern, "org.example.Gateway " * 80_000) > FEW


def test_a_glob_is_never_slow() -> None:
    """fnmatch makes of each * an atomic group, which gives nothing back; and a path has 4096 bytes at most."""
    assert "(?>" in glob("*a*a*b").pattern
    assert glob("*a*a*a*a*a*a*a*a*b").match("a" * 4096) is None
