"""The test programs as argv: those in C are compiled once per run, those in Python start without site-packages.

As a command (`programs.py BUILD_DIR NAME [ARG...]`) it prints the argv as a TOML array, for bats.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

SOURCES = Path(__file__).resolve().parent.parent / "programs"


def public_python() -> str:
    """An interpreter that every user may execute: one in a private home would not start under another user."""
    public = ("/usr/bin/python3", "/usr/local/bin/python3")
    return next((path for path in public if os.path.exists(path)), sys.executable)


class Programs:
    """`programs("slow_stop", 3)` is the argv of tests/programs/slow_stop.* with its argument."""

    def __init__(self, build_dir: Path) -> None:
        self.build_dir = build_dir

    def __call__(self, name: str, *args: object) -> list[str]:
        return [*self._command(name), *map(str, args)]

    def path(self, name: str) -> Path:
        """The file itself: an executable for a program in C or sh, the script for one in Python."""
        return Path(self._command(name)[-1])

    def _command(self, name: str) -> list[str]:
        if (script := SOURCES / f"{name}.py").exists():
            return [public_python(), "-S", "-E", str(script)]
        if (script := SOURCES / f"{name}.sh").exists():
            return [str(script)]
        return [str(self._compiled(name))]

    def _compiled(self, name: str) -> Path:
        binary = self.build_dir / name
        if not binary.exists():
            partial = self.build_dir / f"{name}.{os.urandom(8).hex()}"  # a pid may be that of another namespace
            import sh  # not needed, nor perhaps installed, where bats asks for a script

            sh.cc("-O2", "-o", partial, SOURCES / f"{name}.c")
            partial.rename(binary)  # whole at once: other test processes share the directory
        return binary


if __name__ == "__main__":
    print(json.dumps(Programs(Path(sys.argv[1]))(*sys.argv[2:]), ensure_ascii=False))
