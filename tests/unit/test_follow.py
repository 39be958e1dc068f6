"""What is read of a file that grows is neither lost nor read twice, however it is rotated meanwhile."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ctl.model.errors import CtlError
from ctl.system.follow import Followed


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "web.log"


def write(path: Path, text: str) -> None:
    with path.open("a", encoding="ascii") as file:
        file.write(text)


def rotate(log: Path, *, highest: int = 3) -> None:
    for number in range(highest, -1, -1):
        if (path := older(log, number)).exists():
            path.rename(older(log, number + 1))


def older(log: Path, number: int) -> Path:
    return log.with_name(f"{log.name}.{number}") if number else log


@pytest.fixture
def followed(log: Path) -> Iterator[Followed]:
    with Followed(log, keep=4) as followed:
        yield followed


def read(followed: Followed) -> str:
    """The lines that came, joined by blanks; one that has not ended by a plus."""
    return "".join(piece.text.decode() + (" " if piece.ends else "+") for piece in followed.read()).strip()


@pytest.mark.parametrize(
    ("lines", "found"),
    [(0, ""), (1, "f"), (2, "e f"), (3, "d e f"), (5, "b c d e f"), (99, "a b c d e f"), (None, "a b c d e f")],
)
def test_the_last_lines_go_back_into_rotated_files(log: Path, lines: int | None, found: str) -> None:
    write(older(log, 2), "a\nb\n")
    write(older(log, 1), "c\nd")  # a crash in the middle of a line
    write(log, "e\nf")
    with Followed(log, keep=4) as followed:
        followed.begin(lines)
        text = read(followed) + " " + " ".join(piece.text.decode() for piece in followed.rest())
        assert text.strip() == found


def test_lines_longer_than_a_block_are_found_and_come_in_pieces(log: Path) -> None:
    write(log, "x" * 200_000 + "\n" + "y" * 200_000 + "\nz\n")
    with Followed(log, keep=0) as followed:
        followed.begin(2)
        pieces = list(followed.read())
    assert b"".join(piece.text for piece in pieces) == b"y" * 200_000 + b"z"
    assert max(len(piece.text) for piece in pieces) < 2**17
    assert [piece.ends for piece in pieces][-2:] == [True, True]
    assert sum(piece.ends for piece in pieces) == 2


def test_a_line_comes_when_it_has_ended(log: Path, followed: Followed) -> None:
    write(log, "a\nb")
    followed.begin(None)
    assert read(followed) == "a"
    write(log, "c\n")
    assert read(followed) == "bc"


def test_several_rotations_between_two_looks(log: Path, followed: Followed) -> None:
    write(log, "a\n")
    followed.begin(None)
    assert read(followed) == "a"
    write(log, "b\n")
    for text in ("c\n", "d\n", "e\n"):
        rotate(log)
        write(log, text)
    assert read(followed) == "b c d e"
    assert read(followed) == ""


def test_who_still_writes_to_a_rotated_file_is_heard(log: Path, followed: Followed) -> None:
    write(log, "a\n")
    followed.begin(None)
    read(followed)
    for text in ("b\n", "c\n", "d\n"):
        rotate(log)
        write(log, text)
        read(followed)
    write(older(log, 3), "late\n")
    assert read(followed) == "late"


def test_half_a_line_in_a_rotated_file_is_still_coming_from_who_writes_whole_ones(log: Path) -> None:
    with Followed(log, keep=4, whole=True) as followed:
        write(log, "a\nha")
        followed.begin(None)
        rotate(log)
        write(log, "b\n")
        assert read(followed) == "a b"
        write(older(log, 1), "lf\n")
        assert read(followed) == "half"


def test_truncated_by_copytruncate(log: Path, followed: Followed) -> None:
    write(log, "a long line\n")
    followed.begin(0)
    os.truncate(log, 0)
    write(log, "b\n")
    assert read(followed) == "b"


@pytest.mark.parametrize("gone", ["removed", "renamed"])
def test_older_files_are_not_taken_for_new_ones(log: Path, followed: Followed, gone: str) -> None:
    write(older(log, 1), "old\n")
    write(log, "a\n")
    followed.begin(1)
    assert read(followed) == "a"
    log.unlink() if gone == "removed" else log.rename(log.with_name("web.log-20261120"))
    assert read(followed) == ""
    write(log, "b\n")
    assert read(followed) == "b"


def test_a_file_that_is_not_there_yet(log: Path, followed: Followed) -> None:
    followed.begin(10)
    assert read(followed) == ""
    write(log, "a\n")
    assert read(followed) == "a"


@pytest.mark.parametrize("kind", ["link", "fifo", "directory"])
def test_only_a_regular_file_is_read(log: Path, followed: Followed, kind: str) -> None:
    if kind == "link":
        log.symlink_to("/etc/passwd")
    elif kind == "fifo":
        os.mkfifo(log)
    else:
        log.mkdir()
    with pytest.raises(CtlError):
        followed.begin(10)
    assert read(followed) == ""
    assert followed.problem is not None


def test_a_reading_ends_where_the_file_ended_when_it_began(log: Path, followed: Followed) -> None:
    """A service that writes more quickly than ctl reads must not keep it there."""
    write(log, "a\nb\n")
    came = []
    for piece in followed.read():
        came.append(piece.text)
        write(log, "c\n")
        assert len(came) <= 2
    assert came == [b"a", b"b"]
    assert read(followed) == "c c"


def test_a_file_of_any_size_is_not_searched_to_its_beginning_for_lines(log: Path) -> None:
    """Whoever writes a log may make it as large as it likes, with nothing in it."""
    write(log, "first\n")
    os.truncate(log, 1 << 42)
    write(log, "\nlast\n")
    with Followed(log, keep=0) as followed:
        followed.begin(3)
        pieces = list(followed.read())
    assert [piece.text for piece in pieces if piece.ends][-1] == b"last"
    assert b"first" not in [piece.text for piece in pieces]
