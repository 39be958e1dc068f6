"""The layers hold: imports run shell -> verbs -> system -> model, and only system/ touches the operating system."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from support.sandbox import ROOT

LIB = ROOT / "lib"
LAYERS = ("model", "system", "verbs", "shell")  # each may import from itself and from those before it
OF_THE_SYSTEM = set(
    "os signal subprocess fcntl psutil select socket resource pwd grp ctypes shutil tempfile threading time".split()
)
FILES = {str(path.relative_to(LIB / "ctl")): path for path in sorted((LIB / "ctl").rglob("*.py"))}
CHILD = "system/regex_child.py"  # a program of its own, which system/ starts and nothing imports
LAUNCHER = "__main__.py"  # what bin/ctl executes: it finds the packages before anything can be imported


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(path: Path) -> Iterator[str]:
    """Every module that is imported anywhere in the file, `from ctl.system import lock` as ctl.system.lock."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            assert node.module
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if module_file(inner) else node.module


def module_file(module: str) -> Path | None:
    path = LIB / (module.replace(".", "/") + ".py")
    return path if path.exists() else None


def layer(name: str) -> str:
    return name.partition("/")[0]


LAYERED = [name for name in FILES if "/" in name]


def test_every_file_is_in_a_layer() -> None:
    assert set(FILES) - set(LAYERED) == {"__init__.py", LAUNCHER}
    assert {layer(name) for name in LAYERED} == set(LAYERS)


@pytest.mark.parametrize("name", LAYERED)
def test_imports_run_downwards(name: str) -> None:
    own = LAYERS.index(layer(name))
    for module in imports(FILES[name]):
        if module.split(".")[0] == "ctl":
            assert "." in module, f"{name} imports {module}"
            assert LAYERS.index(module.split(".")[1]) <= own, f"{name} imports {module}"


@pytest.mark.parametrize("name", [name for name in LAYERED if layer(name) != "system"])
def test_only_system_touches_the_operating_system(name: str) -> None:
    found = {module.split(".")[0] for module in imports(FILES[name])} & OF_THE_SYSTEM
    assert not found, f"{name} imports {', '.join(sorted(found))}"


@pytest.mark.parametrize("name", [name for name in LAYERED if layer(name) != "shell" and name != CHILD])
def test_only_the_shell_prints_prompts_or_exits(name: str) -> None:
    """A verb returns an outcome."""
    for node in ast.walk(tree(FILES[name])):
        called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
        assert called not in {"print", "input", "exit", "quit", "sys.exit", "typer.echo", "typer.confirm"}, (
            f"{name}:{node.lineno}: {called}()"  # type: ignore[attr-defined]
        )
        assert not (isinstance(node, ast.Attribute) and ast.unparse(node) in {"sys.stdout", "sys.stderr"}) or (
            name == "system/streams.py"
        ), f"{name} writes to {ast.unparse(node)}"


@pytest.mark.parametrize("name", [name for name in LAYERED if layer(name) == "model"])
def test_the_model_is_pure(name: str) -> None:
    """No input, no output, no clock."""
    found = {module.split(".")[0] for module in imports(FILES[name])} & {"sys", "io", "pathlib", "datetime", "random"}
    assert not found, f"{name} imports {', '.join(sorted(found))}"
    opened = [node for node in ast.walk(tree(FILES[name])) if isinstance(node, ast.Name) and node.id == "open"]
    assert not opened, f"{name} opens a file"


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith("__init__.py")])
def test_packages_are_empty(name: str) -> None:
    assert FILES[name].read_bytes() == b""


def test_sh_is_used_by_doctor_alone() -> None:
    """It runs Python between fork and exec: not where threads run, or a service, hook, probe or stop waits."""
    assert [name for name, path in FILES.items() if "sh" in set(imports(path))] == ["system/premises.py"]


def test_the_child_is_imported_by_nobody() -> None:
    module = "ctl." + CHILD.removesuffix(".py").replace("/", ".")
    assert not [name for name, path in FILES.items() if module in imports(path)]
    assert not [other for other in imports(FILES[CHILD]) if other.startswith("ctl")]


def test_there_is_no_circle() -> None:
    """Imports inside functions count: a circle is not better for being hidden."""
    files = {path: name for name, path in FILES.items()}
    edges = {
        name: {files[found] for module in imports(path) if (found := module_file(module)) in files}
        for name, path in FILES.items()
    }
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, f"a circle: {' -> '.join((*way[way.index(name) :], name))}"
        if name not in done:
            for imported in edges[name]:
                visit(imported, (*way, name))
            done.add(name)

    for name in FILES:
        visit(name, ())
    assert sum(map(len, edges.values())) > len(FILES), "the walk sees the imports"


def test_nothing_signals_a_bare_pid() -> None:
    bare = re.compile(r"\bos\.(kill|killpg)\b|\bpsutil\.Process\([^)]*\)\.(kill|terminate|send_signal|suspend)")
    for name, path in FILES.items():
        assert not bare.search(path.read_text(encoding="utf-8")), name
        called = {node.attr for node in ast.walk(tree(path)) if isinstance(node, ast.Attribute)}
        assert not called & {"killpg", "send_signal", "terminate"}, name
        if "pidfd_send_signal" in called:
            assert name == "system/pidfd.py", f"{name}: only a verified handle signals"
