"""Builds ctl with all that it needs into one file, the same from the same input to the last byte."""

from __future__ import annotations

import hashlib
import os
import re
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Iterator, Mapping
from importlib import metadata
from importlib.machinery import EXTENSION_SUFFIXES
from io import BytesIO
from pathlib import Path
from typing import Final

import sh
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ctl_build.single.unpack import PACKED

_NAME: Final = "ctl"
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)  # the first time that a zip file knows
_OF_ONE_INSTALLATION: Final = {"INSTALLER", "RECORD", "REQUESTED", "direct_url.json", "entry_points.txt"}
# What rich colours source code and renders Markdown with, which ctl has it do nowhere: half of what would be packed.
_NEVER_IMPORTED: Final = {"markdown-it-py", "mdurl", "pygments"}
_HERE: Final = Path(__file__).parent


class CannotBuild(Exception):
    """What is installed is not what the lock says, in words."""


def build(root: Path, output: Path) -> None:
    """Write the single file of the checkout `root`, whose .venv holds what it needs. Raises CannotBuild, OSError."""
    content = _zip(_compiled(dict(_files(root))), zipfile.ZIP_DEFLATED)
    digest = hashlib.sha256(content).hexdigest()
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    names = {
        "BUILD": f"{metadata.version(_NAME)}-{digest[:16]}",
        "DIGEST": digest,
        "PYTHON": python,
        "SUFFIX": EXTENSION_SUFFIXES[0],
    }
    launcher = _compiled(
        {
            "__main__.py": filled(_HERE / "launcher.py", names),
            "ctl_build/__init__.py": b"",
            "ctl_build/single/__init__.py": b"",
            "ctl_build/single/unpack.py": (_HERE / "unpack.py").read_bytes(),
        },
        beside=True,
    )
    outer = _zip({**launcher, PACKED: content}, zipfile.ZIP_STORED)
    output.parent.mkdir(parents=True, exist_ok=True)
    new = output.with_name(f".{output.name}.new")
    new.write_bytes(filled(_HERE / "header.sh", names) + outer)
    new.chmod(0o755)
    new.replace(output)


def filled(file: Path, names: Mapping[str, str]) -> bytes:
    text = file.read_text(encoding="utf-8")
    return re.sub(r"@([A-Z]+)@", lambda found: names[found[1]], text).encode()


def _files(root: Path) -> Iterator[tuple[str, bytes]]:
    """All that is packed, by its path within."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    if metadata.version(_NAME) != project["version"]:
        raise CannotBuild(
            f"ctl {metadata.version(_NAME)} is installed, and this is {project['version']}: run bin/setup"
        )
    for package, version in sorted(_needed().items()):
        _require_locked(root, package, version)
        yield from _files_of(package)
    lib, conf = root / "lib", root / "conf"
    for directory, prefix in ((lib / _NAME, _NAME), (conf, f"{_NAME}/_conf")):
        for file in sorted(directory.rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts:
                yield f"{prefix}/{file.relative_to(directory)}", file.read_bytes()
    yield from _files_of(_NAME)


def _needed() -> dict[str, str]:
    """What ctl needs at run time, and what that needs, with the versions that are installed."""
    found: dict[str, str] = {}
    left = [_NAME]
    while left:
        for text in metadata.requires(left.pop()) or ():
            requirement = Requirement(text)
            name = canonicalize_name(requirement.name)
            if name not in {*found, *_NEVER_IMPORTED} and (
                requirement.marker is None or requirement.marker.evaluate({"extra": ""})
            ):
                found[name] = metadata.version(name)
                left.append(name)
    return found


def _require_locked(root: Path, package: str, version: str) -> None:
    lock = (root / ".lock" / "runtime.txt").read_text(encoding="utf-8")
    if not re.search(rf"^{re.escape(package)}=={re.escape(version)} ", lock, re.MULTILINE):
        raise CannotBuild(f"{package} {version} is installed, which is not in .lock/runtime.txt: run bin/setup")


def _files_of(package: str) -> Iterator[tuple[str, bytes]]:
    """What an installed package consists of, as its wheel brought it; each file is still what pip wrote down."""
    for file in metadata.files(package) or ():
        if ".." in file.parts or "__pycache__" in file.parts or file.suffix in {".pth", ".pyi", ".pyc"}:
            continue
        if file.parent.name.endswith(".dist-info") and file.name in _OF_ONE_INSTALLATION:
            continue
        content = file.read_binary()
        if file.hash and file.hash.value != _digest(file.hash.mode, content):
            raise CannotBuild(f"{file.locate()} is not what was installed: remove .venv and run bin/setup")
        yield str(file), content


def _digest(mode: str, content: bytes) -> str:
    from base64 import urlsafe_b64encode

    return urlsafe_b64encode(hashlib.new(mode, content).digest()).rstrip(b"=").decode()


def _compiled(files: Mapping[str, bytes], *, beside: bool = False) -> dict[str, bytes]:
    """The files with their bytecode, which is never compared with its source: both were packed together (PEP 552).

    `beside` its source is where zipimport looks for it. A process of its own compiles, so that nothing that this one
    has done before shows in the result.
    """
    with tempfile.TemporaryDirectory() as stage:
        _write(files, Path(stage))
        options = ["-q", "-f", *(["-b"] if beside else []), "--invalidation-mode", "unchecked-hash", "-s", stage]
        environment = {"PYTHONHASHSEED": "0", "PATH": os.defpath}
        try:
            sh.Command(sys.executable)("-m", "compileall", *options, stage, _env=environment, _err=sys.stderr)
        except sh.ErrorReturnCode:
            raise CannotBuild("some files do not compile") from None
        return {str(file.relative_to(stage)): file.read_bytes() for file in Path(stage).rglob("*") if file.is_file()}


def _write(files: Mapping[str, bytes], stage: Path) -> None:
    for name, content in files.items():
        path = stage / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _zip(files: Mapping[str, bytes], compression: int) -> bytes:
    packed = BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in sorted(files.items()):
            info = zipfile.ZipInfo(name, _EPOCH)
            info.external_attr = 0o100644 << 16
            archive.writestr(info, content, compression, 9)
    return packed.getvalue()
