"""Where things live on this host: the conf, run, log and service directories, and the definitions in them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import msgspec

from ctl.model.definition import instance_pattern, understand, understand_table
from ctl.model.errors import CtlError
from ctl.model.flaw import Flaws
from ctl.model.service import Service
from ctl.model.suggest import instead, nearest
from ctl.model.target import Target, is_target, template_of
from ctl.system.failure import failure
from ctl.system.files.places import Unsafe, read_bounded
from ctl.system.trust import require_trusted

_LARGEST: Final = 1 << 18  # bytes of ctl.toml or a definition
_MOST_DOTS: Final = 100
_STRING_OR_COMMENT: Final = re.compile(
    r'"""(?s:[^\\]|\\.)*?"""|' r"'''(?s:.)*?'''|" r'"(?:[^"\\\n]|\\.)*+"|' r"'[^'\n]*+'|#.*"
)


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """ctl.toml. A relative path is relative to the conf directory."""

    run_dir: str | None = None
    log_dir: str | None = None
    service_dir: str = "services"


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """The directories, each with what set it."""

    conf_dir: Path
    conf_source: str
    run_dir: Path
    run_source: str
    log_dir: Path
    service_dir: Path
    proposed: Mapping[str, Path] = {}  # files that are to become definitions, by the name that they will have

    def service(self, target: Target) -> Service:
        """The definition of `target`, understood. Raises CtlError (unknown_target, bad_config)."""
        return understand(self.raw(target), target, str(self.file_of(target)), self.fill)

    def file_of(self, target: Target) -> Path:
        """Where its definition is read from."""
        return self.proposed.get(target.definition) or self.service_dir / target.definition

    @property
    def fill(self) -> dict[str, str]:
        """What stands for the placeholders that are the same in every definition."""
        return {"run_dir": str(self.run_dir), "log_dir": str(self.log_dir)}

    def raw(self, target: Target) -> dict[str, Any]:
        """The definition of `target` as parsed, not understood. Raises CtlError (unknown_target, bad_config)."""
        file = self.file_of(target)
        return _read_toml(file, missing=lambda: self._unknown(str(target), target.definition))

    def definition_files(self) -> list[Path]:
        """What is meant as a definition, whether it can be one or not, sorted. Raises CtlError."""
        try:
            files = list(self.service_dir.iterdir())
        except OSError as error:
            what = f"{self.service_dir} cannot be read"
            raise failure(error, what, where=self.conf_source, otherwise="bad_config") from None
        return sorted(
            (file for file in files if file.suffix == ".toml" and not file.name.startswith(".")),
            key=lambda file: file.stem,
        )

    def service_names(self) -> list[str]:
        """The names of all plain services, sorted."""
        return [file.stem for file in self.definition_files() if is_target(file.stem) and "@" not in file.stem]

    def templates(self) -> list[str]:
        """The names of all templates, sorted, without their @."""
        stems = [file.stem for file in self.definition_files()]
        return [template for stem in stems if (template := template_of(stem)) is not None]

    def require_template(self, template: str) -> None:
        """Raises CtlError (unknown_target) where there is none of this name."""
        if template not in self.templates():
            raise self._unknown(f"{template}@", f"{template}@.toml")

    def instance_pattern(self, template: str) -> re.Pattern[str] | None:
        """What finds in a command line which instance it is, None where that does not tell. Raises CtlError."""
        raw = _read_toml(self.service_dir / f"{template}@.toml", missing=lambda: None)
        return instance_pattern(raw, template, self.fill)

    def _unknown(self, target: str, definition: str) -> CtlError:
        templates = self.templates()
        what = "no such service"
        fix = instead(target, [*self.service_names(), *(f"{template}@" for template in templates)])
        template, _, instance = target.partition("@")
        if target in templates:
            what += "; it is a template"
            fix = f"name an instance, {target}@ID, or all of them, {target}@"
        elif template in templates:
            fix = None
        elif instance and (known := nearest(template, templates)):
            fix = f"write {known}@{instance} instead"
        where = f"there is no {self.service_dir / definition}, conf directory set by {self.conf_source}"
        return CtlError("unknown_target", what, where=where, fix=fix, target=target)


def load_config(conf: Path | None, run_dir: Path | None, faults: list[CtlError] | None = None) -> Config:
    """The directories that apply: options first, then environment, then ctl.toml, then the defaults.

    With `faults`, what is wrong in ctl.toml is added to those, and the defaults stand in for it.
    Raises CtlError (bad_config).
    """
    conf_dir, conf_source = _conf_dir(conf)
    if not conf_dir.is_dir():
        raise CtlError("bad_config", f"{conf_dir} is not a directory", where=conf_source)
    require_trusted(conf_dir)
    settings, fault = _settings(conf_dir / "ctl.toml")
    service_dir = conf_dir / settings.service_dir
    if fault is not None and (faults is None or not service_dir.is_dir()):
        raise fault
    if not service_dir.is_dir():
        raise CtlError(
            "bad_config",
            f"{service_dir} is not a directory",
            where=conf_source,
            fix="put definitions there, or name their directory as service_dir in ctl.toml",
        )
    require_trusted(service_dir)
    run, run_source = _run_dir(run_dir, conf_dir, settings)
    if fault is not None and faults is not None:
        faults.append(fault)
    log_dir = conf_dir / settings.log_dir if settings.log_dir else _state("log", Path("/var/log/ctl"))
    return Config(
        conf_dir=conf_dir,
        conf_source=conf_source,
        run_dir=run,
        run_source=run_source,
        log_dir=log_dir,
        service_dir=service_dir,
    )


def _conf_dir(option: Path | None) -> tuple[Path, str]:
    if option is not None:
        return Path(os.path.abspath(option)), "--conf"
    if variable := os.environ.get("CTL_CONF"):
        return Path(os.path.abspath(variable)), "$CTL_CONF"
    if Path("/etc/ctl").is_dir():
        return Path("/etc/ctl"), "the default"
    package = Path(__file__).resolve().parent.parent
    checkout = package.parent.parent / "conf"
    # A checkout has conf/ beside bin/; an installed package carries a copy of it.
    return (checkout if (package.parent.parent / "bin").is_dir() else package / "_conf"), "the default"


def _run_dir(option: Path | None, conf_dir: Path, settings: Settings) -> tuple[Path, str]:
    if option is not None:
        return Path(os.path.abspath(option)), "--run-dir"
    if variable := os.environ.get("CTL_RUN_DIR"):
        return Path(os.path.abspath(variable)), "$CTL_RUN_DIR"
    if settings.run_dir:
        return conf_dir / settings.run_dir, str(conf_dir / "ctl.toml")
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if os.geteuid() != 0 and runtime and os.path.isabs(runtime):
        return Path(runtime, "ctl"), "$XDG_RUNTIME_DIR"
    return _state("run", Path("/run/ctl")), "the default"


def _state(name: str, of_root: Path) -> Path:
    if os.geteuid() == 0:
        return of_root
    home = os.path.expanduser("~")
    if not os.path.isabs(home):
        what = f"user {os.geteuid()} has no home directory for it"
        fix = "give --run-dir or $CTL_RUN_DIR, and log_dir in ctl.toml"
        raise CtlError("bad_config", what, where=f"the {name} directory", fix=fix)
    return Path(home, ".local/state/ctl", name)


def _settings(file: Path) -> tuple[Settings, CtlError | None]:
    """What ctl.toml says, the defaults in the place of what is wrong in it, and an error that names all of that."""
    faults = Flaws()
    try:
        settings = understand_table(Settings, _read_toml(file, missing=lambda: None), "", faults) or Settings()
    except CtlError as error:
        return Settings(), error
    if not faults:
        return settings, None
    return settings, faults.error(str(file))


def _read_toml(file: Path, missing: Any) -> dict[str, Any]:
    """The parsed file; an empty one where it is missing and `missing` returns no error to raise."""
    try:
        return _parsed(file)
    except FileNotFoundError:
        error = missing()
        if error is not None:
            raise error from None
        return {}
    except Unsafe as error:
        raise CtlError("bad_config", error.strerror or "", where=str(file)) from None
    except OSError as error:
        raise failure(error, "cannot be read", where=str(file), otherwise="bad_config") from None


@cache  # a call of ctl reads a template once, however many instances are named
def _parsed(file: Path) -> dict[str, Any]:
    """Raises OSError, CtlError (bad_config)."""
    import tomllib

    content = read_bounded(file, _LARGEST)
    require_trusted(file)
    try:
        text = content.decode()
        _require_plain_keys(text, file)
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # bad TOML, bad UTF-8, numbers or tables beyond all bounds
        raise CtlError("bad_config", f"is not TOML: {error}", where=str(file)) from None


def _require_plain_keys(text: str, file: Path) -> None:
    """Raises CtlError for a key such as a.b.c of very many parts: tomllib takes hours for one that fills the file.

    No key of a definition has more than a few. Dots in strings and comments are not counted.
    """
    if all(line.count(".") <= _MOST_DOTS for line in text.split("\n")):
        return
    if any(line.count(".") > _MOST_DOTS for line in _STRING_OR_COMMENT.sub("", text).split("\n")):
        raise CtlError("bad_config", f"is no definition: it has a key of more than {_MOST_DOTS} parts", where=str(file))
