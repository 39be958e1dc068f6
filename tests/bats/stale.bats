#!/usr/bin/env bats
# A pid file that names an innocent process, as an operator meets it: nothing is signalled, and ctl says it was stale.
# shellcheck disable=SC2154 # bats sets stderr

load helper

setup() {
  sandbox_up
  service web polite
  innocent=$(bystander)
}

# bystander: starts a process that writes down every signal it gets, and prints its pid.
bystander() {
  local argv
  mapfile -t argv < <(program recorder "$SANDBOX/signals" | jq -r '.[]')
  CTL_TEST_ID=$MARK "${argv[@]}" >/dev/null 2>&1 3>&- &
  wait_for_line "$SANDBOX/signals" 'ready (pid:' | sed 's/.*: \([0-9]*\)).*/\1/'
}

# assert_untouched: the last signal proves that all before it were written down.
assert_untouched() {
  kill -s RTMAX "$innocent"
  wait_for_line "$SANDBOX/signals" 'got RTMAX' >/dev/null
  assert_equal "$(grep --count '^got' "$SANDBOX/signals")" 1
}

@test "stop, kill: the innocent lives, the pid file is removed, the second time there is nothing to do" {
  local verb
  for verb in stop kill; do
    echo "$innocent" >"$RUN/web.pid"
    run --separate-stderr ctl "$verb" web
    assert_success
    assert_output 'web: already stopped (its pid file was stale)'
    assert_equal "$stderr" ''
    assert_not_exists "$RUN/web.pid"

    run --separate-stderr ctl "$verb" web
    assert_success
    assert_output 'web: already stopped'
    assert_equal "$stderr" ''
  done
  assert_untouched
}

@test "status: exits with 1, and says what the pid file says and why that is not so" {
  echo "$innocent" >"$RUN/web.pid"
  run ctl status web
  assert_failure 1
  assert_line --index 0 'web: stale'
  assert_line --index 1 --regexp "^  pid file: +stale: pid $innocent is another process \(.*\)$"
  assert_exists "$RUN/web.pid"
  assert_untouched
}

@test "status: says which rule tells the innocent from the service" {
  define web <<TOML
[start]
command = $(program polite 0 "$MARK")
[match]
cmdline = "polite.* $MARK"
TOML
  echo "$innocent" >"$RUN/web.pid"
  run ctl status web
  assert_failure 1
  assert_line --index 1 --regexp "^  pid file: +stale: pid $innocent is another process \(match.cmdline says no\)$"
  assert_untouched
}

@test "start: starts the service, and the pid file names that" {
  echo "$innocent" >"$RUN/web.pid"
  run ctl start web
  assert_success
  assert_output --regexp '^web: started, pid [0-9]+, [0-9.]+ s$'
  [ "$(cat "$RUN/web.pid")" != "$innocent" ]
  assert_alive "$(cat "$RUN/web.pid")"
  assert_untouched
}

@test "--pid: an innocent is refused, by its pid, with exit 152" {
  local verb
  for verb in stop kill; do
    run --separate-stderr ctl "$verb" web --pid "$innocent"
    assert_failure 152
    assert_output ''
    assert_equal "$stderr" "ctl: web: pid $innocent is another process (not this service's) (--pid)"
  done
  assert_untouched
}

@test 'MAINPID: a claim like any other' {
  ENV=(MAINPID="$innocent")
  run --separate-stderr ctl stop web
  assert_success
  assert_output 'web: already stopped' # no file of it remains, so nothing is stale
  assert_untouched
}

@test "a record of an earlier boot is stale, and one stop cleans it up" {
  ctl start web
  ctl kill web
  ctl start web
  local pid
  pid=$(cat "$RUN/web.pid")
  jq -c --argjson pid "$innocent" '.run.identity.boot_id = "00000000-0000-4000-8000-000000000000" | .run.identity.pid = $pid' \
    "$RUN/web.json" >"$SANDBOX/old"
  ctl kill web
  assert_gone "$pid"
  cat "$SANDBOX/old" >"$RUN/web.json"
  echo "$innocent" >"$RUN/web.pid"

  run ctl status web
  assert_failure 1
  assert_line --index 1 --regexp '^  record: +stale: was written before the last boot$'
  run ctl stop web
  assert_success
  assert_output 'web: already stopped (its record was stale)'
  assert_no_run web
  assert_not_exists "$RUN/web.pid"
  assert_untouched
}
