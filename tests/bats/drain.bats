#!/usr/bin/env bats
# What surrounds a stop, as it is typed: the drain and the hooks in its plan, on the way, and in what is said after.
# shellcheck disable=SC2154 # bats sets output, stderr and stderr_lines

load helper

# surrounded NAME <<TOML: a polite service with these tables; a running one's pid is in $pid.
surrounded() {
  local more
  more=$(cat)
  define "$1" <<TOML
$more
[start]
command = $(program polite)
log = "$LOG/$1.log"
[ready]
log = "^ready"
TOML
}

start() {
  ctl start "$1" >/dev/null
  pid=$(<"$RUN/$1.pid")
}

# ordered: the service web, in which everything around the stop appends its own name to a file.
ordered() {
  surrounded web <<TOML
[stop]
schedule = "TERM/5/KILL/5"
before = [["sh", "-c", "echo before {target} >>$SANDBOX/order"]]
after = [{ command = ["sh", "-c", "echo after {target} >>$SANDBOX/order"], timeout = 7 }]
[drain]
command = ["sh", "-c", "echo drain {name} >>$SANDBOX/order"]
timeout = 20
TOML
}

@test "a drained service is stopped with nothing more said than without a drain" {
  ordered
  start web
  run --separate-stderr ctl stop web
  assert_success
  assert_output --regexp "^web: stopped, pid $pid, [0-9.]+ s$"
  assert_equal "$stderr" ""
  assert_equal "$(<order)" "$(printf 'before web\ndrain web\nafter web')"
  assert_gone "$pid"
}

@test "one that is not drained in time is stopped all the same, and the last answer is told with where it was asked" {
  surrounded web <<TOML
[drain]
command = ["sh", "-c", "echo 3 jobs left >&2; exit 4"]
interval = 0.1
timeout = 1
TOML
  start web
  run --separate-stderr ctl stop web
  assert_success
  assert_output --regexp "^web: stopped, pid $pid, [0-9.]+ s$"
  # The deadline may cut the last question short; then the answer before it is told, too.
  assert_regex "$stderr" "^ctl: web: not drained within 1 s: (.*before that: )?command sh: exit status 4: 3 jobs left \\($CONF/services/web.toml, drain\\)$"
  assert_gone "$pid"

  start web
  run --separate-stderr ctl stop web --json
  assert_success
  assert_json '.ok' true
  assert_json '.results[0].drained' false
  assert_json '.results[0].errors[0].reason' timeout
}

@test "a probe that hangs and will not hear TERM is told as no answer" {
  surrounded web <<TOML
[drain]
command = ["sh", "-c", "trap '' TERM; exec tail -f /dev/null"]
timeout = 0.3
TOML
  start web
  run --separate-stderr ctl stop web
  assert_success
  assert_output --regexp "^web: stopped, pid $pid"
  assert_regex "$stderr" "^ctl: web: not drained within 0.3 s: command sh: no answer in 0\.3 s \($CONF/services/web.toml, drain\)$"
}

@test "a probe that is not installed is told as such" {
  surrounded web <<TOML
[drain]
command = ["no-such-probe"]
interval = 0.1
timeout = 0.2
TOML
  start web
  run --separate-stderr ctl stop web
  assert_success
  assert_equal "$stderr" "ctl: web: not drained within 0.2 s: command no-such-probe: not installed ($CONF/services/web.toml, drain)"
}

@test "a script whose interpreter is missing is told in one line, whatever runs it" {
  printf '#!/nowhere/sh\n' >script
  chmod 755 script
  surrounded web <<TOML
[stop]
before = [["$SANDBOX/script"]]
TOML
  start web
  run --separate-stderr ctl stop web
  assert_failure 1
  assert_equal "${#stderr_lines[@]}" 1
  assert_regex "$stderr" "^ctl: web: command $SANDBOX/script: .*\($CONF/services/web.toml, stop.before\[0\]\)$"
  refute_regex "$stderr" "Traceback"
  assert_gone "$pid"
}

@test "--verbose tells each step and each answer while it waits" {
  surrounded web <<TOML
[stop]
before = [["true"]]
after = [["true"]]
[drain]
command = ["sh", "-c", "test -e $SANDBOX/asked || { touch $SANDBOX/asked; exit 1; }"]
interval = 0.1
TOML
  start web
  run --separate-stderr ctl stop web --verbose
  assert_success
  assert_equal "${stderr_lines[0]}" "ctl: web: stop.before: true"
  assert_equal "${stderr_lines[1]}" "ctl: web: draining, at most 30 s"
  assert_equal "${stderr_lines[2]}" "ctl: web: not drained yet: command sh: exit status 1"
  assert_equal "${stderr_lines[3]}" "ctl: web: stop.after: true"
}

@test "a hook that fails is told with where it is, exit 1; the service is stopped all the same" {
  local key
  for key in before after; do
    surrounded web <<TOML
[stop]
$key = [["true"], ["sh", "-c", "echo balancer says no; exit 3"]]
TOML
    start web
    run --separate-stderr ctl stop web
    assert_failure 1
    assert_equal "$stderr" \
      "ctl: web: command sh: exit status 3: balancer says no ($CONF/services/web.toml, stop.${key}[1])"
    assert_gone "$pid"
    assert_file_not_exist "$RUN/web.pid"
    run ctl status web
    assert_failure 3

    start web
    run --separate-stderr ctl stop web --json
    assert_failure 1
    assert_json '.results[0].reason' hook_failed
    assert_json '.results[0].after' stopped
    assert_json '.results[0].changed' true
  done
}

@test "a hook has its own timeout" {
  surrounded web <<TOML
[stop]
after = [{ command = ["tail", "-f", "/dev/null"], timeout = 0.3 }]
TOML
  start web
  run --separate-stderr ctl stop web
  assert_failure 1
  assert_equal "$stderr" "ctl: web: command tail: no answer in 0.3 s ($CONF/services/web.toml, stop.after[0])"
  assert_gone "$pid"
}

@test "--dry-run lists hooks and drain in their order, with the longest time, and runs none of them" {
  ordered
  start web
  run --separate-stderr ctl stop web --dry-run
  assert_success
  assert_line --index 0 "web: would take at most 67 s" # 30 for the bare hook, 20 to drain, 5 and 5, 7
  assert_line --index 1 "  1. stop.before: sh -c 'echo before web >>$SANDBOX/order'"
  assert_line --index 2 "  2. drain, at most 20 s"
  assert_line --index 3 "  3. TERM to $pid, then wait up to 5 s"
  assert_line --index 4 "  4. KILL to $pid, then wait up to 5 s"
  assert_line --index 6 "  6. stop.after: sh -c 'echo after web >>$SANDBOX/order'"
  assert_file_not_exist order
  assert_alive "$pid"

  run ctl kill web --dry-run
  assert_success
  refute_output --partial stop.before
  refute_output --partial drain
  assert_line --index 0 "web: would take at most 5 s"

  run ctl restart web --dry-run
  assert_success
  assert_line --partial "stop.before: sh -c"
  assert_line --partial "stop.after: sh -c"
  assert_file_not_exist order
}

@test "a dry run of a stopped service has nothing to do" {
  ordered
  run ctl stop web --dry-run
  assert_success
  assert_output "web: nothing to do"
}

@test "neither a stop of what is stopped nor a kill runs a hook" {
  ordered
  run ctl stop web
  assert_success
  assert_output "web: already stopped"
  start web
  run ctl kill web
  assert_success
  assert_output --partial "web: killed, pid $pid"
  assert_file_not_exist order
}

@test "restart runs the hooks around its stop" {
  ordered
  start web
  run --separate-stderr ctl restart web
  assert_success
  assert_equal "$stderr" ""
  assert_equal "$(<order)" "$(printf 'before web\ndrain web\nafter web')"
  assert_gone "$pid"
}

@test "restart starts again also when a hook fails, and tells it" {
  surrounded web <<TOML
[stop]
before = [["false"]]
TOML
  start web
  run --separate-stderr ctl restart web
  assert_failure 1
  assert_equal "$stderr" "ctl: web: command false: exit status 1 ($CONF/services/web.toml, stop.before[0])"
  run ctl status web
  assert_success
}

@test "a hook that fails for one of two services leaves the other's stop whole" {
  surrounded web <<TOML
[stop]
before = [["false"]]
TOML
  surrounded api </dev/null
  start web
  start api
  run --separate-stderr ctl stop web api
  assert_failure 1
  assert_output --regexp "^api: stopped, pid $pid, [0-9.]+ s$"
  assert_equal "${#stderr_lines[@]}" 1
}

@test "a definition with a wrong hook or drain is refused whole, naming file and key, and nothing is touched" {
  service web polite
  start web
  local table said fix
  while IFS='|' read -r table said fix; do
    printf '%b\n' "$table" | surrounded web
    run --separate-stderr ctl restart web
    assert_failure 6
    assert_output ""
    assert_regex "$stderr" "^ctl: web: $said \($CONF/services/web.toml\)${fix:+; to fix: $fix}$"
    assert_alive "$pid"
  done <<'LIST'
[stop]\nbefore = ["true"]|stop\.before\[0\]: expected array, found 'true'
[stop]\nbefore = "true"|stop\.before: expected array, found 'true'
[stop]\nbefore = [[]]|stop\.before\[0\]: expected a program and its arguments, such as \["/usr/bin/sleep", "60"\]
[stop]\nafter = [["true"], [""]]|stop\.after\[1\]: expected a program and its arguments, such as \["/usr/bin/sleep", "60"\]
[stop]\nafter = [["true", 1]]|stop\.after\[0\]: expected str at \[1\], found \['true', 1\]
[stop]\nafter = [{ timeout = 3 }]|stop\.after\[0\]\.command: missing
[stop]\nafter = [{ command = ["true"], timout = 3 }]|stop\.after\[0\]\.timout: no such key \(valid: command, timeout\)|write timeout instead
[stop]\nafter = [{ command = ["true"], timeout = 0 }]|stop\.after\[0\]\.timeout: expected more than 0 seconds.*, found 0
[stop]\nafter = [{ command = ["true"], timeout = inf }]|stop\.after\[0\]\.timeout: expected at most a week \(604800 seconds\), found inf
[stop]\nbefor = [["true"]]|stop\.befor: no such key \(valid: .*\)|write before instead
[drain]|drain: expected one of command, http, tcp, found none
[drain]\ncommand = ["true"]\ntcp = "localhost:1"|drain: expected one of command, http, tcp, found command and tcp
[drain]\ncommand = "true"|drain\.command: expected array, found 'true'
[drain]\ncommand = []|drain\.command: expected a program and its arguments, such as \["/usr/bin/sleep", "60"\]
[drain]\nhttp = "localhost/drained"|drain\.http: expected http://HOST\[:PORT\]/PATH, found 'localhost/drained'
[drain]\ntcp = "localhost"|drain\.tcp: 'localhost' is not HOST:PORT, such as "127\.0\.0\.1:8080"
[drain]\ntcp = "localhost:0"|drain\.tcp: 'localhost:0' is not HOST:PORT, such as "127\.0\.0\.1:8080"
[drain]\ncommand = ["true"]\ntimeout = 0|drain\.timeout: expected more than 0 seconds.*, found 0
[drain]\ncommand = ["true"]\ninterval = -1|drain\.interval: expected more than 0 seconds.*, found -1
[drain]\ncommand = ["true"]\ntimeout = "30s"|drain\.timeout: expected float, found '30s'
LIST
}
