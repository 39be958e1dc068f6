#!/usr/bin/env bats
# pause and resume as they are typed: what each option does, and every sentence that comes back.
# shellcheck disable=SC2154 # bats sets output, stderr and stderr_lines

load helper

# start NAME: starts it; its pid is in $pid.
start() {
  ctl start "$1" >/dev/null
  pid=$(<"$RUN/$1.pid")
}

WHEN='[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}[+-][0-9:]{5}'

@test "pause, again, status, start, resume, again" {
  service web tree 1 1
  start web
  run --separate-stderr ctl pause web
  assert_success
  assert_output --regexp "^web: paused, pid $pid, [0-9.]+ s$"
  assert_equal "$stderr" ""
  assert_equal "$(process_state "$pid")" T

  run --separate-stderr ctl pause web
  assert_success
  assert_output "web: already paused, pid $pid"

  run ctl status web
  assert_success
  assert_line --index 0 "web: paused"
  assert_line --regexp "^  paused: +since $WHEN, until it is resumed$"
  run ctl status
  assert_line --regexp "^web +paused +pid $pid, up "

  run --separate-stderr ctl start web
  assert_success
  assert_output "web: already running, pid $pid"
  assert_equal "$stderr" "ctl: web: it is paused; to fix: ctl resume web"

  run --separate-stderr ctl resume web
  assert_success
  assert_output --regexp "^web: resumed, pid $pid, [0-9.]+ s$"
  assert_equal "$(process_state "$pid")" S
  assert_file_not_exist "$RUN/web.paused"
  run --separate-stderr ctl resume web
  assert_success
  assert_output "web: already running, pid $pid"
  assert_equal "$stderr" ""
}

@test "what does not run can be neither paused nor resumed: exit 7" {
  service web polite
  service db polite
  start db
  local verb
  for verb in pause resume; do
    run --separate-stderr ctl "$verb" web
    assert_failure 7
    assert_output ""
    assert_equal "$stderr" "ctl: web: is not running"
    run --separate-stderr ctl "$verb" web db
    assert_failure 7
    assert_output --regexp "^db: "
  done
  run --separate-stderr ctl pause web --json
  assert_json '.results[0] | [.reason, .changed, .exit_code] | map(tostring) | join(" ")' "not_running false 7"
  assert_file_not_exist "$RUN/web.paused"
}

@test "--for says until when, and a plain pause has no end" {
  service web polite
  start web
  run --separate-stderr ctl pause web --for 10m
  assert_success
  assert_output --regexp "^web: paused, pid $pid, [0-9.]+ s, until $WHEN$"
  run ctl status web
  assert_line --regexp "^  paused: +since $WHEN, until $WHEN$"
  run --separate-stderr ctl pause web --for 1h
  assert_success
  assert_output --regexp "^web: already paused, pid $pid, until $WHEN$"
  run ctl pause web --json
  assert_json '.results[0] | [.reason, .changed] | map(tostring) | join(" ")' "already_paused true"
  run ctl status web
  assert_line --regexp "until it is resumed$"
  ctl kill web
  assert_file_not_exist "$RUN/web.paused"
}

@test "--for refuses what is no duration, and nothing is paused" {
  service web polite
  start web
  local given
  for given in 0 -1s soon 1w 8d 1e9 inf ""; do
    run --separate-stderr ctl pause web --for "$given"
    assert_failure 2
    assert_output ""
    assert_equal "${#stderr_lines[@]}" 1
  done
  assert_regex "$stderr" "is no duration such as 90s, 10m, 2h or 1d, a week at most"
  assert_equal "$(process_state "$pid")" S
}

@test "--dry-run tells who would be held and does nothing" {
  define web <<TOML
[start]
command = $(program polite)
[ready]
settle = 0.05
[drain]
command = ["false"]
timeout = 30
TOML
  start web
  run --separate-stderr ctl pause web --for 10m --dry-run
  assert_success
  assert_line --index 0 "web: would take at most 35 s"
  assert_line --index 1 "  1. drain, at most 30 s"
  assert_line --index 2 "  2. STOP to $pid"
  assert_line --index 3 "  3. after 600 s: CONT to all"
  assert_equal "$(process_state "$pid")" S
  run ctl resume web --dry-run
  assert_output "web: nothing to do"
  kill -STOP "$pid" # whoever holds it
  run ctl resume web --dry-run
  assert_line --index 1 "  1. CONT to $pid"
  assert_equal "$(process_state "$pid")" T
}

@test "--expect-pid pauses only this process" {
  service web polite
  start web
  run --separate-stderr ctl pause web --expect-pid $((pid + 1))
  assert_failure 152
  assert_equal "$stderr" "ctl: web: its main process is pid $pid, not pid $((pid + 1)) (--expect-pid)"
  assert_equal "$(process_state "$pid")" S
  run ctl pause web --expect-pid "$pid"
  assert_success
}
