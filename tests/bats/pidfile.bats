#!/usr/bin/env bats
# Malformed pid files and records, as an operator meets them: one whole sentence that names the file, and no more.
# shellcheck disable=SC2154 # bats sets stderr

load helper

setup() {
  sandbox_up
  service web polite
}

# assert_refused WHY [SOURCE FILE]: each verb says so in one line, and does what it can do without the file.
assert_refused() {
  local why=$1 source=${2:-pid file} file=${3:-$RUN/web.pid} fix=${4-} verb
  for verb in status stop kill start; do
    run --separate-stderr ctl "$verb" web
    if [ "$verb" = status ]; then assert_failure 1; else assert_success; fi
    assert_equal "$stderr" "ctl: web: $source $why; it is not believed ($file)${fix:+; to fix: $fix}"
  done
  assert_output --regexp '^web: started, pid [0-9]+'
  # What start has written is good.
  run --separate-stderr ctl kill web
  assert_success
  assert_output --regexp '^web: killed, pid [0-9]+'
}

@test "an empty pid file" {
  : >"$RUN/web.pid"
  assert_refused 'is empty'
}

@test "a pid file with a word in it" {
  echo web >"$RUN/web.pid"
  assert_refused "holds 'web\\n', not one process id"
}

@test "a pid file with two pids in it" {
  echo 4242 4243 >"$RUN/web.pid"
  assert_refused "holds '4242 4243\\n', not one process id"
}

@test "a pid file that names init" {
  echo 1 >"$RUN/web.pid"
  assert_refused "holds '1': no service's process id"
}

@test "a pid file that names everyone" {
  echo -1 >"$RUN/web.pid"
  assert_refused "holds '-1\\n', not one process id"
}

@test "a pid file that is a fifo" {
  mkfifo "$RUN/web.pid"
  assert_refused 'is a fifo, not a regular file'
}

@test "a pid file that is a link" {
  echo $$ >"$SANDBOX/elsewhere"
  ln -s "$SANDBOX/elsewhere" "$RUN/web.pid"
  assert_refused 'is a symbolic link'
  assert_equal "$(cat "$SANDBOX/elsewhere")" $$ # what it leads to was not written to
}

@test "a pid file that everyone can write to, and the fix" {
  echo $$ >"$RUN/web.pid"
  chmod 666 "$RUN/web.pid"
  assert_refused "can be written by everyone (mode 0666)" "pid file" "$RUN/web.pid" "chmod o-w '$RUN/web.pid'"
}

@test "a pid file that belongs to another user" {
  requires root
  echo $$ >"$RUN/web.pid"
  chown nobody "$RUN/web.pid"
  assert_refused "is not to be trusted: $RUN/web.pid belongs to nobody, not to root"
}

@test "a record that is no JSON" {
  echo garbage >"$RUN/web.json"
  run --separate-stderr ctl stop web
  assert_success
  assert_regex "$stderr" "^ctl: web: record is no record: .*; it is not believed \($RUN/web.json\)$"
}

@test "a record of another service" {
  service db polite
  ctl start db
  cp "$RUN/db.json" "$RUN/web.json"
  assert_refused "is the record of 'db'" record "$RUN/web.json"
  run ctl status db
  assert_success
}

@test "a malformed pid file of the service's own, beside a running service, is not in the way" {
  define web <<TOML
[start]
command = $(program polite)
[ready]
settle = 0.05
[stop]
pid_file = "$SANDBOX/own.pid"
TOML
  echo garbage >"$SANDBOX/own.pid"
  run --separate-stderr ctl start web
  assert_success
  assert_equal "$stderr" "ctl: web: stop.pid_file holds 'garbage\\n', not one process id; it is not believed ($SANDBOX/own.pid)"
  run --separate-stderr ctl stop web
  assert_success
  assert_output --regexp '^web: stopped, pid [0-9]+'
}
