"""Text that others have written, such that it drives no terminal: an argv, a log line, a name of a file.

What is escaped are all characters that Unicode calls controls, formats or surrogates: ESC, the C1 controls of which
U+009B begins a sequence as ESC [ does, and the overrides by which text is shown in another order than it is in.
"""

from __future__ import annotations

import re
from typing import Final

_SGR: Final = "(\033\\[[0-9;:]*m)"  # Select Graphic Rendition, ECMA-48: colours, and nothing that moves
_PLAIN: Final = "\033[0m"


def printable(text: str) -> str:
    """`text` as one line, with what a terminal would act on escaped as in Python; a tab stays."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char == "\t" else ascii(char)[1:-1] for char in text)


def printable_in_colour(text: str) -> str:
    """The same, but its colours stay; they end with it."""
    if "\033" not in text:
        return printable(text)
    parts = re.split(_SGR, text)
    shown = "".join(part if number % 2 else printable(part) for number, part in enumerate(parts))
    return shown + (_PLAIN if len(parts) > 1 else "")


def printable_json(document: str) -> str:
    """A document of JSON, which escapes no more than it must, with the rest escaped, too."""
    if document.isprintable():
        return document
    return "".join(char if char.isprintable() else _escaped(char) for char in document)


def _escaped(char: str) -> str:
    units = char.encode("utf-16-be")
    return "".join(f"\\u{units[start : start + 2].hex()}" for start in range(0, len(units), 2))
