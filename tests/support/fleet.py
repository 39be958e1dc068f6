"""Two hosts with systemd and sshd, and a controller that reaches them over ssh; none of them sees any other network.

The hosts are throw-away (support.systemd_host), the network is three namespaces joined by a bridge, and the controller
is this machine's Ansible within one of them, with keys, collection and temporary files of its own.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple, Self

import pytest

from support.reaper import PATH
from support.requires import requires, requires_namespaces, requires_systemd
from support.sandbox import ROOT
from support.systemd_host import SystemdHost

NAMES = ("alpha", "beta")
_BIN = ROOT / ".venv/bin"
_PIP = (sys.executable, "-I", "-m", "pip", "-q", "--disable-pip-version-check")
_SSHD = """
[Service]
Type=notify
RuntimeDirectory=sshd
ExecStart=/usr/sbin/sshd -D -e -f {config}
KillMode=process
"""
_SSHD_CONFIG = """
ListenAddress {address}
HostKey {key}
AuthorizedKeysFile /root/.ssh/fleet_keys
PermitRootLogin prohibit-password
UsePAM yes
PrintMotd no
PidFile none
Subsystem sftp internal-sftp
"""
_ANSIBLE_CFG = """
[defaults]
inventory = {root}/inventory
home = {root}/ansible
collections_path = {root}/collections
local_tmp = {root}/ansible/tmp
remote_tmp = /root/.ansible/tmp
retry_files_enabled = false
interpreter_python = /usr/bin/python3
nocows = true
forks = 10
timeout = 30

[ssh_connection]
pipelining = true
control_path_dir = {root}/cp
ssh_args = -F none -o ControlMaster=auto -o ControlPersist=120s -o IdentitiesOnly=yes -o IdentityFile={root}/key
    -o UserKnownHostsFile={root}/known_hosts -o StrictHostKeyChecking=yes
"""


class Play(NamedTuple):
    """What a call of Ansible came to."""

    rc: int
    output: str

    def expect(self, rc: int) -> Play:
        assert self.rc == rc, self.output
        return self

    def told(self, host: str, what: str) -> int:
        """A number of the recap: ok, changed, unreachable, failed, skipped, rescued, ignored."""
        found = re.search(rf"^{host} .*\b{what}=(\d+)", self.output, re.MULTILINE)
        assert found, self.output
        return int(found[1])


class Fleet:
    """`with Fleet(root) as fleet:`; `root` is a directory that the hosts see under the same path."""

    def __init__(self, root: Path, binds: Sequence[Path] = ()) -> None:
        requires_systemd()
        requires_namespaces()
        requires("ip", "nsenter", "ssh", "ssh-keygen", "/usr/sbin/sshd")
        self.root, self._binds = root, binds
        self.hosts: dict[str, SystemdHost] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._network = stack.enter_context(_network())
            self._make_keys()
            for number, name in enumerate(NAMES, start=1):
                host = SystemdHost([self.root, *self._binds], netns=f"{self._network}-{name}")
                self.hosts[name] = stack.enter_context(host)
                self._let_in(host, name, f"10.0.0.{number}")
            stack.callback(self.hang_up)
            self._install_collection()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def ansible(self, *argv: str | Path, stdin: str = "", timeout: float = 300) -> Play:
        """A command of Ansible's on the controller, to its end."""
        done = subprocess.run(
            ["nsenter", f"--net=/run/netns/{self._network}", _BIN / argv[0], *argv[1:]],
            env=self._environment(), input=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            timeout=timeout, check=False, cwd=self.root,
        )  # fmt: skip
        return Play(done.returncode, done.stdout)

    def play(self, playbook: str | Path, *options: str, **variables: object) -> Play:
        """ansible-playbook with these options and extra variables."""
        return self.ansible("ansible-playbook", playbook, *options, "-e", json.dumps(variables))

    def run(self, name: str, *argv: str | Path) -> str:
        """What a command on that host prints, not by ssh; it must succeed."""
        done = self.hosts[name].run(*argv)
        assert done.returncode == 0, (argv, done.stdout, done.stderr)
        return done.stdout.strip()

    def hang_up(self) -> None:
        """Ends all ssh connections: their masters outlive Ansible."""
        for socket in (self.root / "cp").iterdir():
            subprocess.run(
                ["ssh", "-O", "exit", "-o", f"ControlPath={socket}", "any"], check=False, capture_output=True
            )

    def with_lost_host(self) -> str:
        """An inventory with a host `lost` in it, whose address nobody answers at."""
        inventory = self.root / "inventory-with-lost"
        inventory.write_text((self.root / "inventory").read_text() + "lost ansible_host=10.0.0.254\n")
        return str(inventory)

    def _environment(self) -> Mapping[str, str]:
        return {
            "PATH": f"{_BIN}:{PATH}", "LC_ALL": "C.UTF-8", "HOME": str(self.root / "home"),
            "ANSIBLE_CONFIG": str(self.root / "ansible.cfg"), "ANSIBLE_HOME": str(self.root / "ansible"),
        }  # fmt: skip

    def _make_keys(self) -> None:
        for directory in ("home", "ansible", "cp"):
            (self.root / directory).mkdir(mode=0o700)
        for name in ("key", *NAMES):
            _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", self.root / name)
        (self.root / "ansible.cfg").write_text(_ANSIBLE_CFG.format(root=self.root))
        lines = [f"{name} ansible_host=10.0.0.{number} ansible_user=root" for number, name in enumerate(NAMES, start=1)]
        (self.root / "inventory").write_text("\n".join(lines) + "\n")
        keys = [
            f"10.0.0.{number} {(self.root / f'{name}.pub').read_text()}" for number, name in enumerate(NAMES, start=1)
        ]
        (self.root / "known_hosts").write_text("".join(keys))

    def _let_in(self, host: SystemdHost, name: str, address: str) -> None:
        config = self.root / f"sshd.{name}"
        config.write_text(_SSHD_CONFIG.format(address=address, key=self.root / name))
        host.run("rm", "-rf", "/etc/ctl", "/opt/ctl", "/var/log/ctl", "/usr/local/bin/ctl")  # of this machine's own
        for stale in (".bashrc", ".profile"):  # half a second for each login
            host.path(f"/root/{stale}").unlink(missing_ok=True)
        host.write("/root/.ssh/fleet_keys", (self.root / "key.pub").read_text())
        host.path("/root/.ssh").chmod(0o700)
        host.unit("fleet-sshd.service", _SSHD.format(config=config))
        # With logind a login is a session in a control group of its own, as on any host.
        host.systemctl("start", "systemd-logind", "fleet-sshd")

    def _install_collection(self) -> None:
        """As who administers the fleet would."""
        built = self.ansible(
            "ansible-galaxy",
            "collection",
            "install",
            "--offline",
            ROOT / "conf/ansible",
            "-p",
            self.root / "collections",
        )
        built.expect(0)


def wheels(into: Path) -> Path:
    """An archive of what ctl needs, by its lock, as the README of the role makes it. Skips without a package index."""
    lock = ROOT / ".lock/runtime.txt"
    kept = ROOT / ".venv" / f".wheels-{hashlib.sha256(lock.read_bytes()).hexdigest()[:16]}"  # downloaded only once
    if not kept.exists():
        with tempfile.TemporaryDirectory(dir=kept.parent, prefix=".wheels.") as partial:
            options = (
                "--require-hashes",
                "--only-binary",
                ":all:",
                "--retries",
                "1",
                "-r",
                lock,
                "-d",
                f"{partial}/all",
            )
            got = subprocess.run([*_PIP, "download", *options], check=False, capture_output=True, text=True)
            if got.returncode != 0:
                pytest.skip(f"needs the packages of .lock/runtime.txt from an index: {got.stderr.strip()[-200:]}")
            Path(partial, "all").rename(kept)
    _run("tar", "-cf", into, "-C", kept, ".")
    return into


def package(into: Path) -> Path:
    """The wheel of this checkout."""
    _run(*_PIP, "wheel", "--no-deps", "--no-build-isolation", "-w", into, ROOT)
    (wheel,) = into.glob("ctl-*.whl")
    return wheel


@contextmanager
def _network() -> Iterator[str]:
    """A namespace for the controller with a bridge to one for each host; its name, theirs are NAME-HOST."""
    network = f"ctl-test-{uuid.uuid4().hex[:8]}"
    with ExitStack() as stack:
        _add(stack, network)
        _run("ip", "-n", network, "link", "add", "hosts", "type", "bridge")
        _up(network, "hosts", "10.0.0.254/24")
        for number, name in enumerate(NAMES, start=1):
            theirs = f"{network}-{name}"
            _add(stack, theirs)
            _run("ip", "-n", network, "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", theirs)
            _run("ip", "-n", network, "link", "set", name, "master", "hosts", "up")
            _up(theirs, "eth0", f"10.0.0.{number}/24")
        yield network


def _add(stack: ExitStack, namespace: str) -> None:
    _require_network_namespaces()
    _run("ip", "netns", "add", namespace)
    stack.callback(_run, "ip", "netns", "delete", namespace)
    _run("ip", "-n", namespace, "link", "set", "lo", "up")


def _up(namespace: str, link: str, address: str) -> None:
    _run("ip", "-n", namespace, "address", "add", address, "dev", link)
    _run("ip", "-n", namespace, "link", "set", link, "up")


@functools.cache
def _require_network_namespaces() -> None:
    tried = subprocess.run(
        ["unshare", "--net", "sh", "-c", "ip link add try0 type bridge && ip link add try1 type veth peer name try2"],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    if tried.returncode != 0:
        pytest.skip(f"needs network namespaces with bridge and veth: {tried.stderr.strip()}")


def _run(*argv: str | Path) -> None:
    done = subprocess.run([os.fspath(word) for word in argv], check=False, capture_output=True, text=True)
    assert done.returncode == 0, (argv, done.stderr)
