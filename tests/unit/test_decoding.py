"""Our own files read by many threads, all for the first time. What goes wrong is a crash: of another process, here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

LIB = Path(__file__).resolve().parents[2] / "lib"
CROWD = """
import sys, threading
import msgspec
from ctl.system.decoding import decode

def crowd(kind, raw):
    together = threading.Barrier(4)
    def first():
        together.wait()
        decode(raw, kind)
    threads = [threading.Thread(target=first) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

sys.setswitchinterval(1e-6)
for number in range(200):
    inner = msgspec.defstruct(f"Inner{number}", [(f"field{n}", int | None) for n in range(8)])
    outer = msgspec.defstruct(f"Outer{number}", [(f"field{n}", inner | None) for n in range(8)])
    crowd(outer, msgspec.json.encode({f"field{n}": None for n in range(8)}))
"""


def test_many_threads_decode_a_type_for_the_first_time() -> None:
    """msgspec.json.decode in the place of decode ends with SIGSEGV here."""
    environment = os.environ | {"PYTHONPATH": str(LIB)}
    done = subprocess.run([sys.executable, "-c", CROWD], env=environment, check=False, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
