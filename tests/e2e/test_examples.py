"""The shipped definitions, and with the real software redis and jvm: started, seen, stopped, killed, and adopted when
started by hand. The others that run have a file each.
"""

from __future__ import annotations

import os
import pwd
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from support.bystander import assert_untouched, start_bystander
from support.examples import (
    EXAMPLES,
    assert_adopted,
    assert_full_circle,
    define,
    open_files,
    replaced,
    uid_of,
    user_of,
)
from support.reaper import SESSION, Process
from support.requires import requires
from support.sandbox import ROOT, Sandbox
from support.waiting import wait_file, wait_until

SHIPPED = sorted([*EXAMPLES.glob("*.toml"), *(ROOT / "conf" / "services").glob("*.toml")])
RUN = frozenset("demo jvm nginx postgresql postgresql-forking redis redis-forking web@ zookeeper".split())
CLASS = f"Gateway{SESSION}"  # of these tests alone: JVMs are told apart by their main class, on the whole machine
GATEWAY = f"com.example.gateway.{CLASS}"

SOURCE = """
package com.example.gateway;

import java.net.InetAddress;
import java.net.ServerSocket;

public class Gateway {
    public static void main(String[] arguments) throws Exception {
        int port = 0;
        for (int i = 0; i + 1 < arguments.length; i++) {
            if (arguments[i].equals("--port")) port = Integer.parseInt(arguments[i + 1]);
            if (arguments[i].equals("--hang")) Runtime.getRuntime().addShutdownHook(new Thread(Gateway::hang));
        }
        try (ServerSocket server = new ServerSocket(port, 50, InetAddress.getLoopbackAddress())) {
            System.out.println("ready (pid: " + ProcessHandle.current().pid() + ")");
            while (true) server.accept().close();
        }
    }

    private static void hang() {
        while (true) {
            try {
                Thread.sleep(Long.MAX_VALUE);
            } catch (InterruptedException ignored) {
            }
        }
    }
}
"""


# -------------------------------------------------------------------------------------------------- all that is shipped


def test_every_shipped_definition_can_be_used(sandbox: Sandbox) -> None:
    """Whether its user exists is this host's affair; all else is the definition's."""
    names = {path.stem for path in SHIPPED}
    assert {"demo", "redis", "redis-forking", "jvm", "web@", "kafka@"} <= names
    for path in SHIPPED:
        sandbox.define(
            path.stem, re.sub(r'^user = ".*"$', 'user = "root"', path.read_text(encoding="utf-8"), flags=re.MULTILINE)
        )
    checked = sandbox.ctl("check", "--json").expect(0).json["results"]
    assert {result["target"] for result in checked if result["target"]} == names
    assert [result["errors"] for result in checked] == [[]] * len(checked)
    result = sandbox.ctl("status", "--json").expect(0)
    assert set(result.by_target) == {name for name in names if not name.endswith("@")}
    assert [found["errors"] for found in result.by_target.values()] == [[]] * len(result.by_target)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_definition_explains_itself(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# "), "it begins with what it is"
    assert max(map(len, text.splitlines())) <= 130
    assert ("\n# Not run by the tests: " in text) is (path.stem not in RUN)


def test_readme_lists_every_example() -> None:
    rows = re.findall(
        r"^\| `(\S+)\.toml` \| .* \| (.*) \|$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert dict(rows) == {
        path.stem: "run by the tests" if path.stem in RUN else "not run here" for path in EXAMPLES.glob("*.toml")
    }


# ---------------------------------------------------------------------------------------------------------------- redis


@dataclass
class Redis:
    """Where the example's parts are in a test."""

    sandbox: Sandbox
    port: int
    user: str
    replacements: dict[str, str] = field(default_factory=dict)

    def by_hand(self, command: list[str]) -> Process:
        """The same command, as somebody types it."""
        return self.sandbox.reaper.start(
            command, user=uid_of(self.user), ready=None, stdout=subprocess.DEVNULL, cwd="/"
        )

    def ping(self) -> str:
        done = subprocess.run(
            ["redis-cli", "-p", str(self.port), "ping"], capture_output=True, text=True, timeout=20, check=False
        )
        return done.stdout.strip()


@pytest.fixture
def redis(sandbox: Sandbox, port: int) -> Redis:
    requires("redis-server", "redis-cli")
    user = user_of("redis")
    data, run = sandbox.root / "data", sandbox.root / "redis-run"
    for directory in (data, run):
        directory.mkdir()
        if os.geteuid() == 0:
            os.chown(directory, pwd.getpwnam(user).pw_uid, pwd.getpwnam(user).pw_gid)
    # What Debian's file says beside much else, as far as it matters here.
    config = sandbox.root / "redis.conf"
    config.write_text(f'daemonize yes\nbind 127.0.0.1\nport {port}\ndir {data}\nlogfile ""\n', encoding="utf-8")
    replacements = {"/etc/redis/redis.conf": str(config), "/var/lib/redis": str(data), "6379": str(port)}
    return Redis(sandbox, port, user, replacements | {'user = "redis"': f'user = "{user}"'})


def test_redis(redis: Redis) -> None:
    command = define(redis.sandbox, "redis", redis.replacements | open_files())
    redis.sandbox.ctl("start", "redis").expect(0)
    assert redis.ping() == "PONG", "it is ready when start returns"
    redis.sandbox.ctl("stop", "redis").expect(0)
    assert redis.ping() != "PONG"
    assert_full_circle(redis.sandbox, "redis")

    words = start_bystander(
        redis.sandbox.reaper, redis.sandbox.programs("recorder", "-", "redis-server", f"127.0.0.1:{redis.port}")
    )
    by_hand = redis.by_hand(command)
    wait_until(lambda: redis.ping() == "PONG", "redis answers")
    assert_adopted(redis.sandbox, "redis", by_hand.pid)
    assert by_hand.wait() == 0, "it has ended in its own way"
    assert_untouched(words)


def test_redis_as_a_daemon(redis: Redis) -> None:
    pid_file = redis.sandbox.root / "redis-run" / "redis-server.pid"
    command = define(
        redis.sandbox, "redis-forking", redis.replacements | {"/run/redis/redis-server.pid": str(pid_file)}
    )
    redis.sandbox.ctl("start", "redis-forking").expect(0)
    assert redis.ping() == "PONG"
    assert int(pid_file.read_text()) == redis.sandbox.pid("redis-forking")
    redis.sandbox.ctl("stop", "redis-forking").expect(0)
    assert_full_circle(redis.sandbox, "redis-forking")

    assert redis.by_hand(command).wait() == 0
    pid = int(wait_file(pid_file))
    redis.sandbox.reaper.adopt(pid)
    status = redis.sandbox.ctl("status", "redis-forking", "--json").expect(0).one
    assert [(claim["source"], claim["verdict"]) for claim in status["claim"]] == [("stop.pid_file", "holds")]
    assert_adopted(redis.sandbox, "redis-forking", pid)


# ------------------------------------------------------------------------------------------------------------------ jvm


@pytest.fixture(scope="module")
def classes(session_dir: Path) -> Path:
    """A directory with the gateway as classes, as lib/gateway.jar, and as a module in modules/."""
    requires("java", "javac", "jar")
    base = session_dir / "gateway"
    source = base / "src" / "com" / "example" / "gateway" / f"{CLASS}.java"
    source.parent.mkdir(parents=True)
    source.write_text(SOURCE.replace("Gateway", CLASS), encoding="utf-8")
    module = base / "src" / "module-info.java"
    module.write_text("module example.gateway { exports com.example.gateway; }\n", encoding="utf-8")
    run = ["javac", "-J-XX:TieredStopAtLevel=1", "-d", str(base / "modules"), str(source), str(module)]
    subprocess.run(run, check=True, timeout=100)
    (base / "lib").mkdir()
    jar = ["jar", "--create", "--file", "lib/gateway.jar", "--main-class", GATEWAY, "-C", "modules", "com"]
    subprocess.run(jar, check=True, timeout=100, cwd=base)
    return base


@pytest.fixture
def jvm(sandbox: Sandbox, classes: Path, port: int) -> list[str]:
    """The example's command, defined for this host."""
    here = {
        "/opt/gateway": str(classes), "10009": str(port), 'user = "gateway"\n': "", "-Xmx512m": "-Xmx32m",
        "com.example.gateway.Gateway": GATEWAY,
    }  # fmt: skip
    return define(sandbox, "jvm", here | open_files())


def jps() -> dict[int, str]:
    """What `jps -l` says of each JVM."""
    shown = subprocess.run(["jps", "-l"], capture_output=True, text=True, timeout=60, check=True).stdout
    return {int(pid): name for pid, _, name in (line.partition(" ") for line in shown.splitlines())}


@pytest.mark.jvm
def test_jvm(sandbox: Sandbox, jvm: list[str]) -> None:
    assert_full_circle(sandbox, "jvm")
    words = start_bystander(sandbox.reaper, sandbox.programs("recorder", "-", *jvm))
    by_hand = sandbox.reaper.start(["java", *jvm[1:]])
    assert_adopted(sandbox, "jvm", by_hand.pid)
    assert by_hand.wait() == 143, "the JVM ran its shutdown hooks"
    assert_untouched(words)


@pytest.mark.jvm
def test_a_jvm_that_hangs_leaves_its_stacks_in_the_log(sandbox: Sandbox, jvm: list[str]) -> None:
    """One that does not act on TERM in time is killed, after QUIT has told the log what it was doing."""
    path = sandbox.services / "jvm.toml"
    text = path.read_text(encoding="utf-8")
    path.write_text(replaced(text, {'"--port"': '"--hang", "--port"', "TERM/30/": "TERM/0.5/"}))
    sandbox.ctl("start", "jvm").expect(0)
    result = sandbox.ctl("stop", "jvm", "--json").expect(0).one
    assert [sent["signal"] for sent in result["signals"]] == ["TERM", "QUIT", "KILL"]
    assert result["escalated"]
    assert "Full thread dump" in (sandbox.log_dir / "gateway.log").read_text(errors="replace")


WAYS = {
    "class": ["-cp", "{base}/modules", GATEWAY],
    "class-path": ["--class-path={base}/modules", GATEWAY],
    "jar": ["-jar", "{base}/lib/gateway.jar"],
    "module": ["-p", "{base}/modules", "-m", f"example.gateway/{GATEWAY}"],
    "module-path": ["--module-path={base}", f"--module=example.gateway/{GATEWAY}"],
    "options": [
        "-Xms8m", "--add-opens", "java.base/java.lang=ALL-UNNAMED", "-Da=b", "-ea", "-cp", "{base}/modules", GATEWAY,
    ],
}  # fmt: skip


@pytest.mark.jvm
def test_the_main_class_is_what_jps_prints(sandbox: Sandbox, classes: Path) -> None:
    """All side by side: each JVM, started by hand, is found by the name that jps gives it."""
    requires("jps")
    running: dict[str, Process] = {}
    for way, words in WAYS.items():
        argv = [
            *("java", "-Xmx16m", "-XX:TieredStopAtLevel=1"),
            *(word.format(base=classes) for word in words),
            f"--way={way};",
        ]
        running[way] = sandbox.reaper.start(argv, ready=None)
    for process in running.values():
        process.wait_line("ready (pid:")
    names = jps()
    for way, process in running.items():
        sandbox.define(way, {"match": {"java_main": names[process.pid], "cmdline": f"--way={way};"}})
    found = sandbox.ctl("status", "--json").by_target
    assert {way: found[way]["pid"] for way in WAYS} == {way: process.pid for way, process in running.items()}
    assert {names[process.pid] for process in running.values()} > {GATEWAY, f"{classes}/lib/gateway.jar"}


@pytest.mark.jvm
def test_other_jvms_and_those_who_name_the_class_are_not_meant(sandbox: Sandbox, classes: Path, jvm: list[str]) -> None:
    others = [
        [
            "java",
            "-Xmx16m",
            "-cp",
            f"{classes}/modules",
            f"-Da={GATEWAY}",
            "-jar",
            f"{classes}/lib/gateway.jar",
        ],
        ["java", "-Xmx16m", "-jar", f"{classes}/lib/gateway.jar", GATEWAY],
    ]
    started = [sandbox.reaper.start(argv) for argv in others]
    words = start_bystander(sandbox.reaper, sandbox.programs("recorder", "-", "java", GATEWAY))
    sandbox.ctl("status", "jvm").expect(3)
    sandbox.ctl("kill", "jvm").expect(0)
    assert all(process.alive() for process in started)
    assert_untouched(words)
