"""conf/examples/zookeeper.toml with Debian's ZooKeeper."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from pathlib import Path

import pytest

from support.bystander import assert_untouched, start_bystander
from support.examples import assert_adopted, assert_full_circle, define, open_files, uid_of, user_of
from support.requires import requires
from support.sandbox import Sandbox
from support.waiting import wait_until

pytestmark = [pytest.mark.jvm, pytest.mark.xdist_group("zookeeper")]

USER = user_of("zookeeper")
JAR = Path("/usr/share/java/zookeeper.jar")


def test_zookeeper(sandbox: Sandbox, port: int) -> None:
    requires("java", "bash")
    if not JAR.exists():
        pytest.skip(f"needs {JAR}")
    conf, data = sandbox.root / "zookeeper", sandbox.root / "data"
    for directory in (conf, data):
        directory.mkdir()
        if (uid := uid_of(USER)) is not None:
            os.chown(directory, uid, uid)
    (conf / "log4j.properties").write_bytes(Path("/etc/zookeeper/conf/log4j.properties").read_bytes())
    (conf / "zoo.cfg").write_text(
        f"tickTime=2000\ndataDir={data}\nclientPort={port}\nclientPortAddress=127.0.0.1\nadmin.enableServer=false\n",
        encoding="utf-8",
    )
    here = {
        " /etc/zookeeper/conf/zoo\\.cfg$": f" {re.escape(str(conf))}/zoo\\.cfg$",
        "/etc/zookeeper/conf": str(conf), "/var/lib/zookeeper": str(data), "/var/log/zookeeper": str(sandbox.log_dir),
        "/2181": f"/{port}", "-Xmx512m": "-Xmx64m", 'user = "zookeeper"': f'user = "{USER}"',
    }  # fmt: skip
    command = define(sandbox, "zookeeper", here | open_files())
    assert_full_circle(sandbox, "zookeeper")
    assert "binding to port" in sandbox.log("zookeeper").read_text(encoding="utf-8")
    assert any(data.glob("version-2/*")), "it has worked in its data directory"

    words = start_bystander(sandbox.reaper, sandbox.programs("recorder", "-", *command))
    by_hand = sandbox.reaper.start(command, user=uid_of(USER), ready=None, stdout=subprocess.DEVNULL, cwd=str(data))
    wait_until(lambda: "Mode: standalone" in said(port, "srvr"), "it serves", timeout=60)
    assert_adopted(sandbox, "zookeeper", by_hand.pid)
    assert by_hand.wait() == 143, "the JVM ran its shutdown hooks"
    assert_untouched(words)


def said(port: int, question: str) -> str:
    """Its answer. Who connects at the very moment when it begins to serve never gets one, and has to ask anew."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            connection.sendall(question.encode())
            return b"".join(iter(lambda: connection.recv(4096), b"")).decode()
    except OSError:
        return ""
