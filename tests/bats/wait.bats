#!/usr/bin/env bats
# Wait: what is so already returns at once, what does not come in time has an exit code of its own, nothing is changed.
# shellcheck disable=SC2154 # bats sets stderr

load helper

@test "what is so already returns at once" {
  service web polite
  run --separate-stderr ctl wait web --for stopped
  assert_success
  assert_output 'web: already stopped'
  ctl start web >"$SANDBOX/started"
  pid=$(<"$RUN/web.pid")
  before=$(ls -l --time-style=full-iso "$RUN")
  for goal in ready running; do
    run --separate-stderr ctl wait web --for "$goal" --timeout 0
    assert_success
    assert_output "web: already running, pid $pid"
    assert_equal "$stderr" ''
  done
  run ctl wait web --json
  assert_success
  assert_json '.results[0] | [.ok, .changed, .before, .after, .reason, .pid] | tojson' \
    "[true,false,\"ready\",\"ready\",\"already_running\",$pid]"
  assert_equal "$(ls -l --time-style=full-iso "$RUN")" "$before"
}

@test "what does not come in time: 151 for running and ready, 150 for stopped" {
  service web polite
  service up polite
  ctl start up >"$SANDBOX/started"
  run --separate-stderr ctl wait web up --timeout 0.1
  assert_failure 151
  assert_equal "$stderr" 'ctl: web: is not running after 0.1 s (--timeout)'
  assert_regex "$output" '^up: already running, pid'
  run --separate-stderr ctl wait up --for stopped --timeout 0.1
  assert_failure 150
  assert_equal "$stderr" "ctl: up: is still running, pid $(<"$RUN/up.pid") after 0.1 s (--timeout)"
  sed -i 's/^settle.*/tcp = "127.0.0.1:1"/' "$CONF/services/up.toml"
  run --separate-stderr ctl wait up --timeout 0.1 --json
  assert_failure 151
  assert_equal "$stderr" "ctl: up: is running, pid $(<"$RUN/up.pid"), but not ready (tcp 127.0.0.1:1) after 0.1 s (--timeout)"
  assert_json '.results[0] | [.after, .reason] | tojson' '["running","not_ready"]'
  assert_alive "$(<"$RUN/up.pid")"
}

@test "what nobody has seen start is not waited for in vain" {
  service web polite
  ctl start web >"$SANDBOX/started"
  rm "$RUN/web.json"
  sed -i 's/^settle.*/log = "^ready"/' "$CONF/services/web.toml"
  run --separate-stderr ctl wait web
  assert_failure 151
  assert_regex "$stderr" '^ctl: web: is running, but ctl has not seen it start: whether it is ready \(log \^ready\) is not known \('
}

@test "an unknown target and a bad option" {
  run ctl wait nix
  assert_failure 5
  service web polite
  run --separate-stderr ctl wait web --for started
  assert_failure 2
  assert_regex "$stderr" "'started' is not one of 'running', 'ready', 'stopped'"
}
