#!/bin/sh
# The first process of the older kernel (boot.sh): makes a writable host of the host's files, and runs the command there.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb LANG=C.UTF-8

setting() {
    sed -n "s/.*\<$1=\([^ ]*\).*/\1/p" /proc/cmdline
}

# There need not be an insmod(8). finit_module(2) is 313 on x86_64; tests do without what does not load.
load() {
    python3 -I -S - "$@" <<'PYTHON'
import ctypes, os, pathlib, sys
for name in sys.argv[2:]:
    for path in pathlib.Path(sys.argv[1]).rglob(f"{name}.ko"):
        ctypes.CDLL(None).syscall(313, os.open(path, os.O_RDONLY), b"", 0)
PYTHON
}

# The host's files below, what is written above, in memory.
writable_root() {
    mount -t tmpfs -o mode=755 tmpfs /mnt
    mkdir /mnt/upper /mnt/work /mnt/root
    mount -t overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work overlay /mnt/root
    cd /mnt/root || exit
    mount -t proc proc proc
    mount -t sysfs sysfs sys
    mount -t cgroup2 cgroup2 sys/fs/cgroup
    mount -t devtmpfs devtmpfs dev
    mkdir -p dev/pts dev/shm
    mount -t devpts -o mode=620,gid=5,ptmxmode=666 devpts dev/pts
    mount -t tmpfs tmpfs dev/shm
    mount -t tmpfs -o mode=755 tmpfs run
    mkdir -m 1777 run/lock
    mkdir -p run/host && mount -t hostfs -o "$run" none run/host
    ln -sf /proc/self/fd dev/fd
    mkdir -p mnt/old && pivot_root . mnt/old && umount -l /mnt/old
}

mount -t proc proc /proc
run=$(setting ctl_run)
load "$(setting ctl_modules)" overlay veth inet_diag tcp_diag udp_diag unix_diag
writable_root
ip link set lo up
hostname older
stty -F /dev/console -opost
# Until it ends this shell, pid 1, reaps every orphan.
setsid -w env -C "$(cat /run/host/directory)" --default-signal sh /run/host/command </dev/null >/dev/console 2>&1 &
wait $!
echo $? >/run/host/status
sync
echo o >/proc/sysrq-trigger
sleep 60
