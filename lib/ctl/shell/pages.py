"""A verb's page: what it does, its exit codes and examples, all of it written in the docstring of its function.

`ctl VERB --help` shows it, and the manual is made of it:

    Stop services.

    What else there is to say, in paragraphs.

    Exit codes:
        0: stopped, or it did not run
        2, 4, 5

    Examples:
        ctl stop gateway
        ctl stop --dry-run gateway    # what would be done

An exit code without a meaning of its own has the one that it has everywhere.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, NamedTuple

from typer.core import TyperCommand, TyperGroup

from ctl.model.errors import MEANINGS

if TYPE_CHECKING:
    from typer._click import Context, HelpFormatter

_CODES: Final = "\n\nExit codes:\n"
_EXAMPLES: Final = "\n\nExamples:\n"
_COMMENT: Final = "  # "


class Example(NamedTuple):
    """A command, and what it does where that has to be said."""

    command: str
    comment: str = ""

    def padded(self, width: int) -> str:
        """As one line of a script; `width` is that of the longest command beside it."""
        return f"{self.command:<{width}}{_COMMENT}{self.comment}" if self.comment else self.command


class Page(NamedTuple):
    """What the docstring of a verb says."""

    paragraphs: list[str]  # each in one line; the first sums it up
    codes: dict[int, str]  # what each exit code means, in ascending order
    examples: list[Example]

    def example_lines(self) -> list[str]:
        width = max((len(example.command) for example in self.examples if example.comment), default=0)
        return [example.padded(width) for example in self.examples]


def page_of(docstring: str | None) -> Page:
    """The page that is written there. Raises ValueError or KeyError where its exit codes cannot be read."""
    text, _, examples = inspect.cleandoc(docstring or "").partition(_EXAMPLES)
    text, _, codes = text.partition(_CODES)
    return Page(
        paragraphs=[" ".join(paragraph.split()) for paragraph in text.split("\n\n")],
        codes=dict(sorted(_codes(codes.splitlines()))),
        examples=[_example(line) for line in examples.splitlines() if line.strip()],
    )


def _codes(lines: Iterable[str]) -> Iterable[tuple[int, str]]:
    for line in lines:
        numbers, colon, meaning = line.partition(":")
        for number in numbers.split(","):
            code = int(number)
            yield code, meaning.strip() if colon else MEANINGS[code]


def _example(line: str) -> Example:
    command, _, comment = line.strip().partition(_COMMENT)
    return Example(command.strip(), comment.strip())


class PagedCommand(TyperCommand):
    """A verb whose --help shows its page: what it does, arguments, options, exit codes, examples."""

    def format_help_text(self, ctx: Context, formatter: HelpFormatter) -> None:
        formatter.write_paragraph()
        with formatter.indentation():
            formatter.write_text("\n\n".join(self._page.paragraphs))

    def format_epilog(self, ctx: Context, formatter: HelpFormatter) -> None:
        page = self._page
        _write_codes(formatter, page.codes)
        if page.examples:
            with formatter.section("Examples"):
                for line in page.example_lines():
                    formatter.write(f"{'':>{formatter.current_indent}}{line}\n")

    @property
    def _page(self) -> Page:
        return page_of(self.callback.__doc__ if self.callback else None)


class PagedGroup(TyperGroup):
    """ctl itself, with the meaning of all exit codes."""

    def format_epilog(self, ctx: Context, formatter: HelpFormatter) -> None:
        _write_codes(formatter, MEANINGS)


def _write_codes(formatter: HelpFormatter, codes: dict[int, str]) -> None:
    if codes:
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(code), meaning) for code, meaning in codes.items()])
