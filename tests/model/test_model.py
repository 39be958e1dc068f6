"""Random steps on a host of its own, in which nothing may ever happen to a bystander and ctl never tells a lie.

A short run, always of the same steps, is part of the suite. A long one explores: on all cores, with new steps each
time, and a failure is made as short as it gets:

    bin/test --soak=5 tests/model                 # ten minutes; CTL_MODEL_SEED=N: the seed that a failure names
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from model.machine import Operators
from model.world import World
from support import pace
from support.pidreuse import Pids, in_own_namespace
from support.requires import requires_mounts
from support.sandbox import Sandbox

SECONDS = 120 * pace.SOAK
# Read before the tests clear their environment.
SEED = int(os.environ.get("CTL_MODEL_SEED", "1" if not SECONDS else str(time.time_ns() % 10**9)))
STEPS = 25
EXAMPLES = 2  # of the short run, on each core
AT_A_TIME = 8  # of the long one, by one seed; below 10, the first are those of the short run
LIMIT = SECONDS + 900 if SECONDS else 240.0  # seconds; to make a failure short takes its time


def explore(pids: Pids, sandbox: Sandbox) -> int:
    """Returns how many seeds were tried. Runs as PID 1 of its namespace."""
    plan = json.loads((sandbox.tmp / "plan").read_text(encoding="ascii"))
    Operators.world = World(sandbox, pids)
    until = time.monotonic() + plan["seconds"]
    number: int = plan["seed"]
    while True:
        try:
            run_state_machine_as_test(
                seed(number)(Operators),
                settings=settings(
                    max_examples=AT_A_TIME if plan["seconds"] else EXAMPLES,
                    stateful_step_count=STEPS,
                    deadline=None,
                    derandomize=False,
                    database=None,
                    phases=[Phase.generate, Phase.shrink] if plan["seconds"] else [Phase.generate],
                    suppress_health_check=list(HealthCheck),
                    report_multiple_bugs=False,
                ),
            )
        except BaseException as error:
            Path(plan["over"]).touch()
            error.add_note(f"again, and as short as it gets: CTL_MODEL_SEED={number} bin/test --soak tests/model")
            raise
        number += plan["step"]
        if time.monotonic() >= until or Path(plan["over"]).exists():
            return number


@pytest.mark.soak
@pytest.mark.timeout(LIMIT)
def test_no_step_ever_harms_a_bystander_or_makes_ctl_lie(
    new_sandbox: Callable[[], AbstractContextManager[Sandbox]], public_dir: Path
) -> None:
    requires_mounts()
    workers = len(os.sched_getaffinity(0))

    def work(worker: int) -> int:
        plan = {"seed": SEED + worker, "step": workers, "seconds": SECONDS, "over": str(public_dir / "over")}
        with new_sandbox() as sandbox:
            (sandbox.tmp / "plan").write_text(json.dumps(plan), encoding="ascii")
            tried: int = in_own_namespace(sandbox, explore, timeout=LIMIT)
            return tried

    with ThreadPoolExecutor(workers) as pool:
        assert all(list(pool.map(work, range(workers))))
