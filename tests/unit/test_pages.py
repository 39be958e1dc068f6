"""The verbs' pages: written in the docstrings, shown by --help, and the same in the man page."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest
from typer.main import get_command

from ctl.model.command_line import VERBS
from ctl.model.errors import MEANINGS
from ctl.shell.pages import page_of
from ctl.shell.parser import command_line
from ctl_build.manual import Chapter, chapters
from support.requires import requires
from support.sandbox import ROOT

CHAPTERS = {chapter.verb: chapter for chapter in chapters()}
EXAMPLES = [
    pytest.param(example.command, id=example.command)
    for chapter in CHAPTERS.values()
    for example in chapter.page.examples
]


def test_the_command_that_makes_them_agrees() -> None:
    done = subprocess.run([ROOT / "bin/build", "docs", "--check"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("chapter", CHAPTERS.values(), ids=VERBS)
def test_a_page_has_all_its_parts(chapter: Chapter) -> None:
    assert chapter.usage.startswith(f"ctl {chapter.verb} [OPTIONS]")
    assert chapter.page.paragraphs[0]
    assert chapter.page.examples
    assert chapter.page.codes.keys() >= {0, 2, 199}
    assert all(option.meaning for option in (*chapter.arguments, *chapter.options))


@pytest.mark.parametrize("command", EXAMPLES)
def test_every_example_can_be_typed(command: str) -> None:
    """Its verb, options and values are those that there are."""
    (words,) = re.findall(r"\bctl ([^>)]+)", command)
    verb, *arguments = shlex.split(words)
    get_command(command_line([verb])).commands[verb].make_context(verb, arguments)  # type: ignore[attr-defined]


def test_every_exit_code_is_that_of_some_verb_and_in_the_readme() -> None:
    assert {code for chapter in CHAPTERS.values() for code in chapter.page.codes} >= MEANINGS.keys()
    table = re.findall(r"^\| ([0-9, ]+) \| ", _overview(), re.MULTILINE)
    assert {int(code) for codes in table for code in codes.split(",")} == MEANINGS.keys()


def test_the_overview_of_the_readme_names_every_verb() -> None:
    assert sorted(re.findall(r"^\| `ctl (\w+)", _overview(), re.MULTILINE)) == sorted(VERBS)


def _overview() -> str:
    return (ROOT / "README.md").read_text(encoding="utf-8").partition("\n## The verbs\n")[2].partition("\n### ")[0]


def test_a_page_is_read_from_a_docstring() -> None:
    page = page_of(
        """Do it. And more.

        Long
        words.

        Exit codes:
            7: it rests
            0, 5

        Examples:
            ctl do web
            ctl do -n web    # in words
        """
    )
    assert page.paragraphs == ["Do it. And more.", "Long words."]
    assert page.codes == {0: MEANINGS[0], 5: MEANINGS[5], 7: "it rests"}
    assert list(page.codes) == [0, 5, 7]
    assert page.example_lines() == ["ctl do web", "ctl do -n web  # in words"]


@pytest.mark.parametrize("page", sorted((ROOT / "conf/man").iterdir()), ids=lambda page: page.name)
def test_groff_takes_each_man_page_without_a_warning(page: Path) -> None:
    requires("groff")
    done = subprocess.run(["groff", "-ww", "-man", "-Tutf8", page], capture_output=True, text=True, check=True)
    assert done.stderr == ""


def test_what_is_copied_from_the_man_page_can_be_typed() -> None:
    requires("groff")
    done = subprocess.run(
        ["groff", "-ww", "-man", "-Tutf8", ROOT / "conf/man/ctl.1"], capture_output=True, text=True, check=True
    )
    shown = re.sub("\x1b\\[[0-9;]*m", "", done.stdout)
    assert "ctl stop --schedule QUIT/10/TERM/10/KILL/5 gateway\n" in shown, "what is copied from it can be typed"
    assert 'eval "$(ctl completion bash)"' in shown


def test_man_db_finds_its_name() -> None:
    requires("lexgrog")
    done = subprocess.run(["lexgrog", ROOT / "conf/man/ctl.1"], capture_output=True, text=True, check=True)
    assert ': "ctl - start, stop and kill services' in done.stdout


def test_the_tests_that_the_security_page_names_are_there() -> None:
    page = (ROOT / "conf/man/ctl-security.7").read_text(encoding="utf-8")
    named = set(re.findall(r"[a-z]+/test_[a-z_]+\.py", page))
    assert len(named) > 5
    assert [name for name in named if not (ROOT / "tests" / name).exists()] == []
