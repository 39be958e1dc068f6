"""Doctor on a host with a real systemd: what it says will not work does not, and what it names fixes it."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from support.programs import Programs
from support.reaper import Reaper
from support.sandbox import CTL, Json, Sandbox
from support.systemd_host import SystemdHost
from support.waiting import wait_until

pytestmark = [pytest.mark.systemd, pytest.mark.xdist_group("doctor")]


class Ward:
    """A sandbox whose ctl runs in the host, and the units that call it there."""

    def __init__(self, host: SystemdHost, root: Path, reaper: Reaper, programs: Programs) -> None:
        root.mkdir()
        self.host, self.sandbox = host, Sandbox(root, reaper, programs)
        self.paths = {"CTL_CONF": str(self.sandbox.conf), "CTL_RUN_DIR": str(self.sandbox.run_dir)}

    def unit(self, name: str, **settings: str) -> str:
        """A unit whose settings come after the usual ones; `web` is its service. Its name."""
        lines = {"Environment": " ".join(f"{key}={value}" for key, value in self.paths.items()), **settings}
        text = "".join(f"{key}={value}\n" for key, value in lines.items())
        Path(f"/proc/{self.host.leader}/root/etc/systemd/system/{name}.service").write_text(
            f"[Service]\n{text}", encoding="utf-8"
        )
        return f"{name}.service"

    def reload(self) -> None:
        assert self.host.run("systemctl", "daemon-reload").returncode == 0

    def ctl(self, *args: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        return self.host.run(CTL, *args, env={**self.paths, **(env or {})})

    def doctor(self, *names: str, rc: int) -> dict[str, Json]:
        """By target, the host as "": each with its findings by id."""
        done = self.ctl("doctor", *names, "--json")
        assert done.returncode == rc, f"{done}"
        results = json.loads(done.stdout)["results"]
        return {one["target"] or "": {**one, "by": {its["id"]: its for its in one["findings"]}} for one in results}

    def fix(self, finding: Json) -> None:
        """Does what the finding says, word for word: a file with its lines, or a command."""
        fix = finding["fix"]
        first, _, rest = fix.partition("\n")
        if first.startswith("# /"):
            path = first.removeprefix("# ")
            script = 'mkdir -p "${1%/*}" && printf "%s\\n" "$2" >"$1"'
            done = self.host.run("sh", "-c", script, "sh", path, rest)
        else:
            done = self.host.run("sh", "-c", fix)
        assert done.returncode == 0, f"{fix}: {done.stderr}"

    def systemctl(self, *args: str) -> subprocess.CompletedProcess[str]:
        return self.host.run("systemctl", *args)

    def alive(self, name: str = "web") -> bool:
        return self.ctl("status", name).returncode == 0


@pytest.fixture
def ward(host: SystemdHost, base: Path, reaper: Reaper, programs: Programs, request: pytest.FixtureRequest) -> Ward:
    return Ward(host, base / request.node.name.partition("[")[0], reaper, programs)


CALLS = {"ExecStart": f"{CTL} run web", "ExecStop": f"{CTL} stop web"}
FITS = {"Type": "exec", "NotifyAccess": "exec", **CALLS}
# Of each unit: what doctor must find, how grave it is, and the settings that make it so.
ILL: dict[str, tuple[str, str, dict[str, str]]] = {
    "type-of-run": ("type", "error", {**FITS, "Type": "forking"}),
    "type-notify": ("type", "error", {**FITS, "Type": "notify"}),
    "type-of-start": ("type", "error", {**FITS, "ExecStart": f"{CTL} start web"}),
    "oneshot": ("type", "error", {**FITS, "Type": "oneshot", "ExecStart": f"{CTL} start web"}),
    "guessed": ("pid-file-missing", "note", {**FITS, "Type": "forking", "ExecStart": f"{CTL} start web"}),
    "start-timeout": (
        "start-timeout", "warning",
        {**FITS, "Type": "oneshot", "RemainAfterExit": "yes", "NotifyAccess": "none", "ExecStart": f"{CTL} start web",
         "TimeoutStartSec": "9"},
    ),
    "too-short": ("stop-timeout", "error", {**FITS, "NotifyAccess": "main", "TimeoutStopSec": "9"}),
    "of-a-shell": (
        "stop-timeout", "error",
        {**FITS, "NotifyAccess": "none", "ExecStop": f"/bin/sh -c '{CTL} stop web --grace 600; true'"},
    ),
    "unheard": ("notify-access", "note", {**FITS, "NotifyAccess": "none"}),
    "no-stop": ("stop-without-ctl", "warning", {**FITS, "ExecStop": "", "KillSignal": "SIGINT"}),
    "no-kill": ("kill-mode", "warning", {**FITS, "KillMode": "none"}),
    "no-sigkill": ("send-sigkill", "note", {**FITS, "SendSIGKILL": "no"}),
    "other-pid-file": ("pid-file-differs", "error", {**FITS, "Type": "forking", "PIDFile": "/run/gateway.pid"}),
    "pid-file-nowhere": ("pid-file-directory", "warning", {**FITS, "PIDFile": "/run/no/such/web.pid"}),
    "restarted": ("restart", "note", {**FITS, "Restart": "always"}),
    "proc-subset": ("proc-subset", "error", {**FITS, "ProcSubset": "pid"}),
    "protect-proc": ("protect-proc", "warning", {**FITS, "ProtectProc": "invisible", "User": "nobody"}),
    "strict": ("run-dir-read-only", "error", {**FITS, "ProtectSystem": "strict"}),
    "reloads": ("reload", "note", {**FITS, "ExecReload": f"{CTL} reload web"}),
    "everything": ("stops-everything", "error", {**FITS, "ExecStop": f"{CTL} stop"}),
    "user": ("user", "error", {**FITS, "ExecStart": f"{CTL} run daemon", "ExecStop": "", "User": "nobody"}),
    "not-its-run-dir": ("run-dir", "error", {**FITS, "User": "nobody"}),
    "stops-as-nobody": ("run-dir", "warning", {**FITS, "ExecStart": "/bin/sleep 9", "User": "nobody"}),
    "leaves": ("kill-mode", "warning", {**FITS, "ExecStart": f"{CTL} run left", "ExecStop": f"{CTL} stop left"}),
    "unknown": ("unknown-service", "error", {**FITS, "ExecStart": f"{CTL} run wbe"}),
    "elsewhere": ("other-conf", "note", {**FITS, "ExecStart": f"{CTL} run web --conf /etc/other"}),
}  # fmt: skip
UNMENDED = {"restarted", "everything", "unknown", "elsewhere", "reloads"}  # by more than a drop-in, or not at all


def test_each_fix_of_a_unit_fixes_it(ward: Ward) -> None:
    """All at once: two looks for two dozen units. What is not asked for, is not found either."""
    ward.sandbox.service("web", "polite")
    ward.sandbox.service("daemon", "polite", start={"user": "daemon"})
    ward.sandbox.service("left", "polite", stop={"kill_mode": "process"})
    units = {name: ward.unit(f"ill-{name}", **settings) for name, (_, _, settings) in ILL.items()}
    sound = ward.unit("ill-not-at-all", **FITS)
    ward.reload()
    found = ward.doctor(rc=1)
    assert (found[sound]["ok"], found[sound]["findings"]) == (True, [])
    assert "nginx.service" not in found, "it calls no ctl"
    for name, unit in units.items():
        wanted, severity, _ = ILL[name]
        assert wanted in found[unit]["by"], f"{name}: {found[unit]['findings']}"
        assert found[unit]["by"][wanted]["severity"] == severity, name
        assert found[unit]["ok"] is (severity == "note" and len(found[unit]["findings"]) == 1), name

    for name, unit in units.items():
        if name not in UNMENDED:
            for finding in found[unit]["findings"]:
                ward.fix(finding)
    ward.reload()
    later = ward.doctor(*(unit for name, unit in units.items() if name not in UNMENDED), rc=0)
    assert {unit: one["findings"] for unit, one in later.items() if one["findings"]} == {}


def test_ctl_start_in_a_unit_of_the_wrong_type(ward: Ward) -> None:
    ward.sandbox.service("web", "polite")
    unit = ward.unit("wrong-type", ExecStart=f"{CTL} start web", ExecStop=f"{CTL} stop web", Type="exec")
    ward.reload()
    ward.systemctl("start", unit)
    wait_until(lambda: not ward.alive(), "systemd has killed what ctl start had started")
    ward.systemctl("stop", unit)
    ward.fix(ward.doctor(unit, rc=1)[unit]["by"]["type"])
    ward.reload()
    assert ward.systemctl("start", unit).returncode == 0
    assert ward.host.properties(unit)["MainPID"] == ward.host.run("cat", ward.sandbox.pid_file("web")).stdout.strip()
    assert ward.alive()
    assert ward.systemctl("stop", unit).returncode == 0
    assert not ward.alive()


def test_a_stop_that_takes_longer_than_systemd_waits(ward: Ward) -> None:
    ward.sandbox.service("web", "slow_stop", 3, stop={"schedule": "TERM/20/KILL/5"})
    unit = ward.unit("too-slow", **{**CALLS, "Type": "exec", "TimeoutStopSec": "1"})
    ward.reload()
    assert ward.systemctl("start", unit).returncode == 0
    wait_until(ward.alive, "it runs")
    ward.systemctl("stop", unit)
    assert ward.host.properties(unit)["Result"] == "timeout"
    ward.fix(ward.doctor(unit, rc=1)[unit]["by"]["stop-timeout"])
    ward.reload()
    ward.systemctl("reset-failed", unit)
    assert ward.systemctl("start", unit).returncode == 0
    wait_until(ward.alive, "it runs")
    assert ward.systemctl("stop", unit).returncode == 0
    assert ward.host.properties(unit)["Result"] == "success"


def test_a_service_in_the_control_group_of_another_unit(ward: Ward) -> None:
    """What a job of cron, or a deployment, has started: the next restart of that ends it."""
    ward.sandbox.service("web", "polite")
    script = ward.sandbox.root / "job"
    script.write_text(f"#!/bin/sh\n{CTL} $VERB web\nexec sleep infinity\n", encoding="utf-8")
    script.chmod(0o755)
    paths = " ".join(f"{key}={value}" for key, value in ward.paths.items())
    unit = ward.unit("a-job", ExecStart=str(script), Type="exec", Environment=f"{paths} VERB=start")
    ward.reload()
    assert ward.systemctl("start", unit).returncode == 0
    wait_until(lambda: ward.ctl("status", "web").returncode == 0, "it runs")
    found = ward.doctor("web", rc=1)
    assert found["web"]["facts"]["unit"] == unit
    assert found["web"]["by"]["in-other-unit"]["severity"] == "warning"
    assert unit in found
    assert ward.systemctl("stop", unit).returncode == 0
    assert not ward.alive()


def test_a_target_its_units_and_a_unit_by_name(ward: Ward) -> None:
    ward.sandbox.service("web", "polite")
    ward.sandbox.service("db", "polite")
    unit = ward.unit("of-web", **FITS)
    other = ward.unit("of-db", **{**FITS, "ExecStart": f"{CTL} run db", "ExecStop": f"{CTL} stop db"})
    ward.unit("each@", **{**FITS, "ExecStart": f"{CTL} run %i", "ExecStop": f"{CTL} stop %i"})
    ward.reload()
    assert set(ward.doctor("web", rc=0)) == {"web", unit, "each@web.service"}
    assert set(ward.doctor(unit, rc=0)) == {unit}
    assert set(ward.doctor(unit, "db", rc=0)) == {unit, "db", other, "each@db.service"}
    assert ward.ctl("start", "web").returncode == 0
    outside = ward.doctor("web", rc=0)[unit]["by"]["outside-unit"]
    ward.fix({"fix": outside["fix"].replace("ctl", f"env CTL_CONF={ward.sandbox.conf} {CTL}", 1)})
    assert ward.doctor("web", rc=0)[unit]["findings"] == []
    assert ward.systemctl("stop", unit).returncode == 0
    unknown = ward.ctl("doctor", "of-wbe.service")
    assert unknown.returncode == 5
    assert (
        "ctl: of-wbe.service: no such unit and no such service; to fix: write of-web.service instead" in unknown.stderr
    )


def test_a_pid_file_that_systemd_refuses(ward: Ward) -> None:
    ward.sandbox.service("web", "polite")
    ward.sandbox.service("stranger", "polite")
    directory = ward.sandbox.root / "pids"
    directory.mkdir()
    made_by_ctl = ward.unit("made-by-ctl", **{**FITS, "PIDFile": f"{ward.sandbox.run_dir}/web.pid"})
    unit = ward.unit("refused", ExecStart="/bin/sleep 1000", Type="forking", PIDFile=f"{directory}/web.pid")
    ward.reload()
    ward.sandbox.run_dir.rmdir()
    assert [one["findings"] for one in ward.doctor(unit, made_by_ctl, rc=0).values()] == [[], []]
    assert ward.ctl("start", "stranger").returncode == 0
    stranger = ward.host.run("cat", ward.sandbox.pid_file("stranger")).stdout.strip()
    for name, content, owner, wanted in (
        ("ended", "4194303", 0, "has ended"),
        ("init", "1", 0, "no service's process id"),
        ("stranger", stranger, 65534, "outside of its control group"),
    ):
        ward.host.run("sh", "-c", f"echo {content} >{directory}/web.pid; chown {owner} {directory}/web.pid")
        found = ward.doctor(unit, rc=1)[unit]["by"]["pid-file-refused"]
        assert wanted in found["what"], name
        ward.fix(found)
        assert ward.doctor(unit, rc=0)[unit]["findings"] == [], name
    ward.host.run("chown", "65534", directory)
    found = ward.doctor(unit, rc=1)[unit]["by"]["pid-file-directory"]
    ward.fix(found)
    assert ward.doctor(unit, rc=0)[unit]["findings"] == []


# --------------------------------------------------------------------------------------------------------------- logins


@pytest.fixture
def anna(host: SystemdHost) -> str:
    """A user with a home, who has never logged in."""
    if not Path("/etc/pam.d/common-session").exists() or "pam_systemd" not in Path(
        "/etc/pam.d/common-session"
    ).read_text(encoding="utf-8"):
        pytest.skip("needs pam_systemd")
    if host.run("id", "anna").returncode:
        assert host.run("useradd", "-m", "anna").returncode == 0
    return "anna"


def let_logind(host: SystemdHost, kill: str, excluded: str = "") -> None:
    """logind with KillUserProcesses= of that value; for root only where another user is excluded."""
    directory = Path(f"/proc/{host.leader}/root/etc/systemd/logind.conf.d")
    directory.mkdir(exist_ok=True)
    (directory / "test.conf").write_text(
        f"[Login]\nKillUserProcesses={kill}\nKillExcludeUsers={excluded}\n", encoding="utf-8"
    )
    assert host.run("systemctl", "start", "dbus").returncode == 0
    assert host.run("systemctl", "restart", "systemd-logind").returncode == 0


def login(host: SystemdHost, user: str, script: str) -> str:
    """A session of that user from beginning to end, as logind sees it; what the script prints."""
    options = "--conf ~/conf --run-dir ~/run"
    wrapped = f'ctl() {{ verb=$1; shift; {shlex.quote(str(CTL))} "$verb" "$@" {options}; }}\n{script}'
    done = host.run("su", "-l", user, "-c", wrapped)
    wait_until(lambda: not open_sessions(host), "the session is over")
    return done.stdout + done.stderr


def open_sessions(host: SystemdHost) -> list[str]:
    """One that is closing is over: logind lists it for as long as a process of it is left."""
    listed = [line.split()[0] for line in host.run("loginctl", "list-sessions", "--no-legend").stdout.splitlines()]
    shown = host.run("loginctl", "show-session", "--property=State", "--value", *listed).stdout if listed else ""
    return [state for state in shown.split() if state != "closing"]


def sleeps(host: SystemdHost, user: str) -> bool:
    return host.run("pgrep", "-u", user, "-fx", "/bin/sleep 1000").returncode == 0


def test_what_is_started_in_a_login_outlives_it_where_logind_lets_it(host: SystemdHost, anna: str) -> None:
    define = 'mkdir -p conf/services; echo \'start.command = ["/bin/sleep", "1000"]\' >conf/services/web.toml\n'
    let_logind(host, "no")
    said = login(host, anna, f"{define} ctl start web; ctl doctor web; cat /proc/$(cat run/web.pid)/cgroup")
    assert "web: started, pid" in said
    assert "web: all is well" in said
    assert "session-" in said
    assert sleeps(host, anna)
    again = login(host, anna, "ctl status web; ctl stop web")
    assert "web: running" in again or "web: ready" in again
    assert "web: stopped, pid" in again


def test_what_is_started_in_a_login_ends_with_it_where_logind_kills(host: SystemdHost, anna: str) -> None:
    define = 'mkdir -p conf/services; echo \'start.command = ["/bin/sleep", "1000"]\' >conf/services/web.toml\n'
    let_logind(host, "yes")
    said = login(host, anna, f"{define} ctl start web; ctl doctor web --json; ctl doctor --json")
    documents = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    (finding,) = [its for its in documents[0]["results"][0]["findings"] if its["id"] == "in-session"]
    assert "kill-user-processes" in [its["id"] for its in documents[1]["results"][0]["findings"]]
    wait_until(lambda: not sleeps(host, anna), "the logout has ended it")

    fix = finding["fix"].replace("ctl start web", f"{CTL} start web --conf ~/conf --run-dir ~/run")
    assert "web: started, pid" in login(host, anna, fix)
    wait_until(lambda: "No sessions" in host.run("loginctl", "list-sessions").stdout, "nothing of it is left")
    assert sleeps(host, anna)


def test_what_root_starts_in_a_login_outlives_it_where_logind_kills(host: SystemdHost, anna: str) -> None:
    define = 'mkdir -p conf/services; echo \'start.command = ["/bin/sleep", "1000"]\' >conf/services/web.toml\n'
    let_logind(host, "yes", excluded=anna)
    said = login(host, "root", f"{define} cat /proc/self/cgroup; (sleep 1001 &); ctl start web; ctl doctor web")
    assert "/session-" in said
    assert "web: all is well" in said
    wait_until(lambda: host.run("pgrep", "-fx", "sleep 1001").returncode == 1, "the logout has ended what it left")
    assert sleeps(host, "root")
    assert "web: stopped, pid" in login(host, "root", "ctl stop web")
    assert "web: all is well" in login(host, anna, "ctl doctor web; ctl stop web")


def test_what_a_users_own_systemd_keeps(host: SystemdHost, anna: str) -> None:
    define = 'mkdir -p conf/services; echo \'start.command = ["/bin/sleep", "1000"]\' >conf/services/kept.toml\n'
    let_logind(host, "no")
    run = f"systemd-run --user --quiet --unit=kept -p Restart=always {CTL} run kept --conf ~/conf --run-dir ~/run"
    ended = "inactive | failed) systemctl --user status kept; journalctl --user -u kept; exit 1"
    wait = f"until ctl status kept; do case $(systemctl --user is-active kept) in {ended} ;; esac; done"
    said = login(
        host, anna, f"{define} {run}; {wait}; ctl stop kept --dry-run; systemctl --user stop kept; ctl stop kept"
    )
    line = "belongs to kept.service, which restarts it (Restart=always); to fix: systemctl --user stop kept.service"
    may = line.replace("restarts it (Restart=always)", "may restart it")
    assert f"ctl: kept: {line}\n" in said or f"ctl: kept: {may}\n" in said, said
    assert "kept: already stopped" in said


def test_a_unit_of_a_users_own_systemd(host: SystemdHost, anna: str) -> None:
    define = 'mkdir -p conf/services; echo \'start.command = ["/bin/sleep", "1000"]\' >conf/services/own.toml\n'
    let_logind(host, "no")
    host.run("loginctl", "disable-linger", anna)
    unit = f"[Service]\nType=forking\nExecStart={CTL} run own --conf %h/conf --run-dir %h/run\n"
    write = f"mkdir -p ~/.config/systemd/user; printf %s {shlex.quote(unit)} >~/.config/systemd/user/own.service"
    said = login(host, anna, f"{define} {write}; systemctl --user daemon-reload; ctl doctor own --json")
    (unit_of_anna,) = [one for one in json.loads(said)["results"] if one["kind"] == "unit"]
    (finding,) = [its for its in unit_of_anna["findings"] if its["id"] == "type"]
    (linger,) = [its for its in unit_of_anna["findings"] if its["id"] == "linger"]
    path, _, lines = finding["fix"].partition("\n")
    assert path == "# /home/anna/.config/systemd/user/own.service.d/type.conf"
    put = f"mkdir -p {path[2:].rpartition('/')[0]}; printf '%s\\n' {shlex.quote(lines)} >{path[2:]}"
    begin = "systemctl --user daemon-reload; systemctl --user start own; until ctl status own >/dev/null; do :; done"
    later = login(
        host, anna, f"{linger['fix']}; {put}; {begin}; ctl doctor own.service --json; systemctl --user stop own"
    )
    (fixed,) = json.loads(later)["results"]
    assert fixed["facts"]["state"] == "active"
    assert [its["id"] for its in fixed["findings"]] == ["stop-without-ctl"]
