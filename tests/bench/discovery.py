"""Finding a service by how it looks among 10,000 processes with the long argv of a JVM, against pgrep and its like.

The processes live in a pid namespace of their own, where the timing is done too: this module is executed in there as
PID 1 (`python -m bench.discovery ROOT MARK GROUP PAIRS PROCESSES`) and prints its report as JSON. With it the kernel
ends all others.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from bench import report
from bench.growth import growth
from bench.pairs import Command
from bench.report import Report, Skipped
from bench.workshop import PYTHON, Workshop
from support.programs import Programs
from support.reaper import Process, Reaper
from support.sandbox import ROOT, Sandbox
from support.waiting import wait_closed

GROUP = "cold discovery"
AIMS = {10000: 0.25, 30000: 0.2}  # by the number of processes
FEWEST, MOST = 4096, 16384  # bytes of argv
FOREST_USER = "12345"  # whose are one in ten, those whose number ends in 0
OF_USER = r"service\.id=svc-00040"
NAMESPACE = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
BY_CMDLINE = "status by match.cmdline"
GATEWAY = "org.example.gateway.Server"
MANY = 100
PATIENCE = 900.0  # seconds, for all of it


def compare(sandbox: Sandbox, pairs: int, sizes: Sequence[int]) -> Report:
    """One group for each number of processes, and what each of them costs as they get more."""
    found = {processes: _among(sandbox, pairs, processes) for processes in sorted(set(sizes))}
    return sum(found.values(), Report()) + growth(found, BY_CMDLINE)


def _among(sandbox: Sandbox, pairs: int, processes: int) -> Report:
    group = f"{GROUP} among {processes} processes"
    if os.geteuid() != 0:
        return Report((), (Skipped(group, "all", "needs root: a pid namespace with processes of two users"),))
    if not all(shutil.which(program) for program in ("unshare", "pgrep")):
        return Report((), (Skipped(group, "all", "needs unshare and pgrep"),))
    for program in ("idle", "process_forest"):
        sandbox.programs.path(program)  # compiled out here
    inside = [str(sandbox.root), sandbox.reaper.mark, group, str(pairs), str(processes)]
    inner = sandbox.reaper.start(
        [*NAMESPACE, PYTHON, "-m", __name__, *inside], ready=None, env={"PYTHONPATH": str(ROOT / "tests")}
    )
    assert inner.out
    wait_closed([inner.out], PATIENCE)
    if inner.wait() != 0:
        return Report((), (Skipped(group, "all", f"the namespace ended with exit {inner.wait()}, see above"),))
    return report.load(json.loads("\n".join(inner.out.seen)))


def in_namespace(sandbox: Sandbox, group: str, pairs: int, processes: int) -> Report:
    """All comparisons, as PID 1."""
    sandbox.reaper.start(sandbox.programs("process_forest", processes, FEWEST, MOST), timeout=PATIENCE)
    shop = Workshop(group, sandbox, pairs)
    aim = AIMS.get(processes)
    _by_argv(shop, aim)
    _nobody(shop, aim)
    _by_what_ctl_left(shop, aim)
    _by_executable(shop)
    _narrowed(shop)
    _many(shop)
    _against_others(shop)
    _kill(shop)
    return shop.report


def _by_argv(shop: Workshop, aim: float | None) -> None:
    """One that is in the forest, by the part of its argv that is its own."""
    target = r"service\.id=svc-00042"
    start_jvm(shop.sandbox, GATEWAY)
    for name, what, match, pattern in (
        ("cmdline", "match.cmdline", {"cmdline": target}, target),
        ("bounded", r"match.cmdline that begins with \b", {"cmdline": r"\bsvc-00042\b"}, target),
        ("java-main", "match.java_main", {"java_main": GATEWAY}, GATEWAY),
        ("user", "match.cmdline and user", {"cmdline": OF_USER, "user": FOREST_USER}, OF_USER),
    ):
        shop.sandbox.define(name, {"match": match})
        own, pgrep = Command(shop.ctl("status", name)), Command(("pgrep", "-f", pattern))
        shop.compare(f"status by {what}", own, "pgrep -f", pgrep, aim=aim)
    pgrep = Command(("pgrep", "-u", FOREST_USER, "-f", OF_USER))
    shop.compare("status by match.cmdline and user", Command(shop.ctl("status", "user")), "pgrep -u -f", pgrep)


def _nobody(shop: Workshop, aim: float | None) -> None:
    nobody = "an-id-that-nobody-has"
    shop.sandbox.define("nobody", {"match": {"cmdline": nobody}})
    pgrep = Command(("pgrep", "-f", nobody), exits=(1,))
    shop.compare("status, not running", Command(shop.ctl("status", "nobody"), exits=(3,)), "pgrep -f", pgrep, aim=aim)
    shop.compare("kill, not running", Command(shop.ctl("kill", "nobody")), "pgrep -f", pgrep, aim=aim)


def _by_what_ctl_left(shop: Workshop, aim: float | None) -> None:
    """No match rules, and the record lost: CTL_TARGET in the environment is all there is. Then with its record."""
    name = "marked"
    shop.sandbox.define(name, {"start": {"command": [idle(shop), name]}, "ready": {"settle": 0.0}})
    shop.do("start", name)
    pid_file, record = shop.sandbox.pid_file(name), shop.sandbox.record(name)
    kept = {path: path.read_bytes() for path in (pid_file, record)}
    for path in kept:
        path.unlink()
    own, pgrep = Command(shop.ctl("status", name)), Command(("pgrep", "-f", f"{idle(shop)} {name}"))
    shop.compare("status by CTL_TARGET, its record lost", own, "pgrep -f", pgrep, aim=aim)
    for path, content in kept.items():
        path.write_bytes(content)
    peer = Command(("start-stop-daemon", "--status", "--pidfile", str(pid_file)))
    shop.compare("status by its record", own, "pgrep -f", pgrep)
    shop.compare("status by its record", own, "start-stop-daemon --status --pidfile", peer)


def _by_executable(shop: Workshop) -> None:
    program = own_program(shop)
    shutil.copy(idle(shop), program)
    shop.sandbox.reaper.start([program])
    shop.sandbox.define("executable", {"match": {"executable": str(program)}})
    own = Command(shop.ctl("status", "executable"))
    peer = Command(("start-stop-daemon", "--status", "--exec", str(program)))
    shop.compare("status by match.executable", own, "start-stop-daemon --status --exec", peer)


def _narrowed(shop: Workshop) -> None:
    """A second rule makes it cheaper: the argv is read of those alone that satisfy it."""
    program = str(own_program(shop))
    for name, rule, match in (
        ("narrow-user", "user", {"cmdline": OF_USER, "user": FOREST_USER}),
        ("narrow-executable", "executable", {"cmdline": program, "executable": program}),
    ):
        shop.sandbox.define(name, {"match": match})
        shop.sandbox.define(f"{name}-wide", {"match": {"cmdline": match["cmdline"]}})
        own, wide = Command(shop.ctl("status", name)), Command(shop.ctl("status", f"{name}-wide"))
        shop.compare(f"{BY_CMDLINE} and {rule}", own, "ctl, without that rule", wide, aim=1.0, peer=False)


def _many(shop: Workshop) -> None:
    """Services that nobody has started with ctl, and of which each argv has its own part; pgrep asks about one."""
    shop.sandbox.define("worker@", {"match": {"cmdline": r"service\.id=svc-{instance}"}})
    own = Command(shop.ctl("status", "--quiet", *(f"worker@{number:05}" for number in range(1, MANY + 1))))
    pgrep = Command(("pgrep", "-f", r"service\.id=svc-00001"))
    shop.compare(f"status of {MANY} by match.cmdline", own, "pgrep -f, for one of them", pgrep, peer=False)


def _against_others(shop: Workshop) -> None:
    """The same question as people ask it without pgrep."""
    own, pattern = Command(shop.ctl("status", "cmdline")), r"service\.id=svc-00042"
    asked = (
        "import psutil, sys\n"
        "[p for p in psutil.process_iter(['cmdline']) if sys.argv[1] in ' '.join(p.info['cmdline'] or ())]"
    )
    for against, argv in (
        ("pkill -0 -f", ("pkill", "-0", "-f", pattern)),
        ("ps | grep", ("sh", "-c", 'ps -eo pid,args | grep -e "$0"', pattern)),
        ("psutil", (str(PYTHON), "-c", asked, pattern.replace("\\", ""))),
    ):
        shop.compare(BY_CMDLINE, own, against, Command(argv))


def _kill(shop: Workshop) -> None:
    """Started anew for each run, by nobody that ctl knows of."""
    name = "to-be-killed"
    main = "org.example.killed.Server"
    shop.sandbox.define(name, {"match": {"cmdline": main}})
    pkill = ("pkill", "-KILL", "-f", main)

    def start() -> None:
        start_jvm(shop.sandbox, main)

    own = Command(shop.ctl("kill", name), before=start)  # it also looks for survivors
    found = ("sh", "-c", 'kill -KILL $(pgrep -f "$0")', f"[{main[0]}]{main[1:]}")  # or it would find the shell
    for against, argv in (("pkill -KILL -f", pkill), ("kill $(pgrep -f)", found)):
        shop.compare("kill by match.cmdline", own, against, Command(argv, before=start))


def start_jvm(sandbox: Sandbox, main: str) -> Process:
    """What looks like a JVM, to whoever reads its argv."""
    argv = ["/usr/lib/jvm/java-17/bin/java", "-Xmx8g", "-cp", "/opt/app/lib/*", main]
    return sandbox.reaper.start(argv, executable=sandbox.programs.path("idle"))


def own_program(shop: Workshop) -> Path:
    return shop.sandbox.tmp / "a-program-of-its-own"


def idle(shop: Workshop) -> str:
    return str(shop.sandbox.programs.path("idle"))


def _main(root: str, mark: str, group: str, pairs: str, processes: str) -> None:
    assert os.getpid() == 1, "only as PID 1 of a namespace of its own"
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who started us ends us
    with Reaper(mark) as reaper:
        sandbox = Sandbox(Path(root), reaper, Programs(Path(root) / "programs"))
        found = in_namespace(sandbox, group, int(pairs), int(processes))
    print(json.dumps(report.dump(found)))


if __name__ == "__main__":
    _main(*sys.argv[1:])
