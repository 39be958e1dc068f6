"""The rules by which a process is a service's own: each says yes, no or unknown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ctl.model.match import Marker, Program, Rules, glob, java_main, necessary_literals
from ctl.model.verdict import NO, UNKNOWN, YES, Verdict

MARKER = Marker(target="web", run_dir="/run/ctl")


@dataclass(frozen=True)
class Seen:
    """A process of which all that the rules ask can be seen, unless it is None."""

    uid: int | None = 33
    argv: Sequence[str] | None = ("/usr/bin/java", "-cp", "x.jar", "org.example.Main", "--port", "80")
    command_line: str | None = "/usr/bin/java -cp x.jar org.example.Main --port 80"
    executable: str | None = "/usr/lib/jvm/bin/java"
    marker: Marker | None = MARKER
    is_overwritten: bool = False
    program: Program | None = None

    def mentions(self, text: bytes) -> bool:
        return self.command_line is None or text in self.command_line.encode()


HIDDEN = Seen(None, None, None, None, None)
EVERY_RULE = {
    "user": (Rules(uid=33), Rules(uid=34)),
    "cmdline": (Rules(cmdline=re.compile(r"example\.Main --port")), Rules(cmdline=re.compile("^java"))),
    "executable": (Rules(executable=glob("*/bin/java")), Rules(executable=glob("*/bin/jav"))),
    "java_main": (Rules(java_main="org.example.Main"), Rules(java_main="org.example.Main2")),
    "marker": (Rules(marker=MARKER), Rules(marker=Marker(target="db", run_dir="/run/ctl"))),
}


@pytest.mark.parametrize("rule", EVERY_RULE)
def test_each_rule_says_yes_no_or_unknown(rule: str) -> None:
    holds, breaks = EVERY_RULE[rule]
    assert holds.verdict(Seen()) == YES
    assert breaks.verdict(Seen()) == NO
    assert holds.verdict(HIDDEN) == breaks.verdict(HIDDEN) == UNKNOWN
    assert holds.each(Seen()) == {rule: YES}
    assert breaks.each(HIDDEN) == {rule: UNKNOWN}


@pytest.mark.parametrize(
    ("look", "verdict"),
    [
        (Seen(), YES),
        (Seen(uid=34), NO),
        (Seen(command_line="vi org.example.Main"), NO),
        (Seen(executable="/usr/bin/vi"), NO),
        (Seen(uid=None), UNKNOWN),
        (Seen(command_line=None), UNKNOWN),
        (Seen(executable=None), UNKNOWN),
        (Seen(uid=34, executable=None), NO),  # a no is a no, whatever else is hidden
        (Seen(command_line="vi", executable=None, uid=None), NO),
        (HIDDEN, UNKNOWN),
    ],
)
def test_every_rule_given_must_hold(look: Seen, verdict: Verdict) -> None:
    rules = Rules(uid=33, cmdline=re.compile(r"^/usr/bin/java .*example\.Main"), executable=glob("*/java"))
    assert rules.verdict(look) == verdict


@pytest.mark.parametrize(
    ("marker", "verdict"),
    [
        (MARKER, YES),
        (Marker(target="web", run_dir="/home/u/run"), NO),  # a service of that name under another run directory
        (Marker(target="we", run_dir="/run/ctl"), NO),
        (Marker(), NO),
        (None, UNKNOWN),
    ],
)
def test_the_marker_of_a_service_without_rules(marker: Marker | None, verdict: Verdict) -> None:
    assert Rules(uid=33, marker=MARKER).verdict(Seen(marker=marker)) == verdict


def test_the_first_no_ends_it() -> None:
    class Asked:
        uid = 33
        argv = ("vi",)
        command_line = "vi"
        executable = "/usr/bin/vi"
        is_overwritten = False
        program = None

        def mentions(self, text: bytes) -> bool:
            return text in b"vi"

        @property
        def marker(self) -> Marker | None:
            raise AssertionError("the environment was read of a process that is out already")

    assert Rules(cmdline=re.compile("java"), marker=MARKER).verdict(Asked()) == NO


SERVER = Program(1, 2, "/opt/server")
OVERWRITTEN = {
    "the same file": (SERVER, UNKNOWN),
    "replaced on the disk since": (Program(1, 7, "/opt/server", is_deleted=True), UNKNOWN),
    "another file of that path": (Program(1, 7, "/opt/server"), NO),
    "another file": (Program(3, 2, "/opt/other"), NO),
    "none": (None, NO),
}


@pytest.mark.parametrize("executes", OVERWRITTEN)
@pytest.mark.parametrize("rule", ["cmdline", "java_main", "marker"])
def test_overwritten_evidence_is_unknown_of_what_could_be_the_service(rule: str, executes: str) -> None:
    program, verdict = OVERWRITTEN[executes]
    rules = {
        "cmdline": Rules(cmdline=re.compile("server"), literals=(b"server",), programs=lambda: {SERVER}),
        "java_main": Rules(java_main="org.example.Main", programs=lambda: {SERVER}),
        "marker": Rules(marker=MARKER, programs=lambda: {SERVER}),
    }
    blank = Seen(argv=(), command_line="", marker=Marker(), is_overwritten=True, program=program)
    assert rules[rule].verdict(blank) == verdict
    assert msgspec.structs.replace(rules[rule], uid=34).verdict(blank) == NO, "another user's"


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("*/bin/java", "/usr/lib/jvm/java-17/bin/java", True),
        ("*/bin/java", "/bin/java", True),
        ("*/bin/java", "bin/java", False),
        ("*/bin/java", "/usr/bin/javac", False),
        ("*/bin/java", "/usr/bin/java\n", False),
        ("/opt/*/server", "/opt/a/b/server", True),
        ("/opt/v?/server", "/opt/v2/server", True),
        ("/opt/v[12]/server", "/opt/v3/server", False),
        ("/opt/a.b/server", "/opt/aXb/server", False),
        ("/usr/bin/redis-server", "/usr/bin/redis-server", True),
        ("/usr/bin/redis-server", "/usr/bin/redis-server-7", False),
    ],
)
def test_glob(pattern: str, path: str, matches: bool) -> None:
    assert (glob(pattern).match(path) is not None) is matches


@pytest.mark.parametrize(
    ("words", "main"),
    [
        ("java Main", "Main"),
        ("/usr/lib/jvm/java-17/bin/java org.example.Main --port 80", "org.example.Main"),
        ("java -cp a.jar:b.jar org.example.Main", "org.example.Main"),
        ("java -classpath a.jar org.example.Main", "org.example.Main"),
        ("java --class-path a.jar org.example.Main", "org.example.Main"),
        ("java --class-path=a.jar org.example.Main", "org.example.Main"),
        ("java -Xmx1g -Dname=value -XX:+UseG1GC -javaagent:a.jar=x -ea -server Main", "Main"),
        ("java -Dmain=Other Main", "Main"),
        ("java -cp Other Main", "Main"),  # the value of an option is not the main class
        ("java --add-opens java.base/java.lang=ALL-UNNAMED --add-exports a/b=c Main", "Main"),
        ("java --add-opens=java.base/java.lang=ALL-UNNAMED Main", "Main"),
        ("java --add-modules a,b --limit-modules c -p mods --patch-module m=x Main", "Main"),
        ("java --enable-native-access ALL-UNNAMED Main", "Main"),
        ("java -jar /opt/app.jar --port 80", "/opt/app.jar"),
        ("java -Xmx1g -jar app.jar", "app.jar"),
        ("java -jar -Xmx1g app.jar", "app.jar"),  # java(1) still takes options there
        ("java -jar -cp x.jar -Dname=value app.jar -jar other.jar", "app.jar"),
        ("java -m org.example/org.example.Main", "org.example/org.example.Main"),
        ("java --module org.example/org.example.Main x", "org.example/org.example.Main"),
        ("java --module=org.example/org.example.Main", "org.example/org.example.Main"),
        ("java -p mods -m org.example", "org.example"),
        ("java Main -jar x.jar", "Main"),  # from the main class on, all is its own
        ("java Main @file -cp y", "Main"),
        ("java @options Main", None),  # what is in the file may name another
        ("java -cp a.jar @options", None),
        ("java -version", None),
        ("java -jar", None),
        ("java -m", None),
        ("java -cp", None),
        ("java -cp a.jar", None),
        ("java", None),
        ("", None),
        ("javac Main", None),
        ("python3 java Main", None),
        ("sh -c java\\ Main", None),
        ("/opt/java/run Main", None),
        ("tail -f java.log", None),
    ],
)
def test_java_main(words: str, main: str | None) -> None:
    assert java_main(words.split()) == main


def test_java_main_of_an_argv_with_blanks_and_empty_words() -> None:
    assert java_main(["java", "-cp", "", "-Dtitle=my gateway", "org.example.Main", ""]) == "org.example.Main"
    assert java_main(["java", "-jar", "/opt/my app.jar"]) == "/opt/my app.jar"


@pytest.mark.parametrize(
    ("pattern", "literals"),
    [
        (r"org\.apache\.kyuubi\.Server", "org.apache.kyuubi.Server"),
        ("com.example.orders.Server", "example orders Server com"),
        ("^/opt/web/run --id=1$", "/opt/web/run --id=1"),  # a blank may stand for the end of an argument
        (r"--name=web(?![\w.])", "--name=web"),
        (r"(?<!\w)web(?!\w)", "web"),
        ("(kyuubi)+ .*server", "kyuubi server"),
        ("web.*webserver", "webserver"),
        ("a?bc*d", "b d"),
        ("gateway|engine", ""),
        ("(gateway|engine)-main", "-main"),
        ("(?i)server", ""),
        ("(?i:server) x", "x"),
        ("(?:server)?x", "x"),
        ("(server){0,3}x", "x"),
        ("[a-z]+", ""),
        ("caf\u00e9 x", "caf x"),
        (r"a\\b", "a b"),
        ("(?=server)s", "s"),
    ],
)
def test_necessary_literals(pattern: str, literals: str) -> None:
    assert necessary_literals(re.compile(pattern)) == tuple(literals.encode().split())


def patterns(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map("(?:{0[0]}|{0[1]})".format),
        inner.map("({})".format),
        inner.map("(?i:{})".format),
        st.tuples(inner, st.sampled_from(["?", "*", "+", "{2}", "{0,2}", "+?"])).map("(?:{0[0]}){0[1]}".format),
        inner.map("(?={})".format),
        inner.map("(?!{})".format),
    )


WRITTEN = st.recursive(
    st.sampled_from(["a", "b", "A", "ab", ".", "[ab]", "^", "$", r"\.", r"\b", " "]), patterns, max_leaves=8
)


@settings(deadline=None, database=None, max_examples=300)
@given(pattern=WRITTEN, line=st.text(alphabet="abA. ", max_size=12))
def test_whatever_a_pattern_matches_holds_its_literals(pattern: str, line: str) -> None:
    """Else a running service would not be found."""
    compiled = re.compile(pattern)
    if compiled.search(line):
        assert all(literal.decode() in line for literal in necessary_literals(compiled))
