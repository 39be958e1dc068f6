#!/bin/sh
# boot.sh RELEASE COMMAND...: runs the command as root, in this directory, under an older Linux; exits with its status.
# That is Debian's user-mode Linux, a kernel that runs as a process. It sees this machine's files; what it writes is
# gone with it. It has one processor, about a tenth as fast as the host's, and neither ns_last_pid nor eBPF tracing.
# Needs root and Debian, whose package is downloaded once. MEMORY=3G, LIMIT=7200 (seconds).
set -eu

here=$(dirname "$(readlink -f -- "$0")")
cache=${CTL_TEST_CACHE:-/var/cache/ctl-test}
release=$1
shift

die() {
    echo "kernel: $*" >&2
    exit 2
}

[ "$(uname -m)" = x86_64 ] || die "user-mode Linux exists for x86_64 only"
[ "$(id -u)" = 0 ] || die "needs root"

# Debian 12 has 6.1 alone. The package is unpacked, never installed.
fetch() {
    mkdir -p "$cache" && chmod 755 "$cache"
    partial=$(mktemp -d "$cache/partial.XXXXXX")
    trap 'rm -rf "$partial"' EXIT
    (cd "$partial" && apt-get -q download user-mode-linux) >&2 || die "cannot download Debian's package user-mode-linux"
    dpkg-deb -x "$partial"/user-mode-linux_*.deb "$partial/root"
    found=$(cd "$partial/root/usr/lib/uml/modules" && echo *)
    case $found in
    "$release" | "$release".*) ;;
    *) die "no Linux $release: Debian's user-mode-linux here is $found" ;;
    esac
    rm -rf "${cache:?}/$release"
    mv "$partial/root" "$cache/$release"
    rm -rf "$partial"
    trap - EXIT
}

[ -x "$cache/$release/usr/bin/linux.uml" ] || fetch

run=$(mktemp -d /tmp/ctl-kernel.XXXXXX)
trap 'rm -rf "$run"' EXIT
trap 'exit 130' INT TERM
cc -O2 -shared -fPIC -o "$run/xstate.so" "$here/xstate.c"
for word; do
    printf "'%s' " "$(printf '%s' "$word" | sed "s/'/'\\\\''/g")"
done >"$run/command"
pwd >"$run/directory"

# Its memory is a file in TMPDIR. The console is ours; stdin is not, so that nothing waits for it.
TMPDIR=$run LD_PRELOAD=$run/xstate.so timeout --foreground "${LIMIT:-7200}" \
    "$cache/$release/usr/bin/linux.uml" mem="${MEMORY:-3G}" root=none rootfstype=hostfs rootflags=/ rw \
    init="$here/init.sh" ctl_run="$run" ctl_modules="$cache/$release/usr/lib/uml/modules" \
    con=null con0=null,fd:1 quiet loglevel=1 </dev/null 2>"$run/errors" || {
    cat "$run/errors" >&2
    echo "kernel: it ended with $?" >&2
}
[ -s "$run/status" ] || die "the command did not come to its end"
exit "$(cat "$run/status")"
