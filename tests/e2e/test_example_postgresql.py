"""conf/examples/postgresql.toml and postgresql-forking.toml with the real PostgreSQL, in Debian's layout."""

from __future__ import annotations

import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from support import proc
from support.bystander import assert_untouched, start_bystander
from support.examples import assert_adopted, assert_full_circle, define, uid_of, user_of, wait_reaped
from support.reaper import MARK
from support.requires import requires
from support.sandbox import Sandbox
from support.waiting import wait_until

pytestmark = pytest.mark.xdist_group("postgresql")

USER = user_of("postgres")
LIB = Path("/usr/lib/postgresql")


@dataclass
class Cluster:
    """A cluster of Debian's kind at another place, and how to find it there."""

    version: str
    root: Path

    @property
    def conf(self) -> Path:
        return self.root / "etc"

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def sockets(self) -> Path:
        return self.root / "run"

    @property
    def pid_file(self) -> Path:
        return self.sockets / f"{self.version}-main.pid"

    @property
    def settings(self) -> Path:
        return self.conf / self.version / "main" / "postgresql.conf"

    def replacements(self) -> dict[str, str]:
        return {
            "/var/lib/postgresql/15/main": str(self.data),
            '"/var/lib/postgresql"': f'"{self.root}"',
            "/usr/lib/postgresql/15": f"{LIB}/{self.version}",
            'user = "postgres"': f'user = "{USER}"',
        }

    def client(self) -> list[str]:
        return ["psql", "-h", str(self.sockets), "-p", "5432", "-U", USER, "-d", "postgres", "-Atqc"]

    def psql(self, sql: str) -> str:
        done = subprocess.run([*self.client(), sql], capture_output=True, text=True, timeout=60, check=False)
        return str(done.stdout or done.stderr).strip()

    def processes(self) -> list[int]:
        """All that work in the data directory, whatever they call themselves."""
        return [pid for pid in proc.pids() if _directory(pid) == str(self.data) and proc.alive(pid)]


def _directory(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/cwd")
    except OSError:
        return ""


@pytest.fixture(scope="module")
def cluster(session_dir: Path) -> Cluster:
    requires("pg_createcluster", "pg_ctlcluster", "psql")
    versions = sorted((path.name for path in LIB.iterdir() if (path / "bin" / "postgres").exists()), key=int)
    cluster = Cluster(versions[-1], session_dir / "postgresql")
    for directory in (cluster.root, cluster.conf, cluster.sockets):
        directory.mkdir()
        if os.geteuid() == 0:
            os.chown(directory, pwd.getpwnam(USER).pw_uid, pwd.getpwnam(USER).pw_gid)
    create = [
        *("pg_createcluster", "-u", USER, "-d", str(cluster.data), "-s", str(cluster.sockets)),
        *("-l", str(cluster.root / "log")),
        *("-p", "5432", "--start-conf", "manual", cluster.version, "main", "--", "-A", "trust", "--no-sync"),
    ]
    environment = {**os.environ, "PG_CLUSTER_CONF_ROOT": str(cluster.conf)}
    done = subprocess.run(create, env=environment, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    # Reached by its socket alone, so that its port is nobody else's; and no test loses power.
    with cluster.settings.open("a", encoding="utf-8") as settings:
        settings.write(f"external_pid_file = '{cluster.pid_file}'\nlisten_addresses = ''\nfsync = off\n")
    return cluster


def test_postgresql(sandbox: Sandbox, cluster: Cluster) -> None:
    here = {"/etc/postgresql/15/main/postgresql.conf": str(cluster.settings)}
    command = define(sandbox, "postgresql", cluster.replacements() | here)
    sandbox.ctl("start", "postgresql").expect(0)
    assert cluster.psql("CREATE TABLE kept AS SELECT 42 AS answer") == ""
    assert cluster.psql("SHOW work_mem") == "4MB"
    pid = sandbox.pid("postgresql")
    with cluster.settings.open("a", encoding="utf-8") as settings:
        settings.write("work_mem = 5MB\n")
    assert sandbox.ctl("reload", "postgresql", "--json").expect(0).one["pid"] == pid
    wait_until(lambda: cluster.psql("SHOW work_mem") == "5MB", "it has taken in its configuration")
    # A client that stays is disconnected; the smart shutdown would wait for it.
    client = sandbox.reaper.start(
        [*cluster.client(), "SELECT 'ready (pid:'", "-c", "SELECT pg_sleep(1000)"], stderr=subprocess.DEVNULL
    )
    stopped = sandbox.ctl("stop", "postgresql", "--json").expect(0).one
    assert [sent["signal"] for sent in stopped["signals"]] == ["INT"]
    assert client.wait() != 0
    assert cluster.processes() == []
    wait_reaped(assert_full_circle(sandbox, "postgresql"))
    assert cluster.processes() == [], "not one backend survives a kill"

    words = start_bystander(sandbox.reaper, sandbox.programs("recorder", "-", *command))
    by_hand = sandbox.reaper.start(command, user=uid_of(USER), ready=None, stderr=subprocess.DEVNULL, cwd="/")
    wait_until(lambda: cluster.psql("SELECT answer FROM kept") == "42", "recovered from the kill, it answers", 60)
    assert_adopted(sandbox, "postgresql", by_hand.pid)
    assert by_hand.wait() == 0, "it has ended in its own way"
    assert_untouched(words)


def test_postgresql_by_pg_ctlcluster(sandbox: Sandbox, cluster: Cluster) -> None:
    # What the server inherits is said here, and nowhere else: so the reaper finds it.
    environment = cluster.settings.with_name("environment")
    environment.write_text(f"{MARK} = '{sandbox.reaper.mark}'\n", encoding="utf-8")
    here = {
        "/run/postgresql/15-main.pid": str(cluster.pid_file),
        "--host=/run/postgresql": f"--host={cluster.sockets}",
        '"15", "main"': f'"{cluster.version}", "main"',
        'type = "forking"': f'type = "forking"\nenvironment = {{ PG_CLUSTER_CONF_ROOT = "{cluster.conf}" }}',
    }
    define(sandbox, "postgresql-forking", cluster.replacements() | here)
    wait_reaped(assert_full_circle(sandbox, "postgresql-forking"))
    assert cluster.processes() == []
    assert not cluster.pid_file.exists(), "ctl has removed what the killed server could not"
    assert (cluster.data / "postmaster.pid").exists(), "and left alone what is for the server to judge"

    by_hand = sandbox.reaper.start(
        [
            *(f"{LIB}/{cluster.version}/bin/pg_ctl", "start", "-s", "-D", cluster.data, "-l", cluster.root / "log"),
            *("-o", f"-c config_file={cluster.settings}"),
        ],
        user=uid_of(USER), ready=None, cwd="/",
    )  # fmt: skip
    assert by_hand.wait() == 0
    pid = int(cluster.pid_file.read_text())
    sandbox.reaper.adopt(pid)
    status = sandbox.ctl("status", "postgresql-forking", "--json").expect(0).one
    assert [(claim["source"], claim["verdict"]) for claim in status["claim"]] == [("stop.pid_file", "holds")]
    assert sandbox.ctl("reload", "postgresql-forking", "--json").expect(0).one["pid"] == pid
    assert_adopted(sandbox, "postgresql-forking", pid)
    assert not cluster.pid_file.exists()
    assert cluster.processes() == []
