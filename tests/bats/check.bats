#!/usr/bin/env bats
# Check: all errors of all files at once, each with file, key and what would be right; nothing is touched.
# shellcheck disable=SC2016,SC2154 # jq's $ in single quotes; bats sets stderr and stderr_lines

load helper

# Right in itself, and nothing to reap: nothing of it is ever started.
plain() {
  define_raw "$1" <<<'start.command = ["/usr/bin/sleep", "60"]'
}

@test "right definitions are counted, and nothing is made or touched" {
  plain web
  plain worker@
  plain api
  rmdir "$RUN" "$LOG"
  run --separate-stderr ctl check
  assert_success
  assert_output '3 definitions, no errors'
  assert_equal "$stderr" ''
  assert_not_exist "$RUN"
  assert_not_exist "$LOG"
  run ctl check web worker@ worker@7
  assert_success
  assert_output '3 definitions, no errors'
}

@test "a file is checked in the place of the definition that it is to replace" {
  plain web
  define_raw api <<<'stop.pid_file = "/run/api.pid"'
  printf '%s\n' 'stop.pid_file = "/run/web.pid"' 'match.executable = "/usr/sbin/web"' >"$SANDBOX/proposed"
  run ctl check web --file "$SANDBOX/proposed"
  assert_success
  assert_output '1 definition, no errors'
  run ctl check new@ --file "$SANDBOX/proposed"
  assert_failure 6
  assert_output --partial "new@: stop.pid_file: /run/web.pid would be that of every instance ($SANDBOX/proposed); to fix: put {instance} into it"

  printf '%s\n' 'stop.pid_file = "/run/api.pid"' 'match.executable = "/usr/sbin/web"' >"$SANDBOX/proposed"
  run ctl check web --file "$SANDBOX/proposed"
  assert_failure 6
  assert_output "ctl: web: stop.pid_file: /run/api.pid is also that of api; each service needs its own ($SANDBOX/proposed)"
  run ctl check api --file "$SANDBOX/proposed"
  assert_success

  run ctl check web --file "$SANDBOX/none"
  assert_failure 6
  assert_output "ctl: web: there is no such file ($SANDBOX/none)"
  run ctl check web@1 --file "$SANDBOX/proposed"
  assert_failure 5
  run ctl check --file "$SANDBOX/proposed"
  assert_failure 2
  run ctl check
  assert_success
}

@test "every error of every file is told at once, with file and key" {
  local services=$CONF/services
  printf 'rundir = "/x"\nlog_dir = 3\n' >"$CONF/ctl.toml"
  plain good
  define_raw web <<'TOML'
[start]
comand = ["x"]
user = "no-such-user"
[match]
cmdline = "x("
user = "neither"
TOML
  define_raw syntax <<<'[start'
  define_raw worker@ <<'TOML'
[start]
command = ["x", "{instance}"]
user = "app-{instance}"
group = "no-such-group"
[ready]
tcp = "localhost:{instance}{instance}{instance}{instance}{instance}{instance}"
TOML
  plain worker@1
  plain 'foo bar'
  touch "$services/README" "$services/.#web.toml"

  run --separate-stderr ctl check
  assert_failure 6
  assert_output ''
  assert_equal "${stderr_lines[0]}" "ctl: rundir: no such key (valid: run_dir, log_dir, service_dir) ($CONF/ctl.toml); to fix: write run_dir instead"
  assert_equal "${stderr_lines[1]}" "ctl: log_dir: expected str, found 3 ($CONF/ctl.toml)"
  assert_regex "${stderr_lines[2]}" "^ctl: 'foo bar' cannot be a service: a name is letters, .* \($services/foo bar.toml\)$"
  assert_regex "${stderr_lines[3]}" "^ctl: syntax: is not TOML: .*line 1.* \($services/syntax.toml\)$"
  assert_regex "${stderr_lines[4]}" "^ctl: web: start.comand: no such key \(valid: .*\) \($services/web.toml\); to fix: write command instead$"
  assert_equal "${stderr_lines[5]}" "ctl: web: start.command: missing ($services/web.toml)"
  assert_regex "${stderr_lines[6]}" "^ctl: web: match.cmdline: 'x\(' is no regular expression: "
  assert_equal "${stderr_lines[7]}" "ctl: web: start.user: there is no user 'no-such-user' on this host ($services/web.toml)"
  assert_equal "${stderr_lines[8]}" "ctl: web: match.user: there is no user 'neither' on this host ($services/web.toml)"
  assert_regex "${stderr_lines[9]}" "^ctl: worker@: ready.tcp: 'localhost:111111' is not HOST:PORT.* \($services/worker@.toml\)$"
  assert_equal "${stderr_lines[10]}" "ctl: worker@: start.group: there is no group 'no-such-group' on this host ($services/worker@.toml)"
  assert_equal "${stderr_lines[11]}" "ctl: an instance has no file of its own: worker@.toml is for all of worker@ ($services/worker@1.toml)"
  assert_equal "${#stderr_lines[@]}" 12
}

@test "only those named are checked, and an unknown one is exit 5" {
  plain web
  define_raw api <<<'descripton = "x"'
  run ctl check web
  assert_success
  run --separate-stderr ctl check web wbe
  assert_failure 5
  assert_regex "$stderr" '^ctl: wbe: no such service \(.*\); to fix: write web instead$'
  run ctl check nix 'a b' api
  assert_failure 6
}

@test "--json: a result for each file, each error with its key" {
  plain web
  define_raw api <<<'descripton = "x"'
  run --separate-stderr ctl check --json
  assert_failure 6
  assert_json '[.verb, .ok, .changed, (.results | map(.ok)), (.results | map(.target))] | tojson' \
    '["check",false,false,[true,false,true],[null,"api","web"]]'
  assert_json '.results[1].file' "$CONF/services/api.toml"
  assert_json '.results[1].errors[0].reason' bad_config
  assert_json '.results[1].errors[0].what | startswith("descripton: no such key")' true
  assert_json '.results[1].errors[0].where' "$CONF/services/api.toml"
}

@test "what two services, or all instances, must not share" {
  printf '%s\n' 'stop.pid_file = "/run/x.pid"' 'match.executable = "/usr/sbin/a"' | define_raw a
  printf '%s\n' 'stop.pid_file = "/run//x.pid"' 'match.executable = "/usr/sbin/b"' | define_raw b
  define_raw w@ <<<'start = { command = ["x"], log = "/var/log/w.log" }'
  define_raw kept1 <<<'start = { command = ["x"], log = "/var/log/both.log", log_keep = 0 }'
  define_raw kept2 <<<'start = { command = ["x"], log = "/var/log/both.log", log_keep = 0 }'
  run --separate-stderr ctl check
  assert_failure 6
  assert_equal "${stderr_lines[0]}" "ctl: a: stop.pid_file: /run/x.pid is also that of b; each service needs its own ($CONF/services/a.toml)"
  assert_equal "${stderr_lines[1]}" "ctl: b: stop.pid_file: /run/x.pid is also that of a; each service needs its own ($CONF/services/b.toml)"
  assert_equal "${stderr_lines[2]}" "ctl: w@: start.log: /var/log/w.log would be that of every instance ($CONF/services/w@.toml); to fix: put {instance} into it"
  assert_equal "${#stderr_lines[@]}" 3
  run --separate-stderr ctl check a
  assert_failure 6
  assert_equal "${#stderr_lines[@]}" 1
}

@test "a definition that may not be read is exit 4" {
  requires root
  plain web
  chmod 755 "$CONF" "$CONF/services"
  chmod 600 "$CONF/services/web.toml"
  run --separate-stderr setpriv --reuid 12345 --clear-groups env CTL_CONF="$CONF" CTL_RUN_DIR="$RUN" HOME=/ \
    "$ROOT/bin/ctl" check
  assert_failure 4
  assert_equal "$stderr" "ctl: web: cannot be read: Permission denied ($CONF/services/web.toml); to fix: try again as root"
}

@test "--schema prints the schema, whatever the configuration; it goes without a target" {
  run ctl check --schema --conf /none
  assert_success
  assert_json '."$schema"' https://json-schema.org/draft/2020-12/schema
  assert_json '."$defs".Start.properties.type.enum | tojson' '["forking","notify","simple"]'
  run ctl check --schema web
  assert_failure 2
}
