"""Whether systemd will believe a PIDFile=: systemd.service(5), and what its service_load_pid_file() refuses.

Refused is one that names no process, a zombie or pid 1. Where a directory on the way, or the file, belongs to another
user than root, refused is also a process outside of the unit's control group.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ctl.model.diagnosis import ERROR, WARNING, Finding
from ctl.model.unit import Unit
from ctl.system import premises as asked
from ctl.system import procfs
from ctl.system.cgroups import unit_of
from ctl.system.files.ours import Refused, Unreadable
from ctl.system.pid_files import read_pid_file
from ctl.system.premises import Place
from ctl.system.procfs import Forbidden, Gone
from ctl.system.users import account_of


def check_unit_pid_file(unit: Unit, run_dir: Path) -> Iterator[Finding]:
    """What of its PIDFile= systemd will not believe, as far as can be seen now. ctl itself makes the run directory."""
    if not unit.pid_file:
        return
    file = Path(unit.pid_file)
    above = asked.place_of(file.parent)
    where = f"{unit.file or unit.name}, PIDFile="
    if above is None:
        owner = f" -o {unit.user}" if unit.user else ""
        is_made = file.parent == run_dir or any(f"{file}".startswith(f"{place}/") for place in unit.runtime_directories)
        if not is_made and asked.is_missing(file.parent):
            what = f"{file.parent} is missing: no pid file can be written there"
            fix = f"install -d -m 755{owner} '{file.parent}'"
            yield Finding(id="pid-file-directory", severity=WARNING, what=what, where=where, fix=fix)
        return
    yield from _directory(file, above, where)
    yield from _content(unit, file, where)


def _directory(file: Path, above: Place, where: str) -> Iterator[Finding]:
    if above.by_everyone:
        what = f"everyone may write to {file.parent} (mode {above.mode}), and so say which process systemd stops"
        fix = f"chmod o-w '{file.parent}'"
        yield Finding(id="pid-file-directory", severity=ERROR, what=what, where=where, fix=fix)
    elif above.found.st_uid != 0:
        what = (
            f"{file.parent} belongs to {above.owner}: systemd believes a pid file there only about processes in the "
            "unit's own control group"
        )
        fix = f"chown root:root '{file.parent}'"
        yield Finding(id="pid-file-directory", severity=WARNING, what=what, where=where, fix=fix)


def _content(unit: Unit, file: Path, where: str) -> Iterator[Finding]:
    found = asked.place_of(file)
    if found is None:
        return
    why = refused(unit, file, found)
    if why is not None:
        what = f"systemd refuses {file}: {why}"
        yield Finding(id="pid-file-refused", severity=WARNING, what=what, where=where, fix=f"rm '{file}'")


def refused(unit: Unit, file: Path, found: Place) -> str | None:
    """Why systemd does not believe the file, None where it would."""
    try:
        bare = read_pid_file(file, account_of(str(found.found.st_uid), None, str(file)))
        if bare is None:
            return None
        state = procfs.read_stat(bare.pid).state
        of = unit_of(bare.pid)
    except Refused as error:
        return f"it {error}"
    except Gone:
        return "the process that it names has ended"
    except (Unreadable, Forbidden):
        return None
    if state in "ZX":
        return f"pid {bare.pid} is a zombie"
    if found.found.st_uid != 0 and (of is None or of.name != unit.name):
        return f"pid {bare.pid} is outside of its control group, and the file belongs to {found.owner}"
    return None
