"""What a terminal shows after all that was written to it: enough of ECMA-48 for ctl, and nothing is passed over."""

from __future__ import annotations

import re
import unicodedata

_SEQUENCE = re.compile(r"\033\[(\??[0-9;]*)([A-Za-z])")


class Screen:
    """`Screen(terminal.screen, 24, 80)`: `.lines` down to the last one with text, `.scrollback` above them."""

    def __init__(self, text: str, rows: int, columns: int) -> None:
        self.rows, self.columns = rows, columns
        self.scrollback: list[str] = []
        self._cells: list[list[str]] = [[] for _ in range(rows)]
        self._row = self._column = 0
        at = 0
        while at < len(text):
            found = _SEQUENCE.match(text, at)
            if found:
                self._control(found[1], found[2])
            else:
                self._put(text[at])
            at = found.end() if found else at + 1

    @property
    def lines(self) -> list[str]:
        """Without blanks at the end; a wide character is in its first cell, and its second is empty."""
        lines = ["".join(row).rstrip() for row in self._cells]
        while lines and not lines[-1]:
            lines.pop()
        return lines

    @property
    def everything(self) -> list[str]:
        """With what can be scrolled back to."""
        return [*self.scrollback, *self.lines]

    def _put(self, char: str) -> None:
        if char == "\r":
            self._column = 0
        elif char == "\n":  # the tty makes CR LF of it
            self._column = 0
            self._down()
        elif char != "\a":
            assert char.isprintable(), f"{char!r} on the terminal"
            width = cells(char)
            if self._column + width > self.columns:
                self._put("\n")
            row = self._cells[self._row]
            row += [" "] * (self._column + width - len(row))
            row[self._column : self._column + width] = [char, ""][:width]
            self._column += width

    def _down(self) -> None:
        self._row += 1
        if self._row == self.rows:
            self.scrollback.append("".join(self._cells.pop(0)).rstrip())
            self._cells.append([])
            self._row -= 1

    def _control(self, parameters: str, function: str) -> None:
        if function == "A":
            self._row = max(self._row - int(parameters or 1), 0)
        elif function in "JK":
            assert parameters in {"", "0"}, f"CSI {parameters} {function}"
            del self._cells[self._row][self._column :]
            for row in self._cells[self._row + 1 :] if function == "J" else ():
                row.clear()
        else:
            assert function == "m", f"CSI {parameters} {function}: a cursor that is hidden, or worse"


def cells(text: str) -> int:
    """How wide it is."""
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def plain(text: str) -> str:
    """Without colours."""
    return re.sub(r"\033\[[0-9;]*m", "", text)
