"""What is wrong is told in fields, which one function draws and none takes apart."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import msgspec
import pytest

from ctl.model.errors import CtlError
from ctl.model.flaw import Flaws
from ctl.model.outcome import Fault
from ctl.shell.render import diagnostic
from support.sandbox import ROOT

FIELDS = {"what", "where", "why", "fix", "says", "details"}
TAKING_APART = {
    "partition", "rpartition", "split", "rsplit", "splitlines", "startswith", "endswith", "removeprefix",
    "removesuffix", "replace", "find", "index", "strip", "lstrip", "rstrip",
}  # fmt: skip


def taken_apart(source: str) -> Iterator[str]:
    """Where a message, an error's text or a line drawn of it is taken apart, or looked into for words."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in TAKING_APART:
            whose = node.func.value
            is_error = isinstance(whose, ast.Call) and ast.unparse(whose) in ("str(error)", "error.strerror")
            if is_error or (isinstance(whose, ast.Attribute) and whose.attr in FIELDS):
                yield ast.unparse(node)
        if isinstance(node, ast.Compare) and isinstance(node.ops[-1], ast.In | ast.NotIn):
            right = node.comparators[-1]
            if isinstance(right, ast.Attribute) and right.attr in FIELDS:
                yield ast.unparse(node)


@pytest.mark.parametrize(
    "source",
    [
        "error.what.partition('; mend it with: ')", "why = claim.why.removeprefix('x')", "'root' in fault.what",
        "str(error).split(', ')", "error.where.split(',')[0].removeprefix('there is no ')",
    ],
)  # fmt: skip
def test_what_takes_a_message_apart_is_found(source: str) -> None:
    assert list(taken_apart(source))


def test_no_code_takes_a_message_apart() -> None:
    found = {
        str(path.relative_to(ROOT)): calls
        for path in sorted((ROOT / "lib/ctl").rglob("*.py"))
        if (calls := list(taken_apart(path.read_text(encoding="utf-8"))))
    }
    # What msgspec found wrong is a library's sentence.
    assert found == {"lib/ctl/model/definition.py": ["str(error).partition(' - at `')"]}


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ((None, "is wrong"), "ctl: is wrong"),
        (("", "is wrong"), "ctl: is wrong"),
        (("web", "is wrong"), "ctl: web: is wrong"),
        (("web", "is wrong", "/x, y"), "ctl: web: is wrong (/x, y)"),
        (("web", "is wrong", None, "rm /x"), "ctl: web: is wrong; to fix: rm /x"),
        (("web", "is wrong", "/x, y", "rm /x"), "ctl: web: is wrong (/x, y); to fix: rm /x"),
        (("web", "is wrong", "/x", "rm /x", ("one", "two")), "ctl: web: is wrong (/x); to fix: rm /x\n  one\n  two"),
        (("web", "a\nb", "c\033", "d\r", ("e\b",)), "ctl: web: a\\nb (c\\x1b); to fix: d\\r\n  e\\x08"),
    ],
)
def test_the_one_form_of_a_message(given: tuple[str, ...], line: str) -> None:
    assert diagnostic(*given) == line


def test_it_is_painted_by_its_fields() -> None:
    def paint(text: str, style: str) -> str:
        return f"<{style}>{text}</>"

    # As the target is named here, a line could not be taken apart at its first colon.
    painted = diagnostic("a: b", "c: d", "e", "f", ("g: h",), paint=paint, style="red")
    assert painted == "<bold>ctl: a: b:</><red> c: d (e); to fix: f</>\n  g: h"


def test_an_error_that_says_of_whom_it_is_keeps_its_fields() -> None:
    other = CtlError("failed", "is another")
    error = CtlError("busy", "is held", where="/x", fix="wait", details=("a",), target="web", others=(other,))
    about = error.about("its log")
    assert str(about) == about.what == "its log is held"
    assert Fault.each_of(about) == [
        Fault(reason="busy", what="its log is held", where="/x", fix="wait", details=("a",), target="web"),
        Fault(reason="failed", what="is another"),
    ]


def test_all_that_is_wrong_with_a_file_is_told_once_each() -> None:
    flaws = Flaws()
    for _ in range(2):
        flaws.add("stop.schedul", "no such key", "write schedule instead")
        flaws.add("stop", "is wrong")
    error = flaws.error("/x.toml", "web")
    assert [msgspec.structs.asdict(fault) for fault in Fault.each_of(error)] == [
        {
            "reason": "bad_config", "what": what, "where": "/x.toml", "fix": fix, "details": (), "target": "web",
        }
        for what, fix in (("stop.schedul: no such key", "write schedule instead"), ("stop: is wrong", None))
    ]  # fmt: skip
    assert (flaws.has_any_in("stop"), flaws.has_any_in("sto")) == (True, False)
