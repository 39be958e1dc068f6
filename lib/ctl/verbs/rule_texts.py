"""The rules that a main process must satisfy, as a person reads them."""

from __future__ import annotations

from ctl.model.match import Rules
from ctl.model.service import Service
from ctl.system.trust import user_name


def wanted_by(service: Service, rules: Rules) -> dict[str, str]:
    """Each rule in force as text, in the order in which they are asked."""
    match, marker = service.match, rules.marker
    wanted = {
        "cmdline": match.cmdline,
        "java_main": match.java_main,
        "executable": match.executable,
        "marker": f"CTL_TARGET={marker.target} CTL_RUN_DIR={marker.run_dir}" if marker is not None else None,
        "user": _wanted_user(rules),
    }
    return {name: text for name, text in wanted.items() if text is not None}


def _wanted_user(rules: Rules) -> str | None:
    if rules.owner is None:
        return None
    return f"{user_name(rules.owner)} (uid {rules.owner}{', by default' if rules.uid is None else ''})"
