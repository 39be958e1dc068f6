"""POSIX access control lists, acl(5): whoever may write by one can change what root believes or runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.requires import requires, requires_root
from support.sandbox import NOBODY_UID, Sandbox


@pytest.fixture(autouse=True)
def _as_root(public_dir: Path) -> None:
    requires_root()
    requires("setfacl")
    file = public_dir / "probe"
    file.touch()
    if subprocess.run(["setfacl", "-m", "u:1:r", file], check=False, capture_output=True).returncode:
        pytest.skip("needs a file system with POSIX ACLs")


def allow(path: Path, *entries: str) -> None:
    subprocess.run(["setfacl", *entries, path], check=True)


def changed_by_nobody(file: Path) -> bool:
    """Whether that user can write to it, as the kernel sees it."""
    code = f"open({str(file)!r}, 'a').close()"
    return subprocess.run(
        [sys.executable, "-I", "-c", code], user=NOBODY_UID, group=NOBODY_UID, extra_groups=[], check=False,
        capture_output=True,
    ).returncode == 0  # fmt: skip


@pytest.mark.parametrize("what", ["definition", "ctl.toml", "services", "conf", "run", "above"])
@pytest.mark.parametrize("who", ["u:nobody:rwx", "g:nogroup:rwx"])
def test_what_another_may_write_is_not_believed(sandbox: Sandbox, what: str, who: str) -> None:
    definition = sandbox.service("web", "polite")
    place = {
        "definition": definition, "ctl.toml": sandbox.conf / "ctl.toml", "services": sandbox.services,
        "conf": sandbox.conf, "run": sandbox.run_dir, "above": sandbox.root,
    }[what]  # fmt: skip
    allow(place, "-m", who)
    if place.is_file():
        assert changed_by_nobody(place)
    for verb in ("start", "check", "doctor"):
        refused = sandbox.ctl(verb, *(() if verb == "doctor" else ("web",)))
        said = " ".join((refused.stdout + refused.stderr).split())  # doctor wraps
        assert f"{place} can be written by {'u:65534' if who[0] == 'u' else 'g:65534'} (its ACL)" in said
        assert f"setfacl -b '{place}'" in said
        assert refused.rc == (1 if verb == "doctor" and "[" in said else 6)
    subprocess.run(["sh", "-c", f"setfacl -b '{place}' && chmod go-w '{place}'"], check=True)
    sandbox.ctl("start", "web").expect(0)


@pytest.mark.parametrize(
    "entries",
    [
        ("-m", "u:nobody:r"), ("-m", "u:nobody:rwx,m::rx"), ("-m", "u:root:rwx"), ("-m", "g:root:rwx"),
        ("-dm", "u:nobody:rx"),
    ],
    ids=["read", "masked", "root", "roots group", "default to read"],
)  # fmt: skip
def test_what_nobody_else_may_write_is_believed(sandbox: Sandbox, entries: tuple[str, str]) -> None:
    definition = sandbox.service("web", "polite")
    for place in (sandbox.services, sandbox.run_dir, sandbox.root):
        allow(place, *entries)
    if entries[0] == "-m":
        allow(definition, *entries)
        assert not changed_by_nobody(definition)
    sandbox.ctl("check", "web").expect(0)


def test_a_default_acl_is_one_for_what_is_made(sandbox: Sandbox) -> None:
    """It is told of the directories that ctl and people put files into, and not of every one above."""
    sandbox.service("web", "polite")
    allow(sandbox.root, "-dm", "u:nobody:rwx")
    sandbox.ctl("start", "web").expect(0)
    allow(sandbox.services, "-dm", "u:nobody:rwx")
    refused = sandbox.ctl("stop", "web").expect(6)
    assert f"{sandbox.services} lets u:65534 write what is made in it (its default ACL)" in refused.stderr
    allow(sandbox.services, "-b")
    sandbox.ctl("stop", "web").expect(0)


def test_a_log_directory_that_another_may_write_to(sandbox: Sandbox) -> None:
    """Links in there are not followed, and doctor tells."""
    allow(sandbox.log_dir, "-m", "u:nobody:rwx")
    (sandbox.log_dir / "link").symlink_to(sandbox.root)
    sandbox.service("web", "polite", start={"log": str(sandbox.log_dir / "link" / "web.log")})
    assert "is a symbolic link that others may have put there" in sandbox.ctl("start", "web").expect(1).stderr
    assert f"the log directory can be written by u:{NOBODY_UID} (its ACL)" in sandbox.ctl("doctor").stdout


def test_a_pid_file_that_another_may_write(sandbox: Sandbox) -> None:
    own = sandbox.home / "own.pid"
    sandbox.service("web", "polite", stop={"pid_file": str(own)})
    own.write_text(f"{os.getpid()}\n", encoding="ascii")
    allow(own, "-m", "u:nobody:rw")
    refused = sandbox.ctl("stop", "web")
    assert f"is not to be trusted: {own} can be written by u:{NOBODY_UID} (its ACL)" in refused.stderr
