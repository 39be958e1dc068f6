"""What of the host itself keeps ctl from working: kernel, /proc, limits, logouts, and the directories it uses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ctl.model.diagnosis import ERROR, NOTE, WARNING, Finding, Severity
from ctl.model.errors import CtlError
from ctl.system import premises as asked
from ctl.system.config import Config
from ctl.system.premises import Logins, Premises
from ctl.system.trust import Untrusted

_PIDFD: Final = (5, 3)
_EACH: Final = 16  # descriptors at most for one service that is acted on, and
_OTHERS: Final = 64


def check_premises(found: Premises, services: int) -> Iterator[Finding]:
    """Kernel, /proc, control groups and limits, for so many services at once."""
    yield from _kernel(found)
    yield from _proc(found)
    if not found.unified_cgroups:
        what = "there is no cgroup v2: units and containers are told by what systemd keeps in v1, where it runs"
        where = "/proc/self/mountinfo"
        yield Finding(
            id="no-cgroup-v2",
            severity=NOTE,
            what=what,
            where=where,
            fix="boot with systemd.unified_cgroup_hierarchy=1",
        )
    needed = services * _EACH + _OTHERS
    if 0 <= found.descriptors < needed:
        what = f"{found.descriptors} open files are too few to act on all {services} services at once: {needed} may be"
        yield Finding(
            id="open-files",
            severity=WARNING,
            what=what,
            where="ulimit -Hn",
            fix=f"LimitNOFILE={needed}, limits.conf(5)",
        )
    if not found.can_watch:
        what = "no inotify instance is left for this user: ctl wait, logs --follow and events --follow fail"
        where = "fs.inotify.max_user_instances"
        yield Finding(id="inotify", severity=WARNING, what=what, where=where, fix=f"sysctl -w {where}=1024")


def _kernel(found: Premises) -> Iterator[Finding]:
    version = tuple(int(part) for part in found.kernel.split("-")[0].split(".")[:2] if part.isdecimal())
    if version < _PIDFD:
        what = f"Linux {found.kernel} has no pidfd_open(2), without which ctl signals nobody"
        yield Finding(id="kernel", severity=ERROR, what=what, where="uname -r", fix="boot Linux 5.3 or newer")
    elif found.refused is not None:
        where = "/proc/self/status, Seccomp"
        yield Finding(id="seccomp", severity=ERROR, what=found.refused.what, where=where, fix=found.refused.fix)
    elif not found.unique_inodes:
        what = (
            f"Linux {found.kernel} gives pidfds no inode of their own: a process that got a pid within the same "
            "10 ms in which the last one with it began is taken for that one"
        )
        yield Finding(id="kernel", severity=NOTE, what=what, where="uname -r", fix="boot Linux 6.9 or newer")
    if not found.identified:
        what = "the boot id or the clock cannot be read: no process can be told from another"
        where = "/proc/sys/kernel/random/boot_id"
        yield Finding(id="boot-id", severity=ERROR, what=what, where=where, fix="mount -t proc proc /proc")


def _proc(found: Premises) -> Iterator[Finding]:
    where = "/proc, mount options"
    level = found.proc.get("hidepid", "0")
    if level not in ("0", "off"):
        trusted = f"members of the group with id {found.proc['gid']}" if "gid" in found.proc else "nobody else"
        seen = f"root and {trusted} see all" if "gid" in found.proc else "only root sees all"
        what = f"hidepid={level} hides the processes of other users: {seen}, for the others status is unknown (exit 4)"
        severity: Severity = NOTE if found.is_root or "gid" in found.proc else WARNING
        yield Finding(id="hidepid", severity=severity, what=what, where=where, fix="mount -o remount,hidepid=0 /proc")
    if found.proc.get("subset") == "pid":
        what = "subset=pid hides /proc/sys, where the boot id is"
        yield Finding(
            id="proc-subset", severity=ERROR, what=what, where=where, fix="mount -t proc -o subset= proc /proc"
        )


def check_logins(found: Logins | None, user: str) -> Iterator[Finding]:
    """Whether what is started in a login outlives it."""
    if found is None or not found.kills:
        return
    those = f"all users but {' and '.join(found.excluded)}" if found.excluded else "all users"
    those = " and ".join(found.only) or those
    whose = "a service of a plain user" if user == "root" else "a service"  # root's have scopes of their own
    what = (
        f"a logout ends what the session has left (KillUserProcesses=yes, for {those}): {whose} that ctl start has "
        "started from an ssh or console login with it"
    )
    yield Finding(
        id="kill-user-processes",
        severity=WARNING if found.kills_those_of(user) and user != "root" else NOTE,
        what=what,
        where="/etc/systemd/logind.conf, KillUserProcesses=",
        fix=beyond_the_login("USER" if user == "root" else user, "NAME"),
    )


def beyond_the_login(user: str, target: str) -> str:
    """How to start it where no logout reaches it: not in the session's scope."""
    if user == "root":
        return f"systemctl start ctl@{target}.service"
    lingering = f"loginctl enable-linger {user}"
    return f"{lingering} && systemd-run --user --scope ctl start {target}"


def check_directories(config: Config, *, as_root: bool) -> Iterator[Finding]:
    """Who owns and who may write to the directories of conf, records and logs. ctl has refused the worst already."""
    for key, path in (("conf directory", config.conf_dir), ("service directory", config.service_dir)):
        yield from _conf(key, path, as_root=as_root)
    for name, key, path in (
        ("run-directory", "run directory", config.run_dir),
        ("log-directory", "log directory", config.log_dir),
    ):
        yield from _state(name, key, path, as_root=as_root)


def _conf(key: str, path: Path, *, as_root: bool) -> Iterator[Finding]:
    found = asked.place_of(path)
    if not as_root and found is not None and found.by_others:
        what = f"others may write to the {key} (mode {found.mode}), and so say what ctl runs; root refuses to use it"
        yield Finding(id="conf-writable", severity=WARNING, what=what, where=str(path), fix=f"chmod go-w '{path}'")


def _state(name: str, key: str, path: Path, *, as_root: bool) -> Iterator[Finding]:
    found = asked.place_of(path)
    if found is None:
        what = f"the {key} is missing: ctl makes it when it is first needed"
        yield Finding(id=name, severity=NOTE, what=what, where=str(path), fix=f"install -d -m 755 '{path}'")
    elif not found.is_directory:
        what = f"the {key} is not a directory"
        yield Finding(id=name, severity=ERROR, what=what, where=str(path), fix=f"mv '{path}' '{path}.old'")
    elif found.by_everyone:
        what = f"everyone may write to the {key} (mode {found.mode}), and replace what is in it"
        yield Finding(id=name, severity=ERROR, what=what, where=str(path), fix=f"chmod o-w '{path}'")
    elif as_root and found.found.st_uid != 0:
        what = f"the {key} belongs to {found.owner}, who can replace what root writes to it"
        yield Finding(id=name, severity=WARNING, what=what, where=str(path), fix=f"chown root:root '{path}'")
    elif as_root and found.by_acl is not None:
        what = f"the {key} {found.by_acl}"
        yield Finding(id=name, severity=WARNING, what=what, where=str(path), fix=f"setfacl -b '{path}'")
    elif not asked.is_writable(path):
        what = f"this user may look, and not act: the {key} is {found.owner}'s (mode {found.mode})"
        severity: Severity = NOTE if found.found.st_uid == 0 else WARNING
        yield Finding(id=name, severity=severity, what=what, where=str(path), fix=f"sudo -u {found.owner} ctl ...")


def refusal(error: CtlError) -> Finding:
    """That ctl refuses to work at all, as a finding."""
    name = "conf-writable" if isinstance(error, Untrusted) else "configuration"
    return Finding(id=name, severity=ERROR, what=error.what, where=error.where, fix=error.fix)
