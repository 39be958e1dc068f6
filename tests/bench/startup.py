"""How long it takes to say that there is nothing to do, and to answer at all."""

from __future__ import annotations

from bench.pairs import Command
from bench.report import Report
from bench.workshop import PYTHON, Workshop
from support.sandbox import ROOT, Sandbox

GROUP = "start-up"


def compare(sandbox: Sandbox, pairs: int) -> Report:
    shop = Workshop(GROUP, sandbox, pairs)
    idle = str(sandbox.programs.path("idle"))
    sandbox.define("unmatched", {"start": {"command": [idle]}})
    sandbox.define("matched", {"match": {"cmdline": "a-program-that-nobody-runs"}})
    sandbox.define("running", {"start": {"command": [idle]}, "ready": {"settle": 0.0}})
    typer = Command((PYTHON, "-c", "import typer"))
    # Not the conf/ of the checkout: the journal of what is done there is the real one.
    (sandbox.services / "demo.toml").write_bytes((ROOT / "conf/services/demo.toml").read_bytes())
    for what, arguments in (
        ("kill demo, stopped", ("kill", "demo")),
        ("kill, stopped, no match rules", ("kill", "unmatched")),
        ("kill, stopped, match.cmdline", ("kill", "matched")),
    ):
        shop.compare(what, Command(shop.ctl(*arguments)), 'python -c "import typer"', typer, aim=1.3, peer=False)
    stopped = Command(shop.ctl("status", "unmatched"), exits=(3,))
    shop.compare("status, stopped", stopped, 'python -c "import typer"', typer, peer=False)
    shop.do("start", "running")
    status = Command(shop.ctl("status", "running"))
    shop.compare("status, running", status, 'python -c "import typer"', typer, peer=False)
    pid_file = str(sandbox.pid_file("running"))
    peer = Command(("start-stop-daemon", "--status", "--pidfile", pid_file))
    shop.compare("status, running", status, "start-stop-daemon --status --pidfile", peer)
    return shop.report
