"""Where things live on this host: the conf, run, log and service directories, and the definitions in them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec

from ctl.model.definition import understand
from ctl.model.errors import CtlError
from ctl.model.service import Service
from ctl.model.suggest import did_you_mean
from ctl.model.target import Target, parse_target
from ctl.system.failure import failure
from ctl.system.trust import require_trusted


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
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

    def service(self, target: Target) -> Service:
        """The definition of `target`, understood. Raises CtlError (unknown_target, bad_config)."""
        file = self.service_dir / target.definition
        raw = _read_toml(file, missing=lambda: self._unknown(target))
        return understand(raw, target, str(file), {"run_dir": str(self.run_dir), "log_dir": str(self.log_dir)})

    def service_names(self) -> list[str]:
        """The names of all plain services, sorted."""
        try:
            files = [file for file in self.service_dir.iterdir() if file.suffix == ".toml"]
        except OSError as error:
            what = f"{self.service_dir} cannot be read"
            raise failure(error, what, where=self.conf_source, otherwise="bad_config") from None
        return sorted(file.stem for file in files if _is_plain(file.stem))

    def _unknown(self, target: Target) -> CtlError:
        names = self.service_names()
        return CtlError(
            "unknown_target",
            f"no such service{did_you_mean(str(target), names)}",
            where=f"there is no {self.service_dir / target.definition}, conf directory set by {self.conf_source}",
            target=str(target),
        )


def load_config(conf: Path | None, run_dir: Path | None) -> Config:
    """The directories that apply: options first, then environment, then ctl.toml, then the defaults.

    Raises CtlError (bad_config).
    """
    conf_dir, conf_source = _conf_dir(conf)
    if not conf_dir.is_dir():
        raise CtlError("bad_config", f"{conf_dir} is not a directory", where=conf_source)
    require_trusted(conf_dir)
    settings = _settings(conf_dir / "ctl.toml")
    service_dir = conf_dir / settings.service_dir
    if not service_dir.is_dir():
        raise CtlError(
            "bad_config",
            f"{service_dir} is not a directory; definitions belong there, or where service_dir in ctl.toml says",
            where=conf_source,
        )
    require_trusted(service_dir)
    run, run_source = _run_dir(run_dir, conf_dir, settings)
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
        what = (
            f"user {os.geteuid()} has no home directory for it: give --run-dir or $CTL_RUN_DIR, and log_dir in ctl.toml"
        )
        raise CtlError("bad_config", what, where=f"the {name} directory")
    return Path(home, ".local/state/ctl", name)


def _settings(file: Path) -> Settings:
    raw = _read_toml(file, missing=lambda: None)
    for key in raw:
        if key not in Settings.__struct_fields__:
            valid = ", ".join(Settings.__struct_fields__)
            near = did_you_mean(key, Settings.__struct_fields__)
            raise CtlError("bad_config", f"{key}: no such key{near} (valid: {valid})", where=str(file))
    try:
        return msgspec.convert(raw, Settings)
    except msgspec.ValidationError as error:
        raise CtlError("bad_config", str(error).replace("`", ""), where=str(file)) from None


def _read_toml(file: Path, missing: Any) -> dict[str, Any]:
    """The parsed file; an empty one where it is missing and `missing` returns no error to raise."""
    import tomllib

    try:
        content = file.read_bytes()
    except FileNotFoundError:
        error = missing()
        if error is not None:
            raise error from None
        return {}
    except OSError as error:
        raise failure(error, "cannot be read", where=str(file), otherwise="bad_config") from None
    require_trusted(file)
    try:
        return tomllib.loads(content.decode())
    except (ValueError, RecursionError) as error:  # bad TOML, bad UTF-8, numbers or tables beyond all bounds
        raise CtlError("bad_config", f"is not TOML: {error}", where=str(file)) from None


def _is_plain(stem: str) -> bool:
    try:
        return parse_target(stem).instance is None
    except CtlError:
        return False
