"""What root starts outside of a unit has a scope of its own: on a host of its own with systemd as PID 1."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from support import toml
from support.programs import Programs
from support.sandbox import ROOT
from support.systemd_host import SystemdHost
from support.waiting import wait_file, wait_until

pytestmark = [pytest.mark.systemd, pytest.mark.xdist_group("scopes")]

PLACES: Final = ("--conf", "/etc/ctl", "--run-dir", "/run/ctl")
SLEEP: Final = ("/bin/sleep", "1000")
ELSEWHERE: Final = "echo $$ >/sys/fs/cgroup/system.slice/{scope}/cgroup.procs; exec setsid sleep 2000"


@pytest.fixture(scope="module")
def host(programs: Programs) -> Iterator[SystemdHost]:
    with SystemdHost([ROOT, programs.build_dir]) as host:
        yield host


@pytest.fixture(autouse=True)
def left_clean(host: SystemdHost) -> Iterator[None]:
    """No test leaves a service to the next."""
    yield
    ctl(host, "kill", "--all")


def define(host: SystemdHost, target: str, *command: str, **tables: Any) -> None:
    definition = {"start": {"command": list(command or SLEEP)}, "ready": {"settle": 0}, **tables}
    host.write(f"/etc/ctl/services/{target}.toml", toml.dump(definition))


def ctl(host: SystemdHost, *args: str, before: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    return host.run(*before, ROOT / "bin" / "ctl", *args, *PLACES)


def start(host: SystemdHost, target: str, *before: str) -> dict[str, Any]:
    """Its run, as it is recorded."""
    done = ctl(host, "start", target, before=before)
    assert done.returncode == 0, done.stdout + done.stderr
    run: dict[str, Any] = json.loads(host.path(f"/run/ctl/{target}.json").read_text(encoding="utf-8"))["run"]
    return run


def alive(host: SystemdHost, pid: int) -> bool:
    return host.path(f"/proc/{pid}/stat").exists()


def test_a_run_has_a_scope_that_systemd_ends_by_the_schedule(host: SystemdHost) -> None:
    ends = ["sh", "-c", "trap 'echo got INT >/run/got; exit' INT; while :; do sleep 0.05; done"]
    define(host, "we-b@", *ends, stop={"schedule": "INT/7/KILL/5"}, ready={"settle": 0.2})
    run = start(host, "we-b@1")
    escaped = host.run("systemd-escape", "we-b@1").stdout.strip()
    assert run["scope"] == f"ctl-{escaped}-{run['run_id']}.scope"
    shown = host.properties(run["scope"])
    assert (shown["KillMode"], shown["KillSignal"], shown["TimeoutStopUSec"]) == ("control-group", "2", "7s")
    assert (shown["CollectMode"], shown["OOMPolicy"]) == ("inactive-or-failed", "continue")
    assert host.processes(run["scope"])[0] == run["identity"]["pid"]
    host.systemctl("daemon-reexec")
    assert ctl(host, "status", "we-b@1").returncode == 0

    host.systemctl("stop", run["scope"])
    assert host.path("/run/got").read_text(encoding="utf-8") == "got INT\n"
    assert ctl(host, "status", "we-b@1").returncode != 0
    assert host.properties(run["scope"])["LoadState"] == "not-found", "nothing of it is left"


def test_a_shutdown_ends_it_by_its_schedule(programs: Programs, tmp_path: Path) -> None:
    ends = f"trap 'sleep 0.3; echo got INT >{tmp_path}/got; exit' INT; while :; do sleep 0.05; done"
    with SystemdHost([ROOT, programs.build_dir, tmp_path]) as host:
        define(host, "web", "sh", "-c", ends, stop={"schedule": "INT/7/KILL/5"}, ready={"settle": 0.2})
        start(host, "web")
        done = host.run("systemctl", "poweroff", "--no-block")
        assert done.returncode == 0, done.stderr
        wait_file(tmp_path / "got")


def test_it_outlives_the_session_that_it_is_started_in(host: SystemdHost) -> None:
    define(host, "web")
    session = host.path("/sys/fs/cgroup/system.slice/session-1.scope")
    run = start(host, "web", "systemd-run", "--quiet", "--scope", "--unit=session-1", "--property=SendSIGHUP=yes")
    wait_until(lambda: not session.exists(), "the session is over")
    assert alive(host, run["identity"]["pid"])
    assert ctl(host, "stop", "web").returncode == 0


def test_what_a_unit_starts_stays_in_the_unit(host: SystemdHost) -> None:
    define(host, "web")
    forking = ("systemd-run", "--quiet", "--collect", "--property=Type=forking", "--unit=own")
    # Not by ctl itself, but by a script that the unit calls.
    run = start(host, "web", *forking, "sh", "-c", '"$@"; exit $?', "sh")
    assert run["scope"] is None
    assert "own.service" in host.path(f"/proc/{run['identity']['pid']}/cgroup").read_text(encoding="utf-8")


def test_who_is_in_the_scope_is_a_member_and_who_has_left_it_still_may_be(host: SystemdHost) -> None:
    """The first has no other tie to the run, and outlives its main process; the second has left the scope."""
    leaves = "echo 0 >/sys/fs/cgroup/cgroup.procs; exec sleep 1002"
    define(host, "web", "sh", "-c", f"sh -c '{leaves}' & exec sleep 1000", stop={"kill_mode": "process"})
    run = start(host, "web")
    joins = ELSEWHERE.format(scope=run["scope"].replace("\\", "\\\\"))
    host.run("systemd-run", "--quiet", "--collect", "sh", "-c", joins.replace("$$", "$$$$"))
    wait_until(lambda: len(host.processes(run["scope"])) == 2, "the other has joined")
    (other,) = set(host.processes(run["scope"])) - {run["identity"]["pid"]}
    left = int(host.run("pgrep", "-fx", "sleep 1002").stdout)
    assert left not in host.processes(run["scope"])

    done = ctl(host, "kill", "web", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    wait_until(lambda: not alive(host, other) and not alive(host, left), "both have ended")


def test_a_scope_of_the_same_name_that_is_another_proves_nothing(host: SystemdHost) -> None:
    define(host, "web")
    run = start(host, "web")
    file = host.path("/run/ctl/web.json")
    state = json.loads(file.read_text(encoding="utf-8"))
    state["run"]["scope_inode"] += 1
    file.write_text(json.dumps(state), encoding="utf-8")
    joins = ELSEWHERE.format(scope=run["scope"])
    host.run("systemd-run", "--quiet", "--collect", "sh", "-c", joins.replace("$$", "$$$$"))
    wait_until(lambda: len(host.processes(run["scope"])) == 2, "the other has joined")
    (other,) = set(host.processes(run["scope"])) - {run["identity"]["pid"]}
    assert ctl(host, "kill", "web").returncode == 0
    assert alive(host, other)
    host.systemctl("stop", run["scope"])


def test_a_group_of_that_name_elsewhere_proves_nothing(host: SystemdHost) -> None:
    """As a user can make one in the part of the tree that is its own."""
    define(host, "web")
    run = start(host, "web")
    group = f"/sys/fs/cgroup/user.slice/{run['scope']}"
    joins = f"mkdir -p '{group}' && echo 0 >'{group}/cgroup.procs' && exec sleep 2000"
    host.run("systemd-run", "--quiet", "--collect", "sh", "-c", joins.replace("\\", "\\\\"))
    wait_until(lambda: bool(host.run("cat", f"{group}/cgroup.procs").stdout), "the other is in it")
    code = (
        "import sys; sys.path[:0] = sys.argv[1:2]; from ctl.system.groups import Group;"
        "group = Group(sys.argv[2], int(sys.argv[3])); print(*[group.holds(int(pid)) for pid in sys.argv[4:]])"
    )
    other = host.run("cat", f"{group}/cgroup.procs").stdout.strip()
    asked = (run["scope"], str(run["scope_inode"]), str(run["identity"]["pid"]), other)
    done = host.run(ROOT / ".venv" / "bin" / "python", "-c", code, ROOT / "lib", *asked)
    assert done.stdout.split() == ["True", "False"], done.stderr


def test_systemd_does_not_answer(host: SystemdHost) -> None:
    """The start goes on without a scope, and of many only one says so."""
    define(host, "web")
    define(host, "worker@")
    os.kill(host.leader, signal.SIGSTOP)
    try:
        done = ctl(host, "start", "web", "worker@1", "worker@2")
    finally:
        os.kill(host.leader, signal.SIGCONT)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert len(re.findall("does not answer", re.sub(r"\s+", " ", said))) == 1, said
    assert "started" in said


def test_another_hosts_systemd_is_not_asked(host: SystemdHost) -> None:
    """As in a container to which the socket was given: its processes have other pids there."""
    define(host, "web")
    inside = 'mount -t proc proc /proc && exec "$@"'
    done = ctl(host, "start", "web", before=("unshare", "--pid", "--fork", "--mount", "sh", "-c", inside, "sh"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "systemd" not in done.stdout + done.stderr, "nothing was asked, so nothing is missing"
    assert json.loads(host.path("/run/ctl/web.json").read_text(encoding="utf-8"))["run"]["scope"] is None


def test_doctor_tells_what_a_shutdown_skips(host: SystemdHost) -> None:
    define(host, "web", stop={"before": [["/bin/true"]]})
    start(host, "web")
    found = json.loads(ctl(host, "doctor", "web", "--json").stdout)["results"][0]["findings"]
    (finding,) = [its for its in found if its["id"] == "shutdown-skips"]
    assert "stop.before" in finding["what"]
    assert "ctl@web.service" in finding["fix"]
