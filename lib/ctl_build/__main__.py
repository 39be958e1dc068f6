"""What bin/build executes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

ROOT = Path(__file__).resolve().parents[2]
app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def build() -> None:
    """Make what is made of the checkout."""


@app.command()
def docs(
    check: Annotated[bool, typer.Option("--check", help="Write nothing; exit 1 where one is not current.")] = False,
) -> None:
    """Make conf/man/ctl.1 from the docstrings of the verbs."""
    from ctl_build.docs import outdated, write_documents

    try:
        stale = outdated(ROOT) if check else write_documents(ROOT)
    except (OSError, ValueError) as error:
        print(f"build: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    for file in stale:
        print(f"{file.relative_to(ROOT)}: {'not current: bin/build docs' if check else 'written'}")
    raise typer.Exit(int(check and bool(stale)))


@app.command()
def zipapp(
    output: Annotated[Path, typer.Argument(metavar="[OUTPUT]", help="Where to write it. [dist/ctl]")] = ROOT
    / "dist"
    / "ctl",
) -> None:
    """Make ctl a single file, with all that it needs but Python: of this version, and for this kind of machine."""
    from ctl_build.single.archive import CannotBuild, build

    try:
        build(ROOT, output)
    except (CannotBuild, OSError) as error:
        print(f"build: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    print(output)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT / "lib"))  # that of this checkout, whichever is the one that setup knew
    app(prog_name="build")
