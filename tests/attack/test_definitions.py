"""What hangs or floods who reads it, in the place of a definition: one clear line, and the others are not hindered."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from support.sandbox import Sandbox

Spoil = Callable[[Path], None]
LARGEST = 2**18


def bound(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.path.relpath(path))


def sparse(path: Path) -> None:
    path.touch()
    os.truncate(path, 2**40)


def text(content: str) -> Spoil:
    def write(path: Path) -> None:
        path.write_text(content, encoding="ascii")

    return write


NO_TOML = "is not TOML: "
KINDS: dict[str, tuple[Spoil, str]] = {
    "a fifo": (os.mkfifo, "is a fifo, not a regular file"),
    "a device": (lambda path: path.symlink_to("/dev/zero"), "is a device, not a regular file"),
    "a directory": (lambda path: path.mkdir(), "is a directory, not a regular file"),
    "a socket": (bound, "is a socket, not a regular file"),
    "large": (text("".join(f"k{n} = 1\n" for n in range(700_000))), f"has more than {LARGEST} bytes"),
    "sparse": (sparse, f"has more than {LARGEST} bytes"),
    "a long key": (text("a." * 100_000 + "a = 1"), "is no definition: it has a key of more than 100 parts"),
    "a long table": (text("[" + '"a".' * 50_000 + "a]"), "is no definition: it has a key of more than 100 parts"),
    "nested arrays": (text("a = " + "[" * 200_000), NO_TOML),
    "nested tables": (text("a = " + "{a = " * 50_000), NO_TOML),
}


@pytest.fixture(params=KINDS)
def bad(request: pytest.FixtureRequest, sandbox: Sandbox) -> tuple[Path, str]:
    """The file, and why it is refused. Beside it is a service that can be used."""
    spoil, why = KINDS[request.param]
    sandbox.service("good", "polite")
    path = sandbox.services / "bad.toml"
    spoil(path)
    return path, why


@pytest.mark.parametrize("verb", ["start", "status", "stop", "explain"])
def test_each_verb_refuses_it_in_one_line(sandbox: Sandbox, bad: tuple[Path, str], verb: str) -> None:
    path, why = bad
    refused = sandbox.ctl(verb, "bad", timeout=20)
    assert f"{why}" in refused.stderr + refused.stdout
    assert str(path) in refused.stderr + refused.stdout
    assert refused.rc in ((6,) if verb != "status" else (4, 6))
    assert len(refused.stderr.splitlines()) <= 1


def test_the_others_are_not_hindered(sandbox: Sandbox, bad: tuple[Path, str]) -> None:
    _, why = bad
    sandbox.ctl("start", "good", timeout=20).expect(0)
    status = sandbox.ctl("status", "--json", timeout=20).expect(4).by_target
    assert (status["good"]["state"], status["bad"]["state"]) == ("ready", "unknown")
    assert why in sandbox.ctl("check", timeout=20).expect(6).stderr
    assert "good" in sandbox.ctl("doctor", "--json", timeout=20).stdout
    stopped = sandbox.ctl("stop", "--yes", "--json", timeout=20)
    assert stopped.by_target["good"]["reason"] == "stopped"


def test_ctl_toml_is_read_in_the_same_way(sandbox: Sandbox) -> None:
    file = sandbox.conf / "ctl.toml"
    for spoil, why in (KINDS["a fifo"], KINDS["a device"], KINDS["a long key"]):
        file.unlink()
        spoil(file)
        refused = sandbox.ctl("status", timeout=20).expect(6)
        assert refused.stderr.startswith(f"ctl: {why}")


def test_links_to_a_regular_file_are_followed(sandbox: Sandbox) -> None:
    sandbox.service("web", "polite")
    available = sandbox.conf / "available"
    available.mkdir()
    (sandbox.services / "web.toml").rename(available / "web.toml")
    (sandbox.services / "web.toml").symlink_to("../available/web.toml")
    sandbox.ctl("check", "web").expect(0)


@pytest.mark.parametrize("depth", [50, 150, 250, 400, 900])
def test_however_deep_it_is_nested_it_is_one_line(sandbox: Sandbox, depth: int) -> None:
    """Where tomllib still reads it, what comes after must."""
    for begin, opening, end in (("start.command = ", "[", "]"), ("match = ", "{a = ", "}")):
        content = f"{begin}{opening * depth}{'1' if end == '}' else ''}{end * depth}\n"
        (sandbox.services / "deep.toml").write_text(content, encoding="ascii")
        for verb in ("start", "check"):
            refused = sandbox.ctl(verb, "deep", timeout=20).expect(6)
            assert "Traceback" not in refused.stderr + refused.stdout
            assert len(refused.stderr) < 10_000


def test_dots_in_strings_and_comments_are_no_key(sandbox: Sandbox) -> None:
    jars = ":".join(f"/opt/lib/a-1.2.{n}.jar" for n in range(200))
    command = f'["java", \'-cp\', "{jars}", \'\'\'\n{jars}"\'\'\', """\\"{jars}\'"""]'
    sandbox.define_raw("web", f"# {'.' * 300}\n[start]\ncommand = {command}\n")
    sandbox.ctl("check", "web").expect(0)
