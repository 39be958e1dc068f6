"""What a terminal can show: the 16 colours that its owner has made readable, and as many characters as are wide."""

from __future__ import annotations

from typing import Final

_OFF: Final = "\033[0m"
_STYLES: Final = {"bold": "\033[1m", "dim": "\033[2m", "red": "\033[31m", "green": "\033[32m", "yellow": "\033[33m"}
_OF_STATE: Final = {
    "ready": "green", "running": "green",
    "starting": "yellow", "stopping": "yellow", "paused": "yellow",
    "ended": "red", "crashed": "red", "stale": "red", "unknown": "red",
    "stopped": "dim",
}  # fmt: skip


def painted(text: str, style: str) -> str:
    """`text` in that style, as it is where that is empty."""
    return f"{_STYLES[style]}{text}{_OFF}" if text and style else text


def state(text: str, name: str) -> str:
    """`text` in the colour of the state of that name."""
    return painted(text, _OF_STATE.get(name, ""))


def cut(text: str, width: int) -> str:
    """`text` in at most `width` cells of a terminal, with an ellipsis where it is longer; some characters are two."""
    from rich.cells import cell_len, set_cell_size

    return text if cell_len(text) <= width else set_cell_size(text, max(width - 1, 0)).rstrip() + "…"
