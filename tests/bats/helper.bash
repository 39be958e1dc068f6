# What every .bats file loads: a host of its own for each test, ctl as a user types it, and nothing left behind.
# shellcheck shell=bash
bats_require_minimum_version 1.5.0
load /usr/lib/bats/bats-support/load
load /usr/lib/bats/bats-assert/load
load /usr/lib/bats/bats-file/load

ROOT=$(cd "${BASH_SOURCE[0]%/*}/../.." && pwd -P)
PYTHON=$ROOT/.venv/bin/python
[ -x "$PYTHON" ] || PYTHON=$(command -v python3)

setup() { sandbox_up; }
teardown() { sandbox_down; }

# A test file with its own setup or teardown calls these two in them.
sandbox_up() {
  local run=${CTL_BATS_DIR:-/tmp.alone}
  SANDBOX=$(mktemp -d "${CTL_BATS_DIR:-/tmp}/ctl-bats-XXXXXX") # all that run side by side in one directory
  MARK=bats-${run##*.}-$$-$RANDOM$RANDOM-$BATS_TEST_NUMBER
  CONF=$SANDBOX/conf RUN=$SANDBOX/run LOG=$SANDBOX/log
  chmod 755 "$SANDBOX"
  mkdir -m 755 "$CONF" "$CONF/services" "$RUN" "$LOG" "$SANDBOX/home" "$SANDBOX/xdg"
  printf 'run_dir = "%s"\nlog_dir = "%s"\n' "$RUN" "$LOG" >"$CONF/ctl.toml"
  cd "$SANDBOX" || return
}

sandbox_down() {
  cd / || return
  reap
  rm -rf -- "${SANDBOX:?}"
}

# Kills, through pidfds, every process that carries this test's mark: ctl, its services and what these have forked.
reap() { support reaper "$MARK"; }

# ctl as a user types it, with nothing of the environment of bats. ENV holds NAME=VALUE words to add. Descriptor 3 is
# closed, since bats waits for whoever holds it.
ctl() {
  env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 HOME="$SANDBOX/home" \
    XDG_RUNTIME_DIR="$SANDBOX/xdg" CTL_CONF="$CONF" CTL_RUN_DIR="$RUN" CTL_TEST_ID="$MARK" "${ENV[@]}" \
    "$ROOT/bin/ctl" "$@" 3>&-
}
ENV=()

# define NAME <<TOML: writes a definition, with the mark in its environment.
define() { support definition "$MARK" >"$CONF/services/$1.toml"; }

# define_raw NAME <<TOML: as it stands, for one that ctl refuses: nothing of it is reaped.
define_raw() { cat >"$CONF/services/$1.toml"; }

# service NAME PROGRAM [ARG...]: a service that runs a program of tests/programs, and is ready at once.
service() {
  local name=$1
  shift
  define "$name" <<TOML
[start]
command = $(program "$@")
log = "$LOG/$name.log"
[ready]
settle = 0.05
[stop]
schedule = "TERM/5/KILL/5"
TOML
}

# program NAME [ARG...]: its argv as a TOML array, for `command =`.
program() { support programs "$BATS_RUN_TMPDIR" "$@"; }

# wait_for_line FILE TEXT: until a line of FILE holds TEXT; prints that line.
wait_for_line() { support waiting "$@"; }

# assert_json FILTER VALUE: what jq finds in $output, as text.
assert_json() {
  # shellcheck disable=SC2154 # bats sets output
  assert_equal "$(jq -r "$1" <<<"$output")" "$2"
}

# assert_alive PID, assert_gone PID: a zombie is gone.
assert_alive() { [[ $(process_state "$1") == [^ZX] ]] || fail "process $1 is gone"; }
assert_gone() { [[ $(process_state "$1") != [^ZX] ]] || fail "process $1 is there: $(tr '\0' ' ' <"/proc/$1/cmdline")"; }
process_state() { sed 's/.*) \(.\).*/\1/' "/proc/$1/stat" 2>/dev/null || true; }

# requires root|systemd|COMMAND...: skips the test with a reason.
requires() {
  local what
  for what in "$@"; do
    case $what in
      root) [ "$(id -u)" = 0 ] || skip "needs root" ;;
      systemd) [ -x /lib/systemd/systemd ] || skip "needs systemd" ;;
      *) command -v "$what" >/dev/null || skip "needs $what" ;;
    esac
  done
}

support() { PYTHONPATH=$ROOT/tests "$PYTHON" -S -m "support.$1" "${@:2}" 3>&-; }

# No state file, or one that tells of no run.
assert_no_run() {
  [ ! -e "$RUN/$1.json" ] || assert_equal "$(jq -c .run "$RUN/$1.json")" null
}
