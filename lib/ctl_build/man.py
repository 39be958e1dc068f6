"""The man page ctl(1), in the language of man(7)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from ctl.model.errors import MEANINGS
from ctl_build.manual import Chapter, Option, chapters, shared_options

_ABOUT: Final = "start, stop and kill services, and never signal the wrong process"
_DESCRIPTION: Final = """
A service is defined by a file, services/NAME.toml in the conf directory, and named by that NAME. NAME@.toml defines a
template: NAME@ID is one instance of it, NAME@ every instance.

ctl signals no process that it has not proved to be the right one. Where that cannot be told it refuses, and ctl explain
says why.

Stopping what is stopped and starting what is started change nothing and succeed. Several targets are all checked before
the first is touched, and then done side by side; an error of one never aborts the others.

Results go to stdout, diagnostics to stderr.
"""
_WITHOUT_ROOT: Final = """
/etc/ctl, /run/ctl and /var/log/ctl; without root $XDG_RUNTIME_DIR/ctl or ~/.local/state/ctl/run, and
~/.local/state/ctl/log. Where there is no /etc/ctl, CONF is the one that came with ctl.
"""
_FILES: Final = (
    ("CONF/services/NAME.toml", "A definition. ctl check says what is wrong in it."),
    ("CONF/ctl.toml", "Where things live on this host: run_dir, log_dir, service_dir."),
    ("RUN/NAME.json, RUN/NAME.pid", "The record of the process that runs, and its pid for others to read."),
    ("LOG/NAME.log", "What the service writes to stdout and stderr, rotated at each start."),
    ("LOG/events.jsonl", "What every ctl has done; ctl events shows it."),
    ("CONF, RUN, LOG", " ".join(_WITHOUT_ROOT.split())),
)
_ENVIRONMENT: Final = (
    ("CTL_CONF, CTL_RUN_DIR", "The conf and run directory, where --conf and --run-dir are not given."),
    ("MAINPID", "Within a systemd unit: which process systemd takes for the service. It has to prove to be it."),
    ("NO_COLOR", "No colours."),
    ("CTL_DEBUG", "With a fault in ctl itself, its trace."),
    (
        "CTL_TARGET, CTL_RUN_DIR",
        "What ctl gives to each service that it starts, by which it finds it without a record.",
    ),
    ("CTL_RUN_ID", "The public id of the run, which the record holds as well."),
    ("CTL_TOKEN", "What tells the processes of the run from others: who can read it can make such a process."),
)
_SEE_ALSO: Final = (
    "ctl-security(7), ctl-systemd(7), systemctl(1), kill(1), pgrep(1), start-stop-daemon(8), signal(7), pidfd_open(2)"
)


def man_page(version: str) -> str:
    """The whole page. It holds no date, so that the same source gives the same page."""
    return "\n".join(_lines(version)) + "\n"


def _lines(version: str) -> Iterator[str]:
    yield '.\\" Made by bin/build docs, from the docstrings of the verbs.'
    yield f'.TH CTL 1 "" "ctl {version}" "User Commands"'
    yield ".nr HY 0\n.hy 0\n.ad l"  # no word is hyphenated, and no line filled up with spaces
    yield f".SH NAME\nctl \\- {_escaped(_ABOUT)}"
    yield ".SH SYNOPSIS\n.B ctl\n.I VERB\n.RI [ OPTIONS ]\n.RI [ TARGET... ]"
    yield from (".br\n.B ctl \\-\\-help", ".br\n.B ctl \\-\\-version")
    yield ".SH DESCRIPTION"
    yield from _paragraphs(" ".join(part.split()) for part in _DESCRIPTION.split("\n\n"))
    yield ".SH OPTIONS\nEvery verb takes these; its own are described with it."
    yield from _terms(shared_options())
    yield ".SH VERBS"
    for chapter in chapters():
        yield from _chapter(chapter)
    yield ".SH EXIT STATUS\nWhat they mean for a verb is told with it."
    yield from _terms((str(code), meaning) for code, meaning in MEANINGS.items())
    yield ".SH FILES"
    yield from _terms(_FILES)
    yield ".SH ENVIRONMENT"
    yield from _terms(_ENVIRONMENT)
    yield f".SH SEE ALSO\n{_escaped(_SEE_ALSO)}"


def _chapter(chapter: Chapter) -> Iterator[str]:
    yield f".SS ctl {chapter.verb}"
    yield f".B {_escaped(chapter.usage)}"
    yield ".PP"
    yield from _paragraphs(chapter.page.paragraphs)
    yield from _terms([*chapter.arguments, *chapter.options])
    yield ".PP\nExit codes:"
    yield from _terms((str(code), meaning) for code, meaning in chapter.page.codes.items())
    if chapter.page.examples:
        yield ".PP\nExamples:\n.PP\n.RS 4\n.EX"
        yield from map(_escaped, chapter.page.example_lines())
        yield ".EE\n.RE"


def _paragraphs(texts: Iterable[str]) -> Iterator[str]:
    yield "\n.PP\n".join(map(_escaped, texts))


def _terms(terms: Iterable[Option | tuple[str, str]]) -> Iterator[str]:
    for term, meaning in terms:
        yield f".TP\n.B {_escaped(term)}\n{_escaped(meaning)}"


_SPECIAL: Final = str.maketrans(
    {"\\": "\\e", "-": "\\-", "'": "\\(aq", "`": "\\(ga", "^": "\\(ha", "~": "\\(ti", '"': "\\(dq"}
)


def _escaped(text: str) -> str:
    """Text that groff prints as it stands, so that what is copied from a terminal can be typed. groff_char(7)."""
    escaped = text.translate(_SPECIAL)
    return f"\\&{escaped}" if escaped.startswith(".") else escaped
