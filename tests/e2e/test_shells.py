"""Tab in a real shell, with the script as the README has it, and where packages put it."""

from __future__ import annotations

import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from support.pty import Terminal
from support.requires import requires
from support.sandbox import CTL, ROOT, Sandbox


@pytest.fixture
def share(sandbox: Sandbox) -> Path:
    """The share/ of an installed wheel."""
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    for source, target in wheel["shared-data"].items():
        file = sandbox.root / target
        file.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / source, file)
    return sandbox.root / "share"


@pytest.mark.parametrize(
    ("shell", "setup"),
    [
        ("bash", 'eval "$(ctl completion bash)"'),
        ("bash", ". {share}/bash-completion/completions/ctl"),
        ("zsh", "autoload -Uz compinit; compinit -D; source <(ctl completion zsh)"),
        ("zsh", "fpath=({share}/zsh/site-functions $fpath); autoload -Uz compinit; compinit -D"),
    ],
)
def test_tab_completes_a_target(sandbox: Sandbox, share: Path, shell: str, setup: str) -> None:
    requires(shell)
    sandbox.service("gateway", "polite")
    sandbox.service("engine", "polite")
    options = {"bash": ["--norc", "-i"], "zsh": ["-f", "-i"]}[shell]
    env = sandbox.environment({"PATH": f"{CTL.parent}:/usr/bin:/bin", "PS1": "$ ", "NO_COLOR": "1"})
    with Terminal(sandbox.reaper, [shell, *options], env, cwd=sandbox.root) as terminal:
        terminal.send(f"{setup.format(share=share)}; PS1='now'' '\n")
        terminal.expect("now ")
        terminal.send("ctl status gat\t\n")
        terminal.expect("gateway: stopped")
        terminal.send("exit\n")
        terminal.wait()


def test_fish_finds_it_by_itself(sandbox: Sandbox, share: Path) -> None:
    requires("fish")
    sandbox.service("gateway", "polite")
    env = sandbox.environment({"PATH": f"{CTL.parent}:/usr/bin:/bin", "XDG_DATA_DIRS": str(share)})
    done = subprocess.run(
        ["fish", "-c", 'complete -C "ctl status gat"'], env=env, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "gateway\n"
