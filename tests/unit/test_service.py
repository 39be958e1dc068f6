"""Definitions: what each key may be; every fault is named with file, key, what was found and what would be right."""

from __future__ import annotations

import tomllib

import pytest

from ctl.model.definition import understand
from ctl.model.errors import CtlError
from ctl.model.match import Marker
from ctl.model.schedule import parse_schedule
from ctl.model.service import Service, tcp_address
from ctl.model.target import parse_target

FILE = "/etc/ctl/services/web.toml"
FILL = {"run_dir": "/run/ctl", "log_dir": "/var/log/ctl"}
START = '[start]\ncommand = ["/usr/bin/web"]\n'
HOOK = '[stop]\nbefore = [{ command = ["a"], '


def service(text: str, target: str = "web", fill: dict[str, str] = FILL) -> Service:
    return understand(tomllib.loads(text), parse_target(target), FILE, fill)


def faults(text: str) -> list[CtlError]:
    with pytest.raises(CtlError) as caught:
        service(text)
    error = caught.value
    for one in (error, *error.others):
        assert (one.reason, one.exit_code, one.where, one.target) == ("bad_config", 6, FILE, "web")
    return [error, *error.others]


# -------------------------------------------------------------------------------------------------------- what is right


def test_an_empty_definition_is_one() -> None:
    """A service that something else starts."""
    empty = service("")
    assert (empty.name, empty.start, empty.has_rules) == ("web", None, False)
    assert (empty.stop.kill_mode, empty.match.max, empty.ready.settle) == ("mixed", 1, 0.5)
    assert empty.schedule == parse_schedule("TERM/30/KILL/5")


def test_every_key() -> None:
    full = service(r"""
        description = "Kyuubi SQL gateway"
        [start]
        command = ["/opt/kyuubi/bin/kyuubi", "run"]
        type = "notify"
        directory = "/opt/kyuubi"
        user = "kyuubi"
        group = "hadoop"
        umask = "027"
        nice = -5
        limits = { nofile = 65536, core = "infinity" }
        environment = { JAVA_HOME = "/usr/lib/jvm/java-17", EMPTY = "" }
        log = "/var/log/ctl/kyuubi.log"
        log_keep = 0
        [ready]
        tcp = "[::1]:10009"
        timeout = 60
        settle = 0
        [match]
        cmdline = 'org\.apache\.kyuubi\.server\.KyuubiServer'
        executable = "*/bin/java"
        java_main = "org.apache.kyuubi.server.KyuubiServer"
        user = "kyuubi"
        max = 2
        [stop]
        schedule = "INT/2.5/TERM/30/KILL/5"
        kill_mode = "tree"
        protected = true
        pid_file = "/run/kyuubi.pid"
        before = [["/opt/lb/drain", "{target}"], { command = ["/bin/true"], timeout = 2 }]
        after = []
        [reload]
        signal = "HUP"
        [drain]
        http = "http://127.0.0.1:8080/idle"
        interval = 0.5
        timeout = 30
    """)
    assert full.start
    assert full.start.command == ("/opt/kyuubi/bin/kyuubi", "run")
    assert full.start.limits == {"nofile": 65536, "core": "infinity"}
    assert full.cmdline
    assert full.cmdline.search("java org.apache.kyuubi.server.KyuubiServer")
    assert full.schedule == parse_schedule("INT/2.5/TERM/30/KILL/5")
    assert full.has_rules


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:80", ("127.0.0.1", 80)),
        ("localhost:65535", ("localhost", 65535)),
        ("[::1]:10009", ("::1", 10009)),
    ],
)
def test_tcp_address(text: str, address: tuple[str, int]) -> None:
    assert tcp_address(text) == address


# -------------------------------------------------------------------------------------------------------- what is wrong

PROGRAM = 'expected a program and its arguments, such as ["/usr/bin/sleep", "60"]'
SIGNAL = "is neither a signal nor a number of seconds"


# The definition, how the fault begins, and the fix where there is one.
WRONG: list[tuple[str, ...]] = [
    # Names, with the nearest valid one.
    ('descripton = "x"', "descripton: no such key (valid: description, ", "write description instead"),
    ("[strat]", "strat: no such key", "write start instead"),
    (START + 'enviroment = { A = "1" }', "start.enviroment: no such key (valid: ", "write environment instead"),
    ('[match]\njavamain = "x"', "match.javamain: no such key (valid: cmdline, ", "write java_main instead"),
    ("[stop]\nxyzzy = 1", "stop.xyzzy: no such key (valid: schedule, kill_mode, "),
    (HOOK + "timeot = 3 }]", "stop.before[0].timeot: no such key", "write timeout instead"),
    (START + "limits = { nofiles = 3 }", "start.limits.nofiles: no such limit", "write nofile instead"),
    # Types.
    ("description = 3", "description: expected str, found 3"),
    ("start = 3", "start: expected a table, found 3"),
    ('[[start]]\ncommand = ["a"]', "start: expected a table, found [{"),
    ("[start]", "start.command: missing"),
    ('[start]\ncommand = "/bin/web run"', "start.command: expected array, found '/bin/web run'"),
    ('[start]\ncommand = ["a", 3]', "start.command: expected str at [1], found ['a', 3]"),
    (START + "umask = 27", "start.umask: expected str, found 27"),
    (START + "user = 1000", "start.user: expected str, found 1000"),
    (START + "nice = 1.5", "start.nice: expected int, found 1.5"),
    (START + "nice = true", "start.nice: expected int, found True"),
    (START + "environment = { A = 1 }", "start.environment.A: expected str, found 1"),
    (START + "limits = { nofile = 1.5 }", "start.limits.nofile: expected "),
    ('[ready]\ntimeout = "5"', "ready.timeout: expected float, found '5'"),
    ('[match]\nmax = "2"', "match.max: expected int, found '2'"),
    ('[stop]\nprotected = "yes"', "stop.protected: expected bool, found 'yes'"),
    ('[stop]\nbefore = ["/x"]', "stop.before[0]: expected "),
    # A choice of words.
    (START + 'type = "fork"', "start.type: expected simple, forking or notify, found 'fork'", "write forking instead"),
    (
        '[stop]\nkill_mode = "tres"', "stop.kill_mode: expected mixed, process or tree, found 'tres'",
        "write tree instead",
    ),
    # Values.
    ("[start]\ncommand = []", f"start.command: {PROGRAM}"),
    ('[start]\ncommand = [""]', f"start.command: {PROGRAM}"),
    ('[start]\ncommand = ["a\\u0000"]', "start.command: holds a NUL"),
    (START + 'directory = "opt"', "start.directory: expected an absolute path, found 'opt'"),
    (START + 'log = "web.log"', "start.log: expected an absolute path, found 'web.log'"),
    (START + "log_keep = -1", "start.log_keep: expected 0 or more, found -1"),
    (START + 'umask = "9"', "start.umask: expected octal digits such as \"027\", found '9'"),
    (START + 'umask = "7777"', "start.umask: expected octal digits such as \"027\", found '7777'"),
    (START + "nice = 20", "start.nice: expected -20 to 19, found 20"),
    (START + "nice = -21", "start.nice: expected -20 to 19, found -21"),
    (START + 'group = "web"', "start.group: given without start.user"),
    (START + 'limits = { nofile = "x" }', 'start.limits.nofile: expected a number from 0 or "infinity", found '),
    (START + "limits = { nofile = -1 }", 'start.limits.nofile: expected a number from 0 or "infinity", found -1'),
    (START + 'environment = { "A-B" = "1" }', "start.environment: 'A-B' is no variable's name ("),
    (START + 'environment = { CTL_TARGET = "x" }', "start.environment.CTL_TARGET: ctl sets it itself"),
    (START + 'environment = { CTL_RUN_ID = "x" }', "start.environment.CTL_RUN_ID: ctl sets it itself"),
    (START + 'environment = { A = "\\u0000" }', "start.environment.A: holds a NUL"),
    # Probes.
    ('[ready]\ntcp = "10009"', "ready.tcp: '10009' is not HOST:PORT, such as \"127.0.0.1:8080\""),
    ('[ready]\ntcp = "localhost:0"', "ready.tcp: 'localhost:0' is not HOST:PORT"),
    ('[ready]\ntcp = "localhost:65536"', "ready.tcp: 'localhost:65536' is not HOST:PORT"),
    ('[ready]\ntcp = "::1:80"', "ready.tcp: '::1:80' is not HOST:PORT"),
    ('[ready]\nhttp = "ftp://x/"', "ready.http: expected http://HOST[:PORT]/PATH, found 'ftp://x/'"),
    ('[ready]\nhttp = "localhost:80/x"', "ready.http: expected http://HOST[:PORT]/PATH, found 'localhost:80/x'"),
    ('[ready]\nhttp = "http://a b/"', "ready.http: expected http://HOST[:PORT]/PATH, found 'http://a b/'"),
    ('[ready]\nlog = "("', "ready.log: '(' is no regular expression: missing )"),
    ('[ready]\nlog = "x*"', "ready.log: 'x*' matches everything"),
    ("[ready]\ncommand = []", f"ready.command: {PROGRAM}"),
    ('[ready]\ntcp = "a:1"\nlog = "x"', "ready: one probe at most, found tcp and log"),
    ("[ready]\ntimeout = 0", "ready.timeout: expected more than 0 seconds, found 0"),
    ("[ready]\ntimeout = -1", "ready.timeout: expected more than 0 seconds, found -1"),
    ("[ready]\ntimeout = nan", "ready.timeout: expected "),
    ("[ready]\nsettle = -0.5", "ready.settle: expected 0 or more seconds, found -0.5"),
    (
        START + 'type = "forking"\n[ready]\nnotify = true', 'ready.notify: a service of type "forking" sends no ',
        'use type = "notify"',
    ),
    # Rules: none that takes in everything.
    ('[match]\ncmdline = "["', "match.cmdline: '[' is no regular expression: "),
    ('[match]\ncmdline = ""', "match.cmdline: is empty"),
    ('[match]\ncmdline = ".*"', "match.cmdline: '.*' matches everything"),
    ('[match]\ncmdline = "java|"', "match.cmdline: 'java|' matches everything"),
    ('[match]\nexecutable = ""', "match.executable: "),
    ('[match]\nexecutable = "*"', "match.executable: '*' matches everything"),
    ('[match]\nexecutable = "/*"', "match.executable: '/*' matches everything"),
    ('[match]\njava_main = ""', "match.java_main: "),
    ("[match]\nmax = 0", "match.max: expected 1 or more, found 0"),
    (
        '[match]\nuser = "web"', "match.user: a user alone would match all that this user runs",
        "add cmdline, executable or java_main",
    ),
    # Stop, reload, drain.
    ('[stop]\nschedule = "TREM/5"', f"stop.schedule: 'TREM/5' 'TREM' {SIGNAL}", "write TERM instead"),
    (
        '[stop]\nschedule = "TERM"', "stop.schedule: 'TERM' ends in a signal",
        "say how long to wait after it, for example TERM/5",
    ),
    ("[stop]\nschedule = 5", "stop.schedule: expected str, found 5"),
    ('[stop]\npid_file = "run/web.pid"', "stop.pid_file: expected an absolute path, found 'run/web.pid'"),
    ("[stop]\nbefore = [[]]", f"stop.before[0]: {PROGRAM}"),
    ('[stop]\nafter = [["a"], { command = [] }]', f"stop.after[1]: {PROGRAM}"),
    (HOOK + "timeout = -1 }]", "stop.before[0].timeout: expected more than 0 seconds, found -1"),
    ("[reload]", "reload: expected either signal or command"),
    ('[reload]\nsignal = "HUP"\ncommand = ["a"]', "reload: expected either signal or command"),
    ('[reload]\nsignal = "HUPP"', "reload.signal: 'HUPP' ", "write HUP instead"),
    ('[reload]\nsignal = "SIGKILL"', "reload.signal: no program can catch KILL"),
    ("[reload]\ncommand = []", f"reload.command: {PROGRAM}"),
    ('[reload]\ncommand = ["a"]\ntimeout = 0', "reload.timeout: expected more than 0 seconds, found 0"),
    ("[drain]", "drain: expected one of command, http, tcp, found none"),
    ('[drain]\ntcp = "a:1"\nhttp = "http://a/"', "drain: expected one of command, http, tcp, found http and tcp"),
    ('[drain]\ntcp = "a"', "drain.tcp: 'a' is not HOST:PORT"),
    ('[drain]\ncommand = ["a"]\ninterval = 0', "drain.interval: expected more than 0 seconds, found 0"),
    ('[drain]\ncommand = ["a"]\ntimeout = -1', "drain.timeout: expected more than 0 seconds, found -1"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "fault", "fix"), [(row[0], row[1], row[2] if len(row) > 2 else None) for row in WRONG]
)
def test_a_fault(text: str, fault: str, fix: str | None) -> None:
    (found,) = faults(text)
    assert found.what.startswith(fault)
    assert found.fix == fix


def test_a_long_value_is_cut() -> None:
    (found,) = faults(f'[match]\nmax = "{"x" * 5000}"')
    assert len(found.what) < 200


def test_all_faults_of_a_file_are_named_at_once() -> None:
    found = faults("""
        descripton = "x"
        [start]
        comand = ["a"]
        umask = "9"
        nice = "low"
        [ready]
        log = "("
        timeout = 0
        [match]
        cmdline = "["
        max = 0
        [stop]
        schedule = "TREM/5"
        pid_file = "x"
        before = [[]]
        [drain]
    """)
    keys = {fault.what.partition(":")[0] for fault in found}
    assert keys == {
        "descripton", "start.comand", "start.command", "start.umask", "start.nice", "ready.log", "ready.timeout",
        "match.cmdline", "match.max", "stop.schedule", "stop.pid_file", "stop.before[0]", "drain",
    }  # fmt: skip
    assert len(found) == len(keys), "each of them once"


# ------------------------------------------------------------------------------------------------- what is filled in


def test_names_are_filled_in_everywhere() -> None:
    worker = service(
        """
        description = "worker {instance} of {name}"
        [start]
        command = ["/opt/{name}/run", "--id={instance}", "{target}"]
        directory = "/srv/{target}"
        environment = { ID = "{instance}" }
        log = "{log_dir}/{target}.log"
        [ready]
        command = ["/opt/check", "{instance}"]
        [match]
        executable = "/opt/{name}/run"
        [stop]
        pid_file = "{run_dir}/own/{target}.pid"
        before = [["/opt/lb", "{target}"], { command = ["/opt/lb", "{instance}"] }]
        """,
        "worker@eu-1",
    )
    assert worker.description == "worker eu-1 of worker"
    assert worker.start
    assert worker.start.command == ("/opt/worker/run", "--id=eu-1", "worker@eu-1")
    assert (worker.start.directory, worker.start.log) == ("/srv/worker@eu-1", "/var/log/ctl/worker@eu-1.log")
    assert worker.start.environment == {"ID": "eu-1"}
    assert worker.ready.command == ("/opt/check", "eu-1")
    assert worker.match.executable == "/opt/worker/run"
    assert worker.stop.pid_file == "/run/ctl/own/worker@eu-1.pid"
    first, second = worker.stop.before
    assert first == ("/opt/lb", "worker@eu-1")
    assert getattr(second, "command", None) == ("/opt/lb", "eu-1")


def test_other_braces_are_left_alone() -> None:
    web = service(
        """
        [start]
        command = ["awk", "{print $1}", "{}", "{other}", "${name}", "{{name}}", "{ name }", "{instance}"]
        [match]
        cmdline = "a{2,3}b{name}"
        """
    )
    assert web.start
    assert web.start.command == ("awk", "{print $1}", "{}", "{other}", "$web", "{web}", "{ name }", "")
    assert web.cmdline
    assert web.cmdline.search("aaabweb")
    assert web.cmdline.search("abweb") is None


def test_what_was_filled_in_is_not_filled_in_again() -> None:
    web = service('[start]\ncommand = ["{run_dir}"]', fill={"run_dir": "/srv/{name}", "log_dir": "/log"})
    assert web.start
    assert web.start.command == ("/srv/{name}",)


@pytest.mark.parametrize(
    ("pattern", "target", "line", "matches"),
    [
        # worker@1 is not the beginning of worker@10, nor the end of another.
        ("{target}", "worker@1", "run worker@1", True),
        ("{target}", "worker@1", "run worker@1 --verbose", True),
        ("{target}", "worker@1", "run --id=worker@1,eu", True),
        ("{target}", "worker@1", "run worker@10", False),
        ("{target}", "worker@1", "run worker@11", False),
        ("{target}", "worker@1", "run worker@1x", False),
        ("{target}", "worker@1", "run worker@1_2", False),
        ("{target}", "worker@1", "run worker@1-2", False),
        ("{target}", "worker@1", "run worker@1.5", False),
        ("{target}", "worker@1", "run worker@1:2", False),
        ("{target}", "worker@1", "run coworker@1", False),
        ("{target}", "worker@1", "run worker@10 worker@1", True),
        ("--id={instance}", "worker@1", "run --id=1", True),
        ("--id={instance}", "worker@1", "run --id=10", False),
        ("--id={instance}", "worker@1", "run --id=1.5", False),
        ("--id {instance}$", "worker@1", "run --id 1", True),
        ("--id {instance}$", "worker@1", "run --id 21", False),
        ("{name}-{instance}", "worker@1", "run worker-1", True),
        ("{name}-{instance}", "worker@1", "run worker-10", False),
        ("{name}", "web", "/opt/web/bin/server", True),
        ("{name}", "web", "/opt/webmail/bin/server", False),
        # What the pattern itself says before and after it is no other word.
        (r"{name}\.jar", "web", "java -jar /opt/web.jar", True),
        ("{name}.jar", "web", "java -jar /opt/web.jar", True),
        ("{name}-server", "web", "/opt/web-server", True),
        ("{name}-server", "web", "/opt/web2-server", False),
        ("worker{instance}", "worker@1", "run worker1", True),
        ("worker{instance}", "worker@1", "run worker10", False),
        ("worker{instance}", "worker@1", "run worker21", False),
        ("worker-{instance}.conf", "worker@1", "run worker-1.conf", True),
        ("worker-{instance}.conf", "worker@1", "run worker-11.conf", False),
        ("{name}{instance}", "worker@1", "run worker1", True),
        ("{name}@{instance}", "worker@1", "run worker@1", True),
        ("{name}@{instance}", "worker@1", "run worker@10", False),
        # What is filled in is text, not a pattern.
        ("{name}", "web.1", "run web.1", True),
        ("{name}", "web.1", "run webx1", False),
        ("{instance}", "w@1:2", "run 1:2", True),
    ],
)
def test_a_pattern_matches_its_own_target_alone(pattern: str, target: str, line: str, matches: bool) -> None:
    cmdline = service(f"[match]\ncmdline = '{pattern}'", target).cmdline
    assert cmdline
    assert (cmdline.search(line) is not None) is matches


def test_a_directory_in_a_pattern_is_text() -> None:
    cmdline = service("[match]\ncmdline = '^{run_dir}/x'", fill={"run_dir": "/run/c+t(l)", "log_dir": "/log"}).cmdline
    assert cmdline
    assert cmdline.search("/run/c+t(l)/x")


@pytest.mark.parametrize("instance", [str(number) for number in range(1, 25)])
def test_no_instance_is_taken_for_another(instance: str) -> None:
    cmdline = service("[match]\ncmdline = 'worker@{instance}'", f"worker@{instance}").cmdline
    assert cmdline
    lines = [f"/opt/run worker@{other} --port 80{other}" for other in range(1, 130)]
    assert [line for line in lines if cmdline.search(line)] == [f"/opt/run worker@{instance} --port 80{instance}"]


# ------------------------------------------------------------------------------------------------------------- rules


def test_rules_of_a_service_without_any_are_its_user_and_its_marker() -> None:
    marker = Marker(target="web", run_dir="/run/ctl")
    rules = service(START).rules(33, marker)
    assert (rules.uid, rules.marker, rules.cmdline, rules.executable, rules.java_main) == (33, marker, None, None, None)


def test_rules_as_given_replace_the_marker() -> None:
    rules = service('[match]\njava_main = "Main"\nexecutable = "*/java"').rules(
        33, Marker(target="web", run_dir="/run")
    )
    assert (rules.marker, rules.uid, rules.java_main) == (None, None, "Main")
    assert service('[match]\njava_main = "Main"\nuser = "web"').rules(33, Marker()).uid == 33
