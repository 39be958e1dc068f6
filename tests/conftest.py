"""Fixtures of every test, and the two guards: this machine's ctl is never touched, and no process outlives a test."""

from __future__ import annotations

import os
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from support import guard, pace
from support.programs import Programs
from support.reaper import SESSION, Reaper, sweep
from support.requires import requires_root
from support.sandbox import PLAIN_UID, ROOT, Sandbox
from support.systemd_host import SystemdHost


def pytest_collection_modifyitems(items: list[pytest.Item], config: pytest.Config) -> None:
    """Side by side, those that may take longest begin first, so that none of them is what all wait for in the end."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=_own_timeout, reverse=True)
    if pace.TIME_FACTOR != 1:
        for item in items:
            limit = _own_timeout(item) or float(config.getini("timeout"))
            item.add_marker(pytest.mark.timeout(limit * pace.TIME_FACTOR), append=False)


def _own_timeout(item: pytest.Item) -> float:
    mark = item.get_closest_marker("timeout")
    return float(mark.args[0]) if mark else 0.0


@contextmanager
def public_directory() -> Iterator[Path]:
    """A temporary directory that every user may enter."""
    with tempfile.TemporaryDirectory(prefix="ctl-test-", dir="/tmp") as path:
        Path(path).chmod(0o755)
        yield Path(path)


@pytest.fixture(scope="session", autouse=True)
def _elsewhere(session_dir: Path) -> Iterator[None]:
    """The environment of the tests themselves leads nowhere near the real configuration, run directory or home."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("CTL_") or name in {"NOTIFY_SOCKET", "MAINPID"}]:
            patch.delenv(name)
        for name, value in guard.environment(session_dir / "elsewhere").items():
            patch.setenv(name, value)
        yield
    assert not (left := sweep(f"{SESSION}-*")), f"processes outlived their tests: {left}"


@pytest.fixture(scope="session", autouse=True)
def _default_signals() -> Iterator[None]:
    """What nohup, cron or a shell's & has us ignore, every process of a test would ignore, too."""
    ignored = {number: signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM)}
    for number, handler in ignored.items():
        if handler is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    yield
    for number, handler in ignored.items():
        signal.signal(number, handler)


@pytest.fixture(autouse=True)
def _real_ctl_untouched() -> Iterator[None]:
    before = guard.snapshot()
    yield
    assert not (paths := guard.changed(before, guard.snapshot())), f"it, or a test beside it, touched the real {paths}"


@pytest.fixture(scope="session")
def session_dir() -> Iterator[Path]:
    """For what is made once per run; every user may enter it, unlike pytest's own."""
    with public_directory() as path:
        yield path


@pytest.fixture
def public_dir() -> Iterator[Path]:
    """tmp_path for tests with several users."""
    with public_directory() as path:
        yield path


@contextmanager
def held_port() -> Iterator[int]:
    """A port on which nobody listens, and which no other test is given: it is bound, and shared with SO_REUSEADDR.

    Servers set that option, so one that a test starts may listen on it, socket(7).
    """
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


@pytest.fixture
def port() -> Iterator[int]:
    """A port for a server of this test."""
    with held_port() as port:
        yield port


@pytest.fixture
def ports() -> Iterator[list[int]]:
    """Two of them."""
    with held_port() as one, held_port() as other:
        yield [one, other]


@pytest.fixture(scope="session")
def programs(session_dir: Path) -> Programs:
    """`programs("ignorer")` is the argv of a test program."""
    build = session_dir / "programs"
    build.mkdir()
    return Programs(build)


@pytest.fixture
def reaper() -> Iterator[Reaper]:
    with Reaper() as reaper:
        yield reaper


@pytest.fixture
def sandbox(public_dir: Path, reaper: Reaper, programs: Programs) -> Sandbox:
    """Directories of this user (root's, where the tests run as root)."""
    return Sandbox(public_dir, reaper, programs)


@pytest.fixture
def new_sandbox(programs: Programs) -> Callable[[], AbstractContextManager[Sandbox]]:
    """`with new_sandbox() as sandbox:`, for many at a time, in threads as well."""

    @contextmanager
    def new() -> Iterator[Sandbox]:
        with public_directory() as path, Reaper() as reaper:
            yield Sandbox(path, reaper, programs)

    return new


@pytest.fixture
def plain_sandbox(public_dir: Path, reaper: Reaper, programs: Programs) -> Sandbox:
    """Directories of a plain user, as whom ctl runs."""
    requires_root()
    root = public_dir / "plain"  # within, so that a test may use both sandboxes
    root.mkdir()
    return Sandbox(root, reaper, programs, owner=PLAIN_UID)


@pytest.fixture(scope="module")
def base(session_dir: Path, request: pytest.FixtureRequest) -> Path:
    """What the throw-away host of a module shares with this one."""
    path: Path = session_dir / request.module.__name__.rpartition(".")[2]
    path.mkdir()
    return path


@pytest.fixture(scope="module")
def host(base: Path, programs: Programs) -> Iterator[SystemdHost]:
    """One throw-away host with a real systemd for all tests of a module."""
    with SystemdHost([ROOT, base, programs.build_dir]) as host:
        yield host
