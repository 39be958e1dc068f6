#!/usr/bin/env bats
# explain as an operator reads it before a kill at night: the answer first, then its grounds, and nothing is touched.
# shellcheck disable=SC2154 # bats sets output and stderr

load helper

# server NAME [PATTERN]: a service that is known by its arguments, with a word in them that nobody else has.
server() {
  define "$1" <<TOML
[start]
command = $(program recorder - "--$MARK-server")
log = "$LOG/$1.log"
[ready]
log = "^ready"
[match]
cmdline = '${2:---$MARK-server}'
[stop]
schedule = "TERM/2/KILL/5"
TOML
}

start() {
  ctl start "$1" >/dev/null
  pid=$(<"$RUN/$1.pid")
}

# section TITLE: the lines below it, up to the next empty one.
section() { sed -n "/^$1\$/,/^\$/p" <<<"$output"; }

@test "running: who, why, and what stop and kill would do, before anything else" {
  server web
  start web
  run --separate-stderr ctl explain web
  assert_success
  assert_equal "$stderr" ''
  assert_line --index 0 "web: running as pid $pid, proved by its record"
  assert_line --index 1 "  stop        would carry out TERM/2/KILL/5 on pid $pid; at most 7 s"
  assert_line --index 2 "  kill        would send KILL to pid $pid; at most 5 s"
  assert_line --regexp "^  file +$CONF/services/web.toml$"
  assert_line --regexp "^  cmdline +--$MARK-server$"
  assert_line "  record         holds: pid $pid is the process that was recorded"
  assert_line "  pid file       holds: says what the record says"
  assert_line "  pid $pid  main process: named by its record"
  assert_line "      cmdline     yes, finds '--$MARK-server'"
  assert_line "    1. TERM to $pid, then wait up to 2 s"
  assert_line "  lock        nobody holds it"
  run wc --max-line-length <<<"$(grep -v / <<<"$output")"
  [ "$output" -le 80 ]
  refute grep --quiet got "$LOG/web.log"
}

@test "stopped: not running, and nothing to do" {
  server web
  run --separate-stderr ctl explain web
  assert_success
  assert_line --index 0 "web: not running"
  assert_line --index 1 "  stop        has nothing to do"
  assert_line "  none: there is no record and no pid file"
}

@test "a stale record: says so, and that stop would remove it" {
  server web
  start web
  cp "$RUN/web.json" "$SANDBOX/old"
  ctl kill web >/dev/null
  cp "$SANDBOX/old" "$RUN/web.json"
  run ctl explain web
  assert_success
  assert_line --index 0 "web: not running; its record is stale (pid $pid has ended)"
  assert_line --index 1 "  stop        has nothing to do, and removes the stale record"
  assert_line "  record         stale: pid $pid has ended"
  assert_exists "$RUN/web.json"
}

@test "a typo in the regex: shows the process that was meant, and the word in it" {
  server web
  start web
  rm "$RUN/web.json" "$RUN/web.pid"
  server web "--$MARK-sevrer"
  run ctl explain web
  assert_success
  assert_line --index 0 "web: not running; 1 of its processes is left"
  output=$(section candidates)
  mapfile -t lines <<<"$output"
  assert_line --index 1 "  pid $pid  not it: cmdline says no"
  output=$(tr -s ' \n' ' ' <<<"$output")
  assert_output --partial "cmdline no, '$MARK-sevrer' is not in its arguments"
}

@test "two match and one may: ambiguous, both are listed, exit 152 as for stop" {
  local argv
  server web
  start web
  rm "$RUN/web.json" "$RUN/web.pid"
  mapfile -t argv < <(program recorder "$SANDBOX/signals" "--$MARK-server" | jq -r '.[]')
  CTL_TEST_ID=$MARK "${argv[@]}" >/dev/null 2>&1 3>&- &
  wait_for_line "$SANDBOX/signals" ready >/dev/null
  run --separate-stderr ctl explain web
  assert_failure 152
  assert_equal "$stderr" ''
  assert_line --index 0 "web: ambiguous: 2 processes match and at most 1 may: none was touched"
  assert_line --index 1 "  stop        would refuse, exit 152 (ambiguous)"
  assert_line --index 3 "  fix         name the right one with --pid"
  assert_line "  pid $!  cannot tell: one of 2 that match; match.max is 1"
  assert_line "  pid $pid  cannot tell: one of 2 that match; match.max is 1"
  run ctl stop web
  assert_failure 152
  run ctl explain web --pid "$pid"
  assert_success
  assert_line --index 0 "web: running as pid $pid, proved by --pid"
  assert_line "  ctl kill web --pid $pid: at most 5 s"
  assert_line "  pid $!  not it: satisfies every rule, but another process is named by --pid"
  refute grep --quiet got "$SANDBOX/signals"
}

@test "--pid of another process: by which rule not, exit 152" {
  server web
  server db "--$MARK-database"
  start web
  run ctl explain db --pid "$pid"
  assert_failure 152
  assert_line --index 0 "db: refused: pid $pid is another process (match.cmdline says no)"
  assert_line "  pid $pid  not it: cmdline says no"
}

@test "the members are listed with how they are known" {
  define web <<TOML
[start]
command = $(program tree 2 1)
[ready]
settle = 0.05
TOML
  start web
  run ctl explain web
  assert_success
  assert_equal "$(section members | grep -c "^  pid .* child of pid $pid, session of pid $pid, carries the run's token$")" 2
  assert_line --partial "would send KILL to pid $pid, "
}

@test "another ctl at work: who holds the lock, and that kill would not wait" {
  server web
  start web
  ctl stop web --schedule TERM/60/KILL/5 >/dev/null 2>&1 3>&- &
  wait_for_line "$LOG/web.log" 'got TERM' >/dev/null
  run ctl explain web
  assert_success
  output=$(tr -s ' \n' ' ' <<<"$output")
  assert_output --regexp "stop waits first for ctl stop \(pid [0-9]+\), for 60 s at most, then would carry out"
  assert_output --regexp "kill does not wait for ctl stop \(pid [0-9]+\), would send KILL to pid $pid"
  assert_output --regexp "lock held by ctl stop, pid [0-9]+"
  ctl kill web >/dev/null
  wait
}

@test "a terminal is not driven by what a process calls itself" {
  local argv
  server web
  mapfile -t argv < <(program recorder signals "--$MARK-server" $'\e[2J\a' | jq -r '.[]')
  CTL_TEST_ID=$MARK "${argv[@]}" >/dev/null 2>&1 3>&- &
  wait_for_line "$SANDBOX/signals" ready >/dev/null
  run ctl explain web
  assert_success
  assert_line --index 0 "web: running as pid $!, found by its rules in the process table"
  assert_output --partial '\x1b[2J\x07'
  refute_output --partial $'\e'
}

@test "several targets one after the other; an unknown one, and nothing else is said" {
  server web
  server db
  run ctl explain web db
  assert_success
  assert_line "web: not running"
  assert_line "db: not running"
  run --separate-stderr ctl explain web bd
  assert_failure 5
  assert_output ''
  run --separate-stderr ctl explain web --quiet
  assert_success
  assert_output ''
}
