"""ctl as a single file: on a host without the checkout, for root and others, with an empty environment."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ctl_build.single import archive
from support import proc
from support.pty import Terminal
from support.reaper import MARK, PATH
from support.requires import requires_mounts
from support.sandbox import PLAIN_UID, ROOT, Sandbox
from support.systemd_host import SystemdHost
from support.waiting import wait_until

pytestmark = pytest.mark.xdist_group("packaging")  # it is built once

HERE = ROOT / "lib" / "ctl_build" / "single"


@pytest.fixture(scope="module")
def built(session_dir: Path) -> Path:
    output = session_dir / "single" / "ctl"
    subprocess.run([ROOT / "bin" / "build", "zipapp", output], check=True, capture_output=True, env={"PATH": PATH})
    return output


class Elsewhere:
    """Runs the single file where there is no checkout, and nothing of this machine's where root unpacks and logs."""

    def __init__(self, sandbox: Sandbox, built: Path) -> None:
        self.sandbox = sandbox
        self.file, self.cache = sandbox.root / "ctl", sandbox.root / "cache"
        self.file.write_bytes(built.read_bytes())
        self.file.chmod(0o755)
        self.cache.mkdir()

    def run(
        self, *args: str | Path, env: Mapping[str, str] | None = None, user: int | None = None
    ) -> subprocess.CompletedProcess[str]:
        """With no environment but the tests' mark and what is given."""
        hidden = f"mount --bind {self.cache} /var/cache && mount --bind {self.sandbox.log_dir} /var/log"
        hidden += f' && mount -t tmpfs none {ROOT} && exec "$@"'
        become = [] if user is None else ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"]
        empty = ["env", "-i", f"{MARK}={self.sandbox.reaper.mark}", *(f"{k}={v}" for k, v in (env or {}).items())]
        argv = ["unshare", "--mount", "sh", "-c", hidden, "sh", *become, *empty, self.file, *args]
        return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, cwd="/")

    def ctl(self, *args: str | Path, env: Mapping[str, str] | None = None, user: int | None = None) -> str:
        done = self.run(*args, "--run-dir", self.sandbox.run_dir, env=env, user=user)
        assert done.returncode == 0, done
        return done.stdout

    def unpacked(self) -> list[Path]:
        return sorted((self.cache / "ctl").iterdir())


@pytest.fixture
def elsewhere(sandbox: Sandbox, built: Path) -> Elsewhere:
    requires_mounts()
    return Elsewhere(sandbox, built)


def test_root_without_a_home_runs_the_demo(elsewhere: Elsewhere) -> None:
    """As in a unit's ExecStop=. The definition is the one that the file carries."""
    sandbox = elsewhere.sandbox
    assert "started" in elsewhere.ctl("start", "demo")
    sandbox.adopt("demo")
    assert "running" in elsewhere.ctl("status", "demo") or "ready" in elsewhere.ctl("status", "demo")
    assert "paused" in elsewhere.ctl("pause", "--for", "0.3s", "demo")
    wait_until(lambda: "paused" not in elsewhere.ctl("status", "demo"), "it is resumed by itself")
    assert "stopped" in elsewhere.ctl("stop", "demo")
    assert "started" in elsewhere.ctl("start", "demo")
    sandbox.adopt("demo")
    shutil.rmtree(elsewhere.cache / "ctl")
    assert "killed" in elsewhere.ctl("kill", "demo")
    (place,) = elsewhere.unpacked()
    assert place.parent.stat().st_mode & 0o777 == 0o755, "who has no home may use it, too"
    assert elsewhere.run("--version", user=PLAIN_UID).returncode == 0


def test_another_user_unpacks_it_in_their_home(elsewhere: Elsewhere, plain_sandbox: Sandbox) -> None:
    env = {"HOME": str(plain_sandbox.home), "CTL_CONF": str(plain_sandbox.conf)}
    plain_sandbox.define("web", {"start": {"command": ["/bin/sleep", "1000"]}})
    elsewhere.sandbox.run_dir = plain_sandbox.run_dir
    assert "started" in elsewhere.ctl("start", "web", env=env, user=PLAIN_UID)
    plain_sandbox.adopt("web")
    assert "stopped" in elsewhere.ctl("stop", "web", env=env, user=PLAIN_UID)
    place = plain_sandbox.home / ".cache" / "ctl"
    assert (place.stat().st_uid, place.stat().st_mode & 0o777) == (PLAIN_UID, 0o700)
    assert not list(elsewhere.cache.iterdir())


@pytest.mark.systemd
def test_a_unit_that_may_not_write_where_it_is_unpacked(sandbox: Sandbox, built: Path) -> None:
    """Unless it is there already. The gate is a program of ctl's own here, executed before root becomes the user."""
    file = sandbox.root / "ctl"
    shutil.copy(built, file)
    start = {"command": ["/bin/sleep", "1000"], "user": "nobody", "limits": {"nofile": 100}}
    sandbox.define("packed", {"start": start, "ready": {"settle": 0.05}})
    unit = f"""[Service]
        Type=oneshot
        RemainAfterExit=yes
        ProtectSystem=strict
        ReadWritePaths={sandbox.root}
        Environment=CTL_CONF={sandbox.conf} CTL_RUN_DIR={sandbox.run_dir}
        ExecStart={file} start packed
        ExecStop={file} stop packed
        """
    with SystemdHost([sandbox.root]) as host:
        host.unit("packed.service", unit)
        assert host.run("systemctl", "start", "packed").returncode != 0
        assert "cannot be unpacked: /var/cache/ctl: Read-only file system" in host.journal("packed")
        assert host.run(file, "--version").returncode == 0
        assert host.run("systemctl", "start", "packed").returncode == 0, host.journal("packed")
        assert host.run("systemctl", "stop", "packed").returncode == 0
        assert "packed: stopped, pid " in host.journal("packed")
        assert host.properties("packed")["Result"] == "success"


def test_what_rich_shows_on_a_terminal_is_packed(sandbox: Sandbox, built: Path) -> None:
    """Without what it would need for other things: see archive.py."""
    for name in ("gateway", "engine"):
        sandbox.service(name, "polite")
    env = sandbox.environment({"CTL_CACHE_DIR": str(sandbox.home / "cache")})
    for arguments in (
        ["status"],
        ["status", "gateway"],
        ["restart", "gateway"],
        ["stop", "--yes"],
        ["explain", "engine"],
    ):
        with Terminal(sandbox.reaper, [built, *arguments], env) as terminal:
            assert terminal.wait() in {0, 3}, terminal.screen
            assert "ctl itself" not in terminal.screen


def test_many_first_runs_at_a_time(elsewhere: Elsewhere) -> None:
    with ThreadPoolExecutor() as pool:
        runs = list(pool.map(lambda _: elsewhere.run("--version"), range(6)))
    assert {(done.returncode, done.stderr) for done in runs} == {(0, "")}
    assert len(elsewhere.unpacked()) == 1, "and nothing is left of those that were not the first"


@pytest.mark.parametrize("umask", ["000", "077"])
def test_the_umask_of_the_first_run_does_not_matter(elsewhere: Elsewhere, umask: str) -> None:
    """ctl itself refuses a definition that others may write to, and other users are to read what root has unpacked."""
    chosen = elsewhere.cache / "a" / "ctl"
    script = f'umask {umask}; exec "$0" status --run-dir {elsewhere.sandbox.run_dir}'
    env = {"PATH": PATH, "CTL_CACHE_DIR": str(chosen), "CTL_CONF": ""}
    subprocess.run(["/bin/sh", "-c", script, elsewhere.file], env=env, check=True, capture_output=True)
    modes = {path.stat().st_mode & 0o777 for path in (chosen, *chosen.glob("*/ctl/_conf/services/*"))}
    assert modes == {0o755, 0o644}


def test_what_a_killed_first_run_has_left_is_removed_one_day(elsewhere: Elsewhere) -> None:
    elsewhere.run("--version")
    (build,) = elsewhere.unpacked()
    build.rename(build.with_name(".new-given-up"))
    build.with_name(".new-under-way").mkdir()
    os.utime(build.with_name(".new-given-up"), (0, 0))
    assert elsewhere.run("--version").returncode == 0
    assert {path.name for path in elsewhere.unpacked()} == {build.name, ".new-under-way"}


def test_one_that_is_not_whole_any_more_says_what_mends_it(elsewhere: Elsewhere) -> None:
    elsewhere.run("--version")
    (build,) = elsewhere.unpacked()
    shutil.rmtree(build / "typer")
    _assert_refused(elsewhere.run("--version"), f"No module named 'typer'.*remove /var/cache/ctl/{build.name}")


def allow_by_acl(place: Path, uid: int) -> bool:
    """Let that user write there, as its mode does not show; False where the machine has no such lists."""
    allow = ["setfacl", "-m", f"u:{uid}:rwx", str(place)]
    return shutil.which("setfacl") is not None and subprocess.run(allow, check=False).returncode == 0


def test_a_place_that_others_prepared_is_refused(elsewhere: Elsewhere) -> None:
    place = elsewhere.cache / "ctl"
    elsewhere.run("--version")
    for uid, mode in ((PLAIN_UID, 0o700), (0, 0o777)):
        os.chown(place, uid, uid)
        place.chmod(mode)
        _assert_refused(elsewhere.run("--version"), f"/var/cache/ctl: .*owner {uid}, mode {mode:04o}")
    os.chown(place, 0, 0)
    place.chmod(0o700)
    assert elsewhere.run("--version").returncode == 0
    if allow_by_acl(place, PLAIN_UID):
        _assert_refused(elsewhere.run("--version"), "can be written by others")
        subprocess.run(["setfacl", "-b", place], check=True)
        place.chmod(0o700)
    elsewhere.cache.chmod(0o777)
    _assert_refused(elsewhere.run("--version"), "can be written by others")


def test_without_a_place_it_names_what_would_help(elsewhere: Elsewhere, plain_sandbox: Sandbox) -> None:
    nowhere = {"HOME": "/proc/none"}
    _assert_refused(elsewhere.run("--version", env=nowhere, user=PLAIN_UID), "/proc/none/.cache/ctl: .*CTL_CACHE_DIR")
    chosen = {"CTL_CACHE_DIR": str(plain_sandbox.home / "cache")}
    assert elsewhere.run("--version", env=nowhere | chosen, user=PLAIN_UID).returncode == 0


def test_a_damaged_copy_is_one_line(elsewhere: Elsewhere) -> None:
    content = bytearray(elsewhere.file.read_bytes())
    content[len(content) // 2] ^= 1
    elsewhere.file.write_bytes(content)
    _assert_refused(elsewhere.run("--version"), "damaged")
    assert not list(elsewhere.cache.iterdir())


def test_no_other_ctl_takes_it_for_the_service_that_it_names(elsewhere: Elsewhere) -> None:
    """Its argv holds the names of services, which their rules may look for."""
    sandbox = elsewhere.sandbox
    sandbox.service("web", "polite", match={"cmdline": f"{sandbox.run_dir} "})
    waiting = sandbox.reaper.start(
        [elsewhere.file, "wait", "web", "--run-dir", sandbox.run_dir, "--timeout", "60"],
        env=sandbox.environment({"CTL_CACHE_DIR": str(elsewhere.cache / "own")}), ready=None,
    )  # fmt: skip
    wait_until(lambda: "-X" in proc.argv(waiting.pid), "it is Python")
    sandbox.ctl("status", "web").expect(3)
    sandbox.ctl("start", "web").expect(0)
    assert waiting.wait(30) == 0


def test_the_same_input_gives_the_same_bytes(built: Path, public_dir: Path) -> None:
    again = public_dir / "again"
    archive.build(ROOT, again)
    assert again.read_bytes() == built.read_bytes()


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ({"PYTHON": "3.9"}, f"it is built for Python 3.9, and {sys.executable} is 3."),
        ({"SUFFIX": ".cpython-311-s390x-linux-gnu.so"}, "it is built for *.cpython-311-s390x-linux-gnu.so, and "),
    ],
)
def test_another_python_is_one_line(public_dir: Path, names: dict[str, str], says: str) -> None:
    right = {"PYTHON": f"3.{sys.version_info[1]}", "SUFFIX": ".so", "BUILD": "b", "DIGEST": "d"}
    launcher = public_dir / "launcher.py"
    launcher.write_bytes(archive.filled(HERE / "launcher.py", right | names))
    done = subprocess.run([sys.executable, "-I", launcher], capture_output=True, text=True, check=False)
    _assert_refused(done, "")
    assert done.stderr.startswith(f"ctl: {launcher}: {says}")


def test_no_python_at_all_is_one_line(public_dir: Path) -> None:
    header = public_dir / "ctl"
    text = archive.filled(HERE / "header.sh", {"PYTHON": "3.11"}).decode()
    header.write_text(text.replace("/usr/local/bin /usr/bin", "/nowhere"))
    done = subprocess.run(["/bin/sh", header], capture_output=True, text=True, check=False, env={"PATH": "/none:bin"})
    _assert_refused(done, "it needs Python 3.11, and there is no python3 in PATH=/none:bin")


def test_an_old_python_understands_the_launcher_up_to_its_check() -> None:
    ast.parse((HERE / "launcher.py").read_text(), feature_version=(3, 7))


def _assert_refused(done: subprocess.CompletedProcess[str], pattern: str) -> None:
    assert done.returncode == 199, done
    assert done.stdout == ""
    assert re.fullmatch(rf"ctl: .*{pattern}.*\n", done.stderr), done
