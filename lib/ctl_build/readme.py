"""The verbs' pages in README.md, between two marks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from ctl_build.manual import Chapter, Option, chapters, shared_options

BEGIN: Final = "<!-- The pages of the verbs, made by `bin/build docs` from their docstrings. -->"
_BAR: Final = "\\|"  # also within code it would end the cell
END: Final = "<!-- The end of the pages. -->"


def with_pages(readme: str) -> str:
    """The README with its pages as they are to be. Raises ValueError where it has not the two marks."""
    before, begin, rest = readme.partition(f"{BEGIN}\n")
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"README.md has not the lines {BEGIN} and {END}")
    return f"{before}{begin}{_pages()}{end}{after}"


def _pages() -> str:
    lines = ["", "Every verb takes these options; those that are its own are on its page.", ""]
    lines += _table("option", shared_options())
    for chapter in chapters():
        lines += _page(chapter)
    return "\n".join([*lines, "", ""])


def _page(chapter: Chapter) -> Iterator[str]:
    yield from ("", f"### ctl {chapter.verb}", "```", chapter.usage, "```")
    for paragraph in chapter.page.paragraphs:
        yield from ("", _escaped(paragraph))
    yield ""
    yield from _table("option", [*chapter.arguments, *chapter.options])
    yield ""
    yield from _table("exit", [Option(str(code), meaning) for code, meaning in chapter.page.codes.items()], code=False)
    if chapter.page.examples:
        yield from ("", "```sh", *chapter.page.example_lines(), "```")


def _table(title: str, rows: Iterable[Option], *, code: bool = True) -> Iterator[str]:
    yield f"| {title} | |"
    yield "| --- | --- |"
    for written, meaning in rows:
        cell = f"`{written.replace('|', _BAR)}`" if code else written
        yield f"| {cell} | {_escaped(meaning)} |"


def _escaped(text: str) -> str:
    """Text that Markdown takes as it stands."""
    for char in "\\|*<$":
        text = text.replace(char, f"\\{char}")
    return text
