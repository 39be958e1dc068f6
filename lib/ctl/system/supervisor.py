"""Who may start a process again once it has ended: the supervisor, unit or container that /proc shows it under.

/proc is read before a process is signalled, since nothing of it is there afterwards; it costs two or three small reads.
systemd itself is asked after that, when there is nothing left that the question could delay or fail.
"""

from __future__ import annotations

import os
import threading
from typing import Final, NamedTuple

import msgspec

from ctl.model.supervisor import Means, Supervisor, undoing
from ctl.system import procfs
from ctl.system.cgroups import ServiceUnit, container_of_paths, unit_of
from ctl.system.procfs import Forbidden, Gone
from ctl.system.sharing import Shared
from ctl.system.wait import now

_ANSWERS_WITHIN: Final = 1.0  # seconds
_ASKED: Final = ("Restart", "Type", "MainPID", "ExecMainPID", "ExecMainStartTimestampMonotonic", "WatchdogUSec")
_INTERPRETERS: Final = ("python", "pypy")


class Care(NamedTuple):
    """In whose care a process was when it was looked at."""

    supervisor: Supervisor
    unit: ServiceUnit | None = None
    pids: frozenset[int] = frozenset()  # the process, and those above it that may be the unit's main process
    seen_at: float = 0.0  # a monotonic instant


def care_of(pid: int, target: str) -> Care | None:
    """In whose care the main process of `target` is, None where that is nobody's, or cannot be seen.

    A unit in which ctl itself runs says nothing: what ctl starts stays in the unit of whoever called it.
    """
    try:
        above, wrappers = _above(pid)
        for parent in above:
            if (by := _supervised_by(parent, pid)) is not None:
                if parent != above[0]:  # only the script that waits for it is ended, and nobody starts that again
                    by = msgspec.structs.replace(by, command=f"{by.command} && ctl stop {target}")
                return Care(by)
        unit = unit_of(pid)
        if unit is not None and unit != unit_of(os.getpid()):
            by = Supervisor(kind="systemd", name=unit.name, command=unit.stopped_by)
            return Care(by, unit, frozenset({pid, *wrappers}), now())
        contained = _in_container(pid)
        return None if contained is None else Care(contained)
    except (Gone, Forbidden):
        return None


def supervisor_of(care: Care | None, means: Means) -> Supervisor | None:
    """Who undoes what is done to it by these means. Of a unit, systemd is asked now, for at most a second.

    None where that unit only holds the process, as cron.service holds what a job has started.
    """
    if care is None or care.unit is None:
        return None if care is None else care.supervisor
    if care.unit.user not in (None, os.geteuid()):
        return care.supervisor  # another user's manager answers only through a login
    said = _ask(care.unit)
    if said is None:
        return care.supervisor
    if not _is_main(care, said):
        return None
    undone, setting = undoing(said.get("Restart", "no"), said.get("WatchdogUSec", "0"), means)
    return msgspec.structs.replace(care.supervisor, restarts=undone, setting=setting)


def _in_container(pid: int) -> Supervisor | None:
    found = container_of_paths(procfs.read_cgroups(pid))
    if found is None or found == container_of_paths(procfs.read_cgroups(os.getpid())):
        return None
    runtime, name = found
    commands = {
        "kubernetes": "kubectl scale --replicas=0 of what it belongs to",
        "container": f"the stop of its container runtime, for {name}",
    }
    return Supervisor(kind=runtime, name=name, command=commands.get(runtime, f"{runtime} stop {name}"))


def _above(pid: int) -> tuple[list[int], list[int]]:
    """Its parent, and while that is in the same session, also the parent of that; and which of them are in it.

    A script that waits for what it has started is in the same session. A daemon that has left is on its own.
    """
    stat = procfs.read_stat(pid)
    session = stat.session
    above: list[int] = []
    while stat.ppid > 0 and stat.ppid not in above:
        above.append(stat.ppid)
        stat = procfs.read_stat(stat.ppid)
        if stat.session != session:
            return above, above[:-1]
    return above, above


def _supervised_by(parent: int, pid: int) -> Supervisor | None:
    comm = procfs.read_stat(parent).comm
    if comm in ("runsv", "s6-supervise"):
        if parent in procfs.parents(os.getpid()):
            return None  # it is what called ctl, by a script such as runsv(8)'s control/t
        name = _named_by(parent)
        kind, stopping = ("runit", "sv down") if comm == "runsv" else ("s6", "s6-svc -d")
        command = f"{stopping} {_directory_of(parent) or name}"
        return Supervisor(kind=kind, name=name, command=command, restarts=True)
    if comm == "supervisord" or comm.startswith(_INTERPRETERS):
        argv = procfs.read_argv(parent) or []
        if any(word.rpartition("/")[2] == "supervisord" for word in argv[:3]):
            return _of_supervisord(argv, parent, pid)
    return None


def _named_by(parent: int) -> str | None:
    argv = procfs.read_argv(parent) or []
    return argv[1] if len(argv) > 1 else None


def _directory_of(parent: int) -> str | None:
    """runsv(8) and s6-supervise work in the directory of their service, and that names it wherever it is."""
    try:
        return os.readlink(f"/proc/{parent}/cwd")
    except OSError:
        return None


def _of_supervisord(argv: list[str], parent: int, pid: int) -> Supervisor:
    """What supervisord writes into the environment of its processes names them; autorestart= only it knows."""
    name = procfs.read_variable(pid, "SUPERVISOR_PROCESS_NAME") or None
    group = procfs.read_variable(pid, "SUPERVISOR_GROUP_NAME") or None
    name = f"{group}:{name}" if name and group and group != name else name
    file = _configuration(argv)
    where = f" -c {os.path.join(_directory_of(parent) or '', file)}" if file else ""
    return Supervisor(kind="supervisord", name=name, command=f"supervisorctl{where} stop {name or 'NAME'}")


def _configuration(argv: list[str]) -> str | None:
    for word, following in zip(argv, [*argv[1:], ""], strict=True):
        if word in ("-c", "--configuration"):
            return following
        if word.startswith("--configuration="):
            return word.partition("=")[2]
    return None


def _is_main(care: Care, said: dict[str, str]) -> bool:
    """Whether it is, or hangs on, the main process, or was until another one was started in its place meanwhile."""
    mains = {int(said.get(name) or 0) for name in ("MainPID", "ExecMainPID")}
    if mains & care.pids:
        return True
    if mains == {0}:
        return said.get("Type") == "forking"  # systemd could not tell which one it is
    return int(said.get("ExecMainStartTimestampMonotonic") or 0) / 1e6 > care.seen_at


_wanted: set[ServiceUnit] = set()
_answering = threading.Lock()


def _ask(unit: ServiceUnit) -> dict[str, str] | None:
    """What systemd says of the unit. One question serves all threads that have one."""
    with _answering:
        _wanted.add(unit)
    return _answers.get().get(unit)


def _answer(_before: dict[ServiceUnit, dict[str, str]] | None, _thoroughly: bool) -> dict[ServiceUnit, dict[str, str]]:
    from ctl.system import systemd

    with _answering:
        asked, managers = sorted(_wanted, key=lambda unit: unit.name), {unit.user for unit in _wanted}
    found: dict[ServiceUnit, dict[str, str]] = {}
    for user in managers:
        units = [unit for unit in asked if unit.user == user]
        shown = systemd.show([unit.name for unit in units], _ASKED, _ANSWERS_WITHIN, of_user=user is not None)
        if shown is not None:
            found |= {unit: {name: values[0] for name, values in shown[unit.name].items()} for unit in units}
    return found


_answers = Shared(_answer)
