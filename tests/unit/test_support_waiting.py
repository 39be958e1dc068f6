"""Waiting ends at the event, in whatever order file, directory and line come."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.waiting import Lines, wait_file, wait_line, wait_no_file


@contextmanager
def meanwhile(work: Callable[[], object]) -> Iterator[None]:
    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def test_a_line_in_a_file_of_a_directory_that_does_not_exist_yet(tmp_path: Path) -> None:
    path = tmp_path / "log" / "deep" / "web.log"

    def write() -> None:
        path.parent.mkdir(parents=True)
        with open(path, "w", encoding="ascii", buffering=1) as file:
            for text in ("first\n", "sec", "ond\n"):
                file.write(text)
                file.flush()

    with meanwhile(write):
        assert wait_line(path, "sec") == "second"


def test_a_file_renamed_into_place_and_removed(tmp_path: Path) -> None:
    path = tmp_path / "pid"

    def write() -> None:
        (tmp_path / "new").write_text("42\n", encoding="ascii")
        (tmp_path / "new").rename(path)

    with meanwhile(write):
        assert wait_file(path) == "42\n"
    with meanwhile(path.unlink):
        wait_no_file(path)


def test_a_line_that_never_comes_says_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("starting\n", encoding="ascii")
    with pytest.raises(AssertionError, match=r"no line with 'ready'.*\n.*starting"):
        wait_line(path, "ready", timeout=0.05)


def test_lines_of_a_pipe() -> None:
    reading, writing = os.pipe()
    try:
        lines = Lines(reading)
        os.write(writing, b"one\ntwo\nthree\nfo")
        assert lines.wait("two") == "two"
        os.write(writing, b"ur\n")
        assert wait_line(lines, "four") == "four"
        os.close(writing)
        assert lines.rest() == ["one", "two", "three", "four"]
        with pytest.raises(EOFError):
            lines.wait("five")
    finally:
        os.close(reading)
