#!/usr/bin/env bats
# What an operator does with a service that is not needed any more.

load helper

@test "forget says what it has done, and the second time that nothing is known" {
  service web polite
  ctl start web
  ctl stop web
  run ctl forget web
  assert_success
  assert_output --regexp '^web: forgotten'
  run ctl forget web
  assert_success
  assert_output 'web: nothing is known of it'
  run ls -A "$RUN"
  refute_output --partial web
}

@test "forget refuses what runs, and says what to do" {
  service web polite
  ctl start web
  run ctl forget web
  assert_failure 1
  assert_output --regexp '^ctl: web: it runs as pid [0-9]+: only what is stopped can be forgotten; to fix: ctl stop web$'
}
