#!/usr/bin/env bats
# What is done already is not done again: exit 0, nothing changed, and nothing touched in the run directory.
# shellcheck disable=SC2154 # bats sets stderr

load helper

setup() {
  sandbox_up
  service web polite
}

# run_dir: every entry of the run directory with its inode, size and times, and the directory's own.
run_dir() { stat --printf '%n %i %s %Y %y %Z %z\n' "$RUN" "$RUN"/* "$RUN"/.[!.]*; }

# acts VERB REASON CHANGED: `ctl VERB web --json` succeeds for that reason, saying whether it changed anything.
acts() {
  run --separate-stderr ctl "$1" web --json
  assert_success
  assert_json '.results[0].reason' "$2"
  assert_json '.results[0].changed' "$3"
  assert_json '.changed' "$3"
  assert_equal "$stderr" ''
}

@test "kill, kill, kill: 0, 0, 0, and the second and third change nothing" {
  ctl start web
  local pid before
  pid=$(cat "$RUN/web.pid")

  run ctl kill web
  assert_success
  assert_output --regexp "^web: killed, pid $pid, [0-9.]+ s\$"
  assert_gone "$pid"
  before=$(run_dir)

  run ctl kill web
  assert_success
  assert_output 'web: already stopped'
  run ctl kill web
  assert_success
  assert_output 'web: already stopped'
  assert_equal "$(run_dir)" "$before"
}

@test "kill --json: changed is true once" {
  ctl start web
  acts kill killed true
  acts kill already_stopped false
  acts kill already_stopped false
}

@test "kill of what was never started" {
  run ctl kill web
  assert_success
  assert_output 'web: already stopped'
  assert_equal "$(ls "$RUN")" ''
}

@test "stop, stop: the second changes nothing" {
  ctl start web
  acts stop stopped true
  local before
  before=$(run_dir | grep -v '\.lock ') # the lock is held for the stop, and says so
  acts stop already_stopped false
  assert_equal "$(run_dir | grep -v '\.lock ')" "$before"

  run ctl stop web
  assert_success
  assert_output 'web: already stopped'
}

@test "stop of what was never started" {
  acts stop already_stopped false
  assert_not_exists "$RUN/web.pid"
  assert_no_run web
}

@test "start, start: the same process, and the second changes nothing" {
  acts start started true
  local pid before
  pid=$(cat "$RUN/web.pid")
  before=$(run_dir | grep -v '\.lock ')

  acts start already_running false
  assert_json '.results[0].pid' "$pid"
  assert_equal "$(run_dir | grep -v '\.lock ')" "$before"
  assert_alive "$pid"

  run ctl start web
  assert_success
  assert_output "web: already running, pid $pid"
}

@test "restart: another process, each time; of what is stopped: a start" {
  acts restart started true
  assert_json '.results[0].before' stopped
  local first
  first=$(cat "$RUN/web.pid")

  acts restart started true
  assert_json '.results[0].before' running
  assert_json '.results[0].signals[0].signal' TERM
  assert_gone "$first"
  [ "$(cat "$RUN/web.pid")" != "$first" ]
  assert_alive "$(cat "$RUN/web.pid")"
}

@test "status, status: changes nothing, running or stopped" {
  local before
  ctl start web
  before=$(run_dir)
  run ctl status web
  assert_success
  run ctl status web
  assert_success
  assert_equal "$(run_dir)" "$before"

  ctl stop web
  before=$(run_dir)
  run ctl status web
  assert_failure 3
  assert_equal "$(run_dir)" "$before"
}

@test "stop and kill of several, of which some are stopped" {
  service db polite
  ctl start db
  run --separate-stderr ctl stop web db --json
  assert_success
  assert_json '.changed' true
  assert_json '[.results[] | "\(.target) \(.reason) \(.changed)"] | join(", ")' 'web already_stopped false, db stopped true'
  run --separate-stderr ctl kill web db --json
  assert_success
  assert_json '.changed' false
}

@test "a service that ended by itself: one stop removes its record, the next has nothing to do" {
  ctl start web
  kill -TERM "$(cat "$RUN/web.pid")"
  local pid
  pid=$(cat "$RUN/web.pid")
  tail --pid="$pid" -s 0.02 -f /dev/null
  acts stop already_stopped true
  assert_json '.results[0].before' ended
  assert_not_exists "$RUN/web.pid"
  assert_no_run web
  acts stop already_stopped false
  assert_json '.results[0].before' stopped
}

@test "dry runs change nothing" {
  local before verb
  ctl start web
  before=$(run_dir)
  for verb in stop kill restart start; do
    run ctl "$verb" web --dry-run
    assert_success
  done
  assert_equal "$(run_dir)" "$before"
  assert_alive "$(cat "$RUN/web.pid")"
}
