"""What bin/ctl executes: a quick start-up and a quick way out, around ctl.shell.cli.main.

-S leaves the paths to us: reading .pth files costs time, and a checkout that was moved after setup still works.
"""

import gc

gc.disable()  # nothing is garbage yet: without the collector the imports take a fifth less time

import _signal  # type: ignore[import-not-found]  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402

# Until ctl has begun something, Ctrl-C ends it as it ends any program, and not with a trace of what was being imported.
if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)

_VENV_PYTHON = "/.venv/bin/python"


def _find_packages() -> None:
    root, version = sys.executable.removesuffix(_VENV_PYTHON), sys.version_info
    # After Python's own, as everywhere: most of what is imported is found there, and looked for nowhere else.
    sys.path += [f"{root}/lib", f"{root}/.venv/lib/python{version.major}.{version.minor}/site-packages"]


def launch() -> None:
    """Run ctl on sys.argv, and end this process with its exit status: does not return. Raises ImportError."""
    from ctl.shell.cli import main

    gc.freeze()
    gc.enable()
    code = main()
    # Tearing the interpreter down takes longer than most verbs, and would wait for a thread that hangs in a probe.
    os._exit(code)


def main() -> None:
    """`launch`, in a checkout or installed: what is missing is told in one line."""
    fix = "install ctl again"
    if sys.executable.endswith(_VENV_PYTHON) and sys.flags.no_site:
        _find_packages()
        fix = "bin/setup installs what is missing"
    try:
        launch()
    except ImportError as error:
        sys.stderr.write(f"ctl: it cannot be loaded: {error}; to fix: {fix}\n")
        os._exit(199)


if __name__ == "__main__":
    main()
