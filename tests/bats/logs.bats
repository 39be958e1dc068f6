#!/usr/bin/env bats
# logs: what a service wrote, also before its restart.
# shellcheck disable=SC2154 # bats sets output, stderr and stderr_lines

load helper

@test "the last lines, also those from before a restart" {
  service web crash 3 4
  run ctl start web
  service web polite
  ctl start web >/dev/null
  wait_for_line "$LOG/web.log" ready >/dev/null
  run --separate-stderr ctl logs web
  assert_success
  assert_line --partial 'fatal: cannot go on'
  assert_line --index -1 --regexp '^ready \(pid: [0-9]+\)$'
  run --separate-stderr ctl logs web -n 2
  assert_equal "${#lines[@]}" 2
  assert_line --index 0 'fatal: cannot go on'
  run --separate-stderr ctl logs web -n 0
  assert_output ""
}

@test "several targets have their names before each line, and one document" {
  service web polite
  service engine polite
  printf 'one\ntwo\n' >"$LOG/web.log"
  printf 'three' >"$LOG/engine.log"
  run --separate-stderr ctl logs web engine
  assert_success
  assert_output $'web    | one\nweb    | two\nengine | three'
  run --separate-stderr ctl logs web engine --json
  assert_json '.results[] | "\(.target) \(.file) \(.lines | join(","))"' "web $LOG/web.log one,two
engine $LOG/engine.log three"
}

@test "no log yet is said, and is no error" {
  service web polite
  run --separate-stderr ctl logs web
  assert_success
  assert_output ""
  assert_equal "$stderr" "ctl: web: has no log yet ($LOG/web.log)"
}

@test "each byte comes as it was written where stdout is no terminal" {
  service web polite
  printf 'a\033[2J\377\0b\n%0200000d\n' 7 >"$LOG/web.log"
  ctl logs web >"$SANDBOX/out"
  cmp "$SANDBOX/out" "$LOG/web.log"
}

@test "an unknown service, and what is no file" {
  service web polite
  run --separate-stderr ctl logs web nope
  assert_failure 5
  mkdir "$LOG/web.log"
  run --separate-stderr ctl logs web
  assert_failure 1
  assert_equal "$stderr" "ctl: web: its log is a directory, not a regular file ($LOG/web.log)"
}
