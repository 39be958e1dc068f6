"""The words of the command line that more than one part of ctl has to know."""

from __future__ import annotations

from typing import Final

# Verbs that do something to services: the journal tells of these, and of no others.
ACTING: Final = ("start", "run", "stop", "kill", "restart", "reload", "pause", "resume", "forget")
# Each is a function of that name in ctl.shell.commands.
VERBS: Final = (*ACTING, "status", "wait", "explain", "logs", "events", "check", "doctor", "completion")

# The options that take no value, by the parameter that they set.
FLAGS: Final = {
    "as_json": ("--json",),
    "quiet": ("--quiet", "-q"),
    "verbose": ("--verbose", "-v"),
    "every": ("--all", "-a"),
    "yes": ("--yes", "-y"),
    "dry_run": ("--dry-run", "-n"),
    "ready": ("--ready",),
}
