#!/usr/bin/env bats
# Reload: the running service is told, by a signal or a command, and lives on; one that would die of it is left alone.
# shellcheck disable=SC2016,SC2154 # scripts for another shell stand in single quotes; bats sets stderr

load helper

# reloading NAME RELOAD PROGRAM [ARG...]: a running service with this [reload] table. PID is its main process.
reloading() {
  local name=$1 reload=$2
  shift 2
  service "$name" "$@"
  printf '[reload]\n%s\n' "$reload" >>"$CONF/services/$name.toml"
  ctl start "$name" >"$SANDBOX/started"
  wait_for_line "$LOG/$name.log" 'ready (pid:' >>"$SANDBOX/started"
  PID=$(<"$RUN/$name.pid")
}

@test "the signal reaches the main process, once, and the service lives on" {
  reloading web 'signal = "SIGHUP"' recorder
  run --separate-stderr ctl reload web
  assert_success
  assert_regex "$output" "^web: reloaded, pid $PID, 0\.[0-9]+ s$"
  assert_equal "$stderr" ''
  wait_for_line "$LOG/web.log" 'got HUP from'
  run ctl reload web --json --expect-pid "$PID"
  assert_success
  assert_json '.results[0] | [.before, .after, .reason, .changed, (.signals | map([.pid, .signal]))] | tojson' \
    "[\"running\",\"running\",\"reloaded\",true,[[$PID,\"HUP\"]]]"
  assert_equal "$(grep -c 'got HUP' "$LOG/web.log")" 2
  assert_equal "$(<"$RUN/web.pid")" "$PID"
}

@test "a signal that nobody catches and that would end it is not sent" {
  reloading web 'signal = "HUP"' polite
  run --separate-stderr ctl reload web
  assert_failure 1
  assert_equal "$stderr" "ctl: web: catches no HUP, which would end it ($CONF/services/web.toml, reload.signal)"
  run ctl reload web --dry-run
  assert_failure 1
  assert_alive "$PID"
  sed -i 's/"HUP"/"WINCH"/' "$CONF/services/web.toml" # which by default does nothing
  run ctl reload web
  assert_success
}

@test "one that is ignored is sent" {
  reloading web 'signal = "HUP"' ignorer
  run ctl reload web
  assert_success
  assert_alive "$PID"
}

@test "a service that dies of it is told as dead" {
  define web <<TOML
start = { command = ["/bin/sh", "-c", 'trap "exit 3" HUP; echo up; while :; do sleep 1 & wait \$!; done'], log = "$LOG/web.log" }
ready.log = "^up$"
reload.signal = "HUP"
TOML
  ctl start web
  run --separate-stderr ctl reload web --json
  assert_failure 1
  assert_equal "$stderr" "ctl: web: has ended on HUP (log $LOG/web.log)"
  assert_json '.results[0] | [.before, .after, .reason, .changed] | tojson' '["running","ended","failed",true]'
}

@test "what is not running is exit 7, what has no [reload] is exit 6, and the others are reloaded" {
  reloading web 'signal = "HUP"' recorder
  service down recorder
  printf '[reload]\nsignal = "HUP"\n' >>"$CONF/services/down.toml"
  service none recorder
  run --separate-stderr ctl reload down web
  assert_failure 7
  assert_equal "$stderr" 'ctl: down: is not running; to fix: ctl start down'
  assert_regex "$output" '^web: reloaded'
  run --separate-stderr ctl reload none
  assert_failure 6
  assert_equal "$stderr" "ctl: none: has no [reload] table: ctl does not know how to reload it ($CONF/services/none.toml)"
  run ctl reload web --expect-pid 1
  assert_failure 152
  assert_equal "$(grep -c 'got HUP' "$LOG/web.log")" 1
}

@test "a paused service is not told, for that would resume it" {
  reloading web 'signal = "HUP"' recorder
  kill -STOP "$PID"
  until [ "$(process_state "$PID")" = T ]; do :; done
  run --separate-stderr ctl reload web
  assert_failure 1
  assert_equal "$stderr" 'ctl: web: is paused; to fix: ctl resume web'
  assert_equal "$(process_state "$PID")" T
}

@test "a command runs with MAINPID and the service's environment" {
  reloading web 'command = ["/bin/sh", "-c", "echo $MAINPID $PWD $USER >>'"$SANDBOX"'/told; kill -HUP $MAINPID"]' recorder
  run ctl reload web --dry-run
  assert_success
  assert_line --index 0 'web: would take at most 30.1 s'
  assert_line --index 1 --partial '1. execute /bin/sh -c'
  assert_line --index 2 --regexp "^  pid $PID "
  assert_not_exist "$SANDBOX/told"
  run ctl reload web
  assert_success
  assert_regex "$output" "^web: reloaded, pid $PID, "
  assert_equal "$(<"$SANDBOX/told")" "$PID / $(id -un)"
  wait_for_line "$LOG/web.log" 'got HUP from'
}

@test "a command that fails, hangs or cannot be executed is exit 1, with its last line" {
  reloading web 'command = ["/bin/sh", "-c", "echo one; echo syntax error in line 3 >&2; exit 2"]' recorder
  run --separate-stderr ctl reload web --json
  assert_failure 1
  assert_equal "$stderr" "ctl: web: command /bin/sh: exit status 2: syntax error in line 3 ($CONF/services/web.toml, reload.command)"
  assert_json '.results[0] | [.after, .reason, .changed] | tojson' '["running","hook_failed",false]'
  sed -i 's/^\[reload\]/&\ntimeout = 0.2/; s/exit 2/exec sleep 60/' "$CONF/services/web.toml"
  run --separate-stderr ctl reload web
  assert_failure 1
  assert_equal "$stderr" "ctl: web: command /bin/sh: no answer in 0.2 s: syntax error in line 3 ($CONF/services/web.toml, reload.command)"
  sed -i 's|^command = \["/bin/sh".*exec.*|command = ["/no/such/program"]|' "$CONF/services/web.toml"
  run --separate-stderr ctl reload web
  assert_failure 1
  assert_equal "$stderr" "ctl: web: command /no/such/program: not installed ($CONF/services/web.toml, reload.command)"
  assert_alive "$PID"
}
