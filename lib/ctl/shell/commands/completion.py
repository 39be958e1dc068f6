from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from ctl.shell.completion import script
from ctl.system.streams import write_out


class Shell(StrEnum):
    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def completion(shell: Annotated[Shell, typer.Argument(metavar="SHELL", help="bash, zsh or fish.")]) -> int:
    """Print what makes a shell complete verbs, options and targets. In bash: eval "$(ctl completion bash)".

    Packages put the same script where the shell looks for it: then there is nothing to do.

    Exit codes:
        0: printed
        1: it cannot be written
        2, 199

    Examples:
        eval "$(ctl completion bash)"            # in ~/.bashrc
        source <(ctl completion zsh)             # in ~/.zshrc, after compinit
        ctl completion fish >~/.config/fish/completions/ctl.fish
    """
    write_out(script(shell.value))
    return 0
