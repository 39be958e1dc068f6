"""A throw-away host whose PID 1 is a real systemd: its own pid, mount and cgroup namespaces over this one.

Every file of this machine is seen in there, what is written in there vanishes, and nothing in there is seen by the
systemd of this machine. Directories named in `binds` are shared, under the same path. Its network is that of this
machine, or of the network namespace `netns`, ip-netns(8).
"""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import pytest

from support import pace, proc
from support.reaper import PATH, Reaper
from support.requires import requires_namespaces, requires_systemd
from support.waiting import TIMEOUT, readable, wait_until

_NEWNET = 0x40000000  # CLONE_NEWNET, which os knows from Python 3.12 on

# Run as the first process of the new namespaces, with the shared directories as arguments. Of /dev only what every
# program may need; never the real /dev, /run or /tmp, which systemd cleans and fills at boot.
_INIT = """
set -eu
mount -t tmpfs tmpfs /mnt
mkdir /mnt/low /mnt/up /mnt/work /mnt/root
mount --bind / /mnt/low
root=/mnt/root
mount -t overlay overlay -o lowerdir=/mnt/low,upperdir=/mnt/up,workdir=/mnt/work $root
mount -t proc proc $root/proc
mount -t sysfs -o ro sysfs $root/sys
mount -t cgroup2 cgroup2 $root/sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs $root/dev
for name in null zero full random urandom tty; do
  touch $root/dev/$name
  mount --bind /dev/$name $root/dev/$name
done
mkdir $root/dev/pts $root/dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts $root/dev/pts
ln -s pts/ptmx $root/dev/ptmx
ln -s /proc/self/fd $root/dev/fd
for name in 0:stdin 1:stdout 2:stderr; do ln -s /proc/self/fd/${name%:*} $root/dev/${name#*:}; done
mount -t tmpfs tmpfs $root/dev/shm
mount -t tmpfs -o mode=755 tmpfs $root/run
mount -t tmpfs -o mode=1777 tmpfs $root/tmp
for shared; do
  mkdir -p "$root$shared"
  mount --bind "$shared" "$root$shared"
done
cd $root
mkdir -p .old
pivot_root . .old
umount -l /.old
rmdir /.old
exec env -i container=lxc PATH="$PATH" NOTIFY_SOCKET="$NOTIFY_SOCKET" /lib/systemd/systemd --system --show-status=0 \
  --log-target=journal --unit=basic.target systemd.mask=systemd-tmpfiles-setup.service
"""


class SystemdHost:
    """`with SystemdHost([ROOT, sandbox.root]) as host:`; skips where the machine cannot do it."""

    def __init__(self, binds: Sequence[Path], *, netns: str | None = None) -> None:
        requires_systemd()
        requires_namespaces()
        self._name = f"ctl-test-{uuid.uuid4().hex[:12]}"
        self._cgroup = _cgroup_root() / self._name
        self._reaper, self._binds = Reaper(), binds
        # `ip netns exec` would mount another /sys, and hide the cgroups.
        self._network = Path("/run/netns", netns) if netns else Path("/proc/self/ns/net")
        self.leader = 0  # its PID 1, as this machine sees it

    def run(
        self, *argv: str | Path, env: Mapping[str, str] | None = None, timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """A command in there, outside of every unit, to its end."""
        return subprocess.run(
            ["nsenter", "-t", str(self.leader), "-a", *(os.fspath(word) for word in argv)],
            env={"PATH": PATH, "LC_ALL": "C.UTF-8", **(env or {})},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip

    def path(self, inside: str | Path) -> Path:
        """A path of that host, as this machine reaches it."""
        return Path(f"/proc/{self.leader}/root{inside}")

    def write(self, inside: str | Path, text: str) -> Path:
        """Writes a file in there, with the directories above it."""
        path = self.path(inside)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def unit(self, name: str, text: str) -> None:
        """Writes a unit file, or a drop-in "NAME.d/FILE", and lets systemd read it."""
        self.write(f"/etc/systemd/system/{name}", text)
        assert self.run("systemctl", "daemon-reload").returncode == 0

    def systemctl(self, verb: str, *units: str) -> None:
        """Which must succeed; else the failure shows what the units have written."""
        done = self.run("systemctl", verb, *units)
        assert done.returncode == 0, "\n".join([done.stderr, *map(self.journal, units)])

    def main_pid(self, unit: str) -> int:
        """The unit's main process, by the pid that it has in there."""
        return int(self.properties(unit)["MainPID"])

    def processes(self, unit: str) -> list[int]:
        """All of the unit's control group, by the pids that they have in there."""
        group = self.properties(unit).get("ControlGroup")
        return [int(pid) for pid in self.run("cat", f"/sys/fs/cgroup{group}/cgroup.procs").stdout.split() if group]

    def properties(self, unit: str) -> dict[str, str]:
        """What `systemctl show` says."""
        shown = self.run("systemctl", "show", unit).stdout
        return dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)

    def journal(self, unit: str) -> str:
        """All that a unit has written."""
        self.run("journalctl", "--sync")
        return self.run("journalctl", "--no-pager", "-o", "cat", "-u", unit).stdout

    def __enter__(self) -> Self:
        try:
            (self._cgroup / "payload").mkdir(parents=True)
        except OSError as error:
            pytest.skip(f"needs cgroups that may be written: {error}")
        try:
            self._boot()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._reaper.close()  # the end of PID 1 is that of every process in there
        events = self._cgroup / "cgroup.events"
        wait_until(lambda: "populated 0" in events.read_text(), "the cgroup is empty")
        for found in os.walk(self._cgroup, topdown=False):
            os.rmdir(found[0])

    def _boot(self) -> None:
        with _socket_in(self._network) as booted:
            booted.bind(f"\0{self._name}")
            # unshare itself stays out of the payload's root cgroup, or that would show a process from outside.
            join = 'echo 0 >"$0/cgroup.procs"; exec unshare --cgroup sh -c "$@"'
            namespaces: list[str | Path] = ["--mount", "--propagation", "private", "--pid", "--uts", "--ipc"]
            process = self._reaper.start(
                ["nsenter", f"--net={self._network}", "unshare", *namespaces, "--fork", "--kill-child",
                 "sh", "-c", join, self._cgroup / "payload", _INIT, "sh", *self._binds],
                env={"NOTIFY_SOCKET": f"@{self._name}"}, ready=None, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            )  # fmt: skip
            wait_until(lambda: bool(proc.children(process.pid)) or not process.alive(), "unshare has forked")
            assert process.alive(), process.err and process.err.rest()
            (self.leader,) = proc.children(process.pid)
            self._reaper.adopt(self.leader)
            self._await_boot(booted)

    def _await_boot(self, booted: socket.socket) -> None:
        """systemd tells a container's manager when its boot is over, systemd(1)."""
        deadline = pace.deadline(TIMEOUT)
        while readable(booted.fileno(), deadline):
            if b"READY=1" in booted.recv(65536).split(b"\n"):
                return
        raise AssertionError(f"systemd did not come up: {self.run('systemctl', 'list-jobs').stdout}")


def _socket_in(network: Path) -> socket.socket:
    """A datagram socket whose abstract name is one of that network namespace, network_namespaces(7)."""
    libc = ctypes.CDLL(None, use_errno=True)
    with network.open("rb") as there, Path("/proc/self/ns/net").open("rb") as here:
        try:
            assert libc.setns(there.fileno(), _NEWNET) == 0, os.strerror(ctypes.get_errno())
            return socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        finally:
            assert libc.setns(here.fileno(), _NEWNET) == 0, os.strerror(ctypes.get_errno())


def _cgroup_root() -> Path:
    unified = Path("/sys/fs/cgroup/unified")  # beside cgroup v1
    return unified if unified.is_dir() else Path("/sys/fs/cgroup")
