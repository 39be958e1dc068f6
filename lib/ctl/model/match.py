"""The rules by which a process is a service's own, each answering yes, no or unknown."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from types import EllipsisType
from typing import Any, Protocol

import msgspec

from ctl.model.verdict import Verdict, all_of, verdict_of


class Marker(msgspec.Struct, frozen=True):
    """What ctl puts into a service's environment: the service, and the run directory where it is recorded.

    Services of the same name under two run directories are two services. Both are "" where there is no marker.
    """

    target: str = ""  # CTL_TARGET
    run_dir: str = ""  # CTL_RUN_DIR


class Look(Protocol):
    """What can be seen of one process. Every member is read when it is asked for, and None says it may not be read."""

    @property
    def uid(self) -> int | None: ...
    @property
    def argv(self) -> Sequence[str] | None: ...
    def mentions(self, text: bytes) -> bool:
        """Whether its arguments may hold `text`: a quick no, which says nothing where they may not be read."""

    @property
    def command_line(self) -> str | None: ...
    @property
    def executable(self) -> str | None: ...
    @property
    def marker(self) -> Marker | None:
        """What ctl put into its environment."""

    @property
    def is_overwritten(self) -> bool:
        """Whether its environment holds no NAME= at all, as after setproctitle(3)."""

    @property
    def program(self) -> Program | None:
        """The file that it executes."""


class Program(msgspec.Struct, frozen=True):
    """A file that is executed: by device and inode, and by its path where it was replaced on the disk since."""

    device: int
    inode: int
    path: str
    is_deleted: bool = False


class Unsearched(Exception):
    """A text could not be searched for a pattern; str() says why."""


class Found(Protocol):
    """A match: 0 is all of it, and each named group is there by its name."""

    def __getitem__(self, group: int | str, /) -> Any: ...


class Searching(Protocol):
    """What searches for a pattern."""

    def search(self, text: str, /) -> Found | None:
        """The first match. Raises Unsearched."""


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """Every rule given must hold. `marker` is the rule of a service that has no other.

    `default_uid` stands for the user where no rule names one: it narrows the search, and proves nothing.
    """

    uid: int | None = None
    default_uid: int | None = None
    cmdline: Searching | None = None
    literals: tuple[bytes, ...] = ()  # what every command line that satisfies `cmdline` holds
    executable: re.Pattern[str] | None = None
    java_main: str | None = None
    marker: Marker | None = None
    unsearched: dict[str, str] = {}  # command lines that `cmdline` could not be searched for in, and why
    programs: Callable[[], Collection[Program]] = tuple  # what the service executes: its program, and its interpreter

    @property
    def owner(self) -> int | None:
        """The user that is looked for."""
        return self.default_uid if self.uid is None else self.uid

    def of_anyone(self) -> Rules:
        """The same without the default."""
        return msgspec.structs.replace(self, default_uid=None)

    @property
    def words(self) -> tuple[bytes, ...]:
        """What the arguments of everybody who satisfies the rules hold, the longest first."""
        main = (self.java_main,) if self.java_main else ()
        return _longest_first([*self.literals, *(name.encode() for name in main)])

    def verdict(self, look: Look) -> Verdict:
        """Whether the process satisfies every rule. The first no ends it."""
        return all_of(self.each(look, short=True).values())

    def each(self, look: Look, *, short: bool = False) -> dict[str, Verdict]:
        """What each rule says, by name; with `short` only up to the first no."""
        said: dict[str, Verdict] = {}
        for name, rule in (
            ("user", self._user),
            ("cmdline", self._cmdline),
            ("java_main", self._java_main),
            ("executable", self._executable),
            ("marker", self._marker),
        ):
            holds = rule(look)
            if holds is not ...:
                said[name] = verdict_of(holds)
                if short and holds is False:
                    break
        return said

    # Each answers True, False, None (cannot be read) or ... (there is no such rule).

    def _user(self, look: Look) -> bool | None | EllipsisType:
        if self.owner is None:
            return ...
        return None if look.uid is None else look.uid == self.owner

    def _cmdline(self, look: Look) -> bool | None | EllipsisType:
        if self.cmdline is None:
            return ...
        if not all(map(look.mentions, self.literals)) and look.command_line:
            return False
        line = look.command_line
        if not line:  # it may not be read, or was overwritten
            return None if line is None or self.may_be(look) else False
        try:
            return self.cmdline.search(line) is not None
        except Unsearched as error:
            self.unsearched[line] = str(error)
            return None

    def why_unsearched(self, look: Look) -> str | None:
        """Why `cmdline` cannot tell of this process although its arguments may be read; None where it can."""
        return self.unsearched.get(look.command_line or "") if self.unsearched else None

    def _java_main(self, look: Look) -> bool | None | EllipsisType:
        if self.java_main is None:
            return ...
        if not look.mentions(self.java_main.encode()) and look.argv:
            return False
        argv = look.argv
        if not argv:
            return None if argv is None or self.may_be(look) else False
        return java_main(argv) == self.java_main

    def _executable(self, look: Look) -> bool | None | EllipsisType:
        if self.executable is None:
            return ...
        path = look.executable
        return None if path is None else self.executable.match(path) is not None

    def _marker(self, look: Look) -> bool | None | EllipsisType:
        if self.marker is None:
            return ...
        if look.marker is None or (look.is_overwritten and self.may_be(look)):
            return None
        return look.marker == self.marker

    def may_be(self, look: Look) -> bool:
        """Whether it could be the service though it shows no evidence: it executes the same, as the same user.

        Every host runs programs that overwrite their arguments and environment with a title.
        """
        found = look.program
        return found is not None and any(
            (found.device, found.inode) == (its.device, its.inode) or (found.is_deleted and found.path == its.path)
            for its in self.programs()
        )


def glob(pattern: str) -> re.Pattern[str]:
    """`pattern` as fnmatch(3) without FNM_PATHNAME understands it: * also matches a slash."""

    from fnmatch import translate

    return re.compile(translate(pattern))


# The options of java(1) whose value is the next argument; every other option is one argument.
_JAVA_TAKES_VALUE = frozenset(
    "-cp -classpath --class-path -p --module-path --upgrade-module-path --add-modules --add-reads --add-exports "
    "--add-opens --limit-modules --patch-module --enable-native-access --describe-module -d --source "
    "--illegal-native-access".split()
)


def java_main(argv: Sequence[str]) -> str | None:
    """The main class of a JVM, as `jps -l` prints it: a class, a jar's path, or MODULE/CLASS.

    None where the argv is no JVM's, or names no main class (java -version), or hides it in an @argfile.
    """
    if not argv or argv[0].rpartition("/")[2] not in ("java", "java.exe", "javaw"):
        return None
    arguments = iter(argv[1:])
    jar = False
    for argument in arguments:
        if argument in ("-m", "--module"):
            return next(arguments, None)
        if argument == "-jar":  # java(1) reads on for options after it
            jar = True
        elif argument in _JAVA_TAKES_VALUE:
            next(arguments, None)
        elif argument.startswith("--module="):
            return argument.removeprefix("--module=")
        elif argument.startswith("@") and not jar:
            return None
        elif not argument.startswith("-"):
            return argument
    return None


def necessary_literals(pattern: re.Pattern[str]) -> tuple[bytes, ...]:
    """The runs of plain characters that every match of `pattern` holds, the longest first.

    Looking for them in the raw bytes spares nearly every process the decoding and the regex.
    """
    from re import _parser  # type: ignore[attr-defined]  # re has no public way to look into a pattern

    if pattern.flags & re.IGNORECASE:
        return ()
    runs = [""]

    def walk(items: Iterable[tuple[object, Any]]) -> None:
        for operator, value in items:
            # A blank may stand for the NUL between two arguments, and a backslash for a byte that is no text.
            if str(operator) == "LITERAL" and 32 < value < 127 and chr(value) != "\\":
                runs[-1] += chr(value)
                continue
            runs.append("")
            inner = _always_matched(str(operator), value)
            if inner is not None:
                walk(inner)
                runs.append("")

    walk(_parser.parse(pattern.pattern, pattern.flags & ~re.UNICODE))
    return _longest_first(run.encode() for run in runs if run)


def _longest_first(texts: Iterable[bytes]) -> tuple[bytes, ...]:
    """Without those that are part of another, and so tell nothing more."""
    kept: list[bytes] = []
    for text in sorted(texts, key=len, reverse=True):
        if not any(text in longer for longer in kept):
            kept.append(text)
    return tuple(kept)


def _always_matched(operator: str, value: Any) -> Iterable[tuple[object, Any]] | None:
    """The pattern inside a part of another that every match goes through, None where there is none."""
    inner: Iterable[tuple[object, Any]] | None = None
    if operator == "SUBPATTERN" and not value[1] and not value[2]:  # a group that changes no flags
        inner = value[3]
    elif operator in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT") and value[0] > 0:
        inner = value[2]
    elif operator == "ATOMIC_GROUP":
        inner = value
    return inner
