#!/usr/bin/env bats
# restart --rolling: the first failures end it, and those that had not begun run on untouched.
# shellcheck disable=SC2154 # bats sets stderr and stderr_lines

load helper

# broken NAME: one that runs, and once restarted is never ready.
broken() {
  service "$1" polite
  ctl start "$1" >"$SANDBOX/started"
  printf '%s\n' 'log = "never"' 'timeout = 0.1' >"$SANDBOX/ready"
  sed -i '/^settle/d' "$CONF/services/$1.toml"
  sed -i "/^\[ready\]/r $SANDBOX/ready" "$CONF/services/$1.toml"
}

healthy() {
  service "$1" polite
  ctl start "$1" >"$SANDBOX/started"
}

pids() { (cd "$RUN" && cat "${@/%/.pid}" 2>&1 | tr '\n' ' '); }

@test "after a failure no other begins; those are skipped, and the exit code is that of the failure" {
  healthy a
  broken b
  healthy c
  healthy d
  before=$(pids c d)
  run --separate-stderr ctl restart a b c d --rolling 1
  assert_failure 151
  assert_regex "$output" '^a: started, pid [0-9]+, [0-9.]+ s$'
  assert_regex "$stderr" "ctl: b: was not ready within 0.1 s "
  assert_regex "$stderr" $'\nctl: c: skipped, since b failed \\(--max-failures 1\\)\nctl: d: skipped, since b failed '
  assert_equal "$(pids c d)" "$before"
}

@test "--max-failures: so many may fail, and the JSON tells who was skipped" {
  broken a
  healthy b
  broken c
  healthy d
  before=$(pids d)
  run --separate-stderr ctl restart a b c d --rolling 1 --max-failures 2 --json
  assert_failure 151
  assert_json '[.ok, (.results | map([.target, .ok, .changed, .reason]))] | tojson' \
    '[false,[["a",false,true,"not_ready"],["b",true,true,"started"],["c",false,true,"not_ready"],["d",false,false,"skipped"]]]'
  assert_json '.results[3].errors | map([.reason, .what, .where]) | tojson' \
    '[["skipped","skipped, since a, c failed","--max-failures 2"]]'
  assert_equal "$(pids d)" "$before"
}

@test "what makes no sense is a usage error, and --dry-run touches nothing" {
  healthy a
  healthy b
  before=$(pids a b)
  for options in '--max-failures 1' '--rolling 0' '--rolling 1 --max-failures 0'; do
    # shellcheck disable=SC2086 # words
    run ctl restart a b $options
    assert_failure 2
  done
  run ctl restart a b --rolling 1 --dry-run
  assert_success
  assert_line --regexp '^b: would take'
  assert_equal "$(pids a b)" "$before"
}
