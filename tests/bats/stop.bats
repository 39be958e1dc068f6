#!/usr/bin/env bats
# stop and kill as they are typed: what each option does, and every sentence that comes back.
# shellcheck disable=SC2154 # bats sets output, stderr and stderr_lines

load helper

# start NAME: starts it; its pid is in $pid.
start() {
  ctl start "$1" >/dev/null
  pid=$(<"$RUN/$1.pid")
}

# ignorer NAME [SCHEDULE]: a service that ignores TERM.
ignorer() {
  define "$1" <<TOML
[start]
command = $(program ignorer)
log = "$LOG/$1.log"
[ready]
log = "^ready"
[stop]
schedule = "${2:-TERM/0.2/KILL/5}"
TOML
}

@test "stop says who was stopped and how long it took" {
  service web polite
  start web
  run --separate-stderr ctl stop web
  assert_success
  assert_output --regexp "^web: stopped, pid $pid, [0-9]+\.[0-9]{2} s$"
  assert_equal "$stderr" ""
  assert_gone "$pid"
  assert_file_not_exist "$RUN/web.pid"
  assert_no_run web
}

@test "a second and a third stop or kill change nothing" {
  service web polite
  start web
  ctl stop web >/dev/null
  for verb in stop kill stop kill; do
    run --separate-stderr ctl "$verb" web
    assert_success
    assert_output "web: already stopped"
    assert_equal "$stderr" ""
  done
}

@test "stop says when only KILL ended it" {
  ignorer web
  start web
  run --separate-stderr ctl stop web
  assert_success
  assert_output --regexp "^web: stopped, but only KILL ended it, pid $pid, [0-9.]+ s$"
}

@test "kill does not wait for the grace" {
  ignorer web TERM/60/KILL/5
  start web
  run --separate-stderr ctl kill web
  assert_success
  assert_output --regexp "^web: killed, pid $pid, [0-9]\.[0-9]{2} s$"
  assert_gone "$pid"
}

@test "--grace shortens the wait before KILL" {
  ignorer web TERM/60/KILL/5
  start web
  run ctl stop web --grace 0.2 --json
  assert_success
  assert_json '.results[0].reason' escalated
  assert_json '[.results[0].signals[].signal] | join(" ")' "TERM KILL"
  assert_json '.results[0].duration_s < 30' true
}

@test "--grace keeps the first signal of the definition" {
  ignorer web INT/60/TERM/60/KILL/5
  start web
  run ctl stop web --grace 0 --json
  assert_success
  assert_json '[.results[0].signals[].signal] | join(" ")' "INT KILL"
}

@test "--schedule replaces the one of the definition" {
  service web recorder -
  start web
  run ctl stop web --schedule HUP/0.1/USR1/0.1/KILL/5 --json
  assert_success
  assert_json '[.results[0].signals[].signal] | join(" ")' "HUP USR1 KILL"
  run cat "$LOG/web.log"
  assert_line --partial "got HUP from"
  assert_line --partial "got USR1 from"
  refute_line --partial "got TERM"
}

@test "a schedule is written with or without SIG, in any case, or by number" {
  local spec
  for spec in SIGTERM/5/SIGKILL/5 term/5/kill/5 -TERM/5/-KILL/5 -15/5/-9/5; do
    run ctl stop web --schedule "$spec" --dry-run
    refute_output --partial usage
    service web polite
    start web
    run ctl stop web --schedule "$spec" --json
    assert_success
    assert_json '[.results[0].signals[].signal] | join(" ")' TERM
  done
}

@test "a schedule that makes no sense is refused, with the reason, and nobody is signalled" {
  ignorer web
  start web
  local said fix
  while IFS='|' read -r spec said fix; do
    run --separate-stderr ctl stop web --schedule "$spec"
    assert_failure 2
    assert_output ""
    assert_regex "$stderr" "$said \(see ctl stop --help\)${fix:+; to fix: $fix}$"
    assert_equal "${#stderr_lines[@]}" 1
  done <<'LIST'
TREM/5/KILL/5|'TREM' is neither a signal nor a number of seconds|write TERM instead
TERM/5/KILL|ends in a signal|say how long to wait after it, for example TERM/5/KILL/5
5/5|sends no signal
STOP/5/KILL/5|STOP stops no service
TERM/999999999/KILL/5|waits 999999999 seconds, which is more than a week
|
LIST
  assert_alive "$pid"
  run ctl status web
  assert_success
}

@test "--grace refuses what is no number of seconds" {
  ignorer web
  start web
  local grace
  for grace in -1 soon nan inf ""; do
    run --separate-stderr ctl stop web --grace "$grace"
    assert_failure 2
    assert_output ""
    assert_equal "${#stderr_lines[@]}" 1
  done
  assert_alive "$pid"
}

@test "without KILL, what ignores the schedule is reported alive, exit 150" {
  ignorer web TERM/0.2
  start web
  run --separate-stderr ctl stop web
  assert_failure 150
  assert_output ""
  assert_equal "$stderr" "ctl: web: still alive after the whole schedule: pid $pid (state S); \
it was not sent KILL; to fix: ctl kill web"
  assert_alive "$pid"
  run ctl status web
  assert_success
}

@test "--dry-run shows targets, processes, steps and the longest time, and does nothing" {
  define web <<TOML
[start]
command = $(program tree 1 1)
[ready]
settle = 0.05
[stop]
schedule = "INT/10/TERM/5/KILL/5"
TOML
  start web
  child=$(pgrep -P "$pid")
  run --separate-stderr ctl stop web --dry-run
  assert_success
  assert_line --index 0 "web: would take at most 20 s"
  assert_line --index 1 "  1. INT to $pid, then wait up to 10 s; after 5 s also to $child"
  assert_line --index 2 "  2. TERM to $pid, then wait up to 5 s; after 2.5 s also to $child"
  assert_line --index 3 "  3. KILL to $pid, then wait up to 5 s; after 2.5 s also to $child"
  assert_line --index 4 "  4. then to what outlives it: TERM, what is left of the grace, KILL"
  assert_line --regexp "^  pid $pid \($(id -un), since [0-9T:+-]+\): .*tree.py 1 1$"
  assert_equal "$(grep -c '^  pid ' <<<"$output")" 2
  assert_equal "$stderr" ""
  assert_alive "$pid"
  assert_file_exist "$RUN/web.json"
}

@test "kill --dry-run shows that KILL would go to every process" {
  define web <<TOML
[start]
command = $(program tree 2 1)
[ready]
settle = 0.05
TOML
  start web
  run ctl kill web --dry-run --json
  assert_success
  assert_json '.changed' false
  assert_json '.results[0].reason' planned
  assert_json '.results[0].before' running
  assert_json '.results[0].after' running
  assert_json '.results[0].plan.longest_s' 5
  assert_json '[.results[0].plan.processes[].pid] | length' 3
  assert_json '.results[0].plan.steps[0] | test("^KILL to [0-9]+, [0-9]+, [0-9]+, then wait up to 5 s$")' true
  assert_alive "$pid"
}

@test "--dry-run of a stopped service has nothing to do" {
  service web polite
  run --separate-stderr ctl stop web --dry-run
  assert_success
  assert_output "web: nothing to do"
}

@test "--dry-run of one that has crashed says that its record would be removed, and leaves it there" {
  service web polite
  ctl start web
  kill -KILL "$(<"$RUN/web.pid")"
  run --separate-stderr ctl stop web --dry-run
  assert_success
  assert_line --index 1 "  1. remove the stale record"
  assert_file_exists "$RUN/web.json"
}

@test "--dry-run of a schedule without end says so" {
  ignorer web
  start web
  run ctl stop web --schedule forever/TERM/5 --dry-run
  assert_success
  assert_line --index 0 "web: would take as long as it takes"
  assert_alive "$pid"
}

@test "--verbose names each signal, to whom and when, on stderr" {
  ignorer web
  start web
  run --separate-stderr ctl stop web --verbose
  assert_success
  assert_output --regexp "^web: stopped, but only KILL ended it, pid $pid, [0-9.]+ s$"
  assert_regex "${stderr_lines[0]}" "^ctl: web: TERM to pid $pid at [0-9.]+ s$"
  assert_regex "${stderr_lines[1]}" "^ctl: web: KILL to pid $pid at [0-9.]+ s$"
  assert_equal "${#stderr_lines[@]}" 2
}

@test "--quiet prints nothing when all went well" {
  service web polite
  start web
  local verb
  for verb in stop kill; do
    run ctl "$verb" web --quiet
    assert_success
    assert_output ""
  done
}

@test "--quiet still says what went wrong" {
  ignorer web TERM/0.1
  start web
  run --separate-stderr ctl stop web --quiet
  assert_failure 150
  assert_output ""
  assert_equal "$stderr" "ctl: web: still alive after the whole schedule: pid $pid (state S); \
it was not sent KILL; to fix: ctl kill web"
}

@test "--json prints one document, whatever happens" {
  ignorer web
  start web
  run --separate-stderr ctl stop web --json
  assert_success
  assert_equal "$(jq -s length <<<"$output")" 1
  assert_json '[.schema, .verb, .ok, .changed] | map(tostring) | join(" ")' "1 stop true true"
  assert_json '.results | length' 1
  assert_json '.results[0] | [.target, .before, .after, .reason] | join(" ")' "web running stopped escalated"
  assert_json '.results[0] | [.ok, .changed, .escalated] | map(tostring) | join(" ")' "true true true"
  assert_json '.results[0].pid' "$pid"
  assert_json '[.results[0].signals[] | "\(.signal) \(.pid)"] | join(" ")' "TERM $pid KILL $pid"
  assert_json '.results[0] | [.survivors, .errors] | flatten | length' 0
  assert_json '.results[0].drained' null
  assert_equal "$stderr" ""

  run --separate-stderr ctl stop web --json
  assert_success
  assert_json '[.ok, .changed] | map(tostring) | join(" ")' "true false"
  assert_json '.results[0] | [.before, .after, .reason] | join(" ")' "stopped stopped already_stopped"

  run --separate-stderr ctl stop nobody --json
  assert_failure 5
  assert_equal "$(jq -s length <<<"$output")" 1
  assert_json '.ok' false
  assert_json '.errors[0].reason' unknown_target

  run --separate-stderr ctl stop web --grace soon --json
  assert_failure 2
  assert_equal "$(jq -s length <<<"$output")" 1
  assert_json '.errors[0].reason' usage
}

@test "--expect-pid stops the service only if it is this process" {
  service web polite
  start web
  run --separate-stderr ctl stop web --expect-pid $((pid + 1))
  assert_failure 152
  assert_output ""
  assert_equal "$stderr" "ctl: web: its main process is pid $pid, not pid $((pid + 1)) (--expect-pid)"
  assert_alive "$pid"

  run --separate-stderr ctl kill web --expect-pid $((pid + 1))
  assert_failure 152
  assert_alive "$pid"

  run ctl stop web --expect-pid "$pid"
  assert_success
  assert_gone "$pid"
}

@test "--expect-pid is content when nothing runs" {
  service web polite
  run ctl stop web --expect-pid 4711
  assert_success
  assert_output "web: already stopped"
}

@test "--pid is a claim like any other: a stranger is refused" {
  service web polite
  service other polite
  start other
  local stranger=$pid
  run --separate-stderr ctl stop web --pid "$stranger"
  assert_failure 152
  assert_output ""
  assert_equal "$stderr" "ctl: web: pid $stranger is another process (not this service's) (--pid)"
  assert_alive "$stranger"

  start web
  run --separate-stderr ctl stop web --pid "$stranger"
  assert_failure 152
  assert_equal "$stderr" "ctl: web: its main process is pid $pid, as recorded, not pid $stranger (--pid)"
  assert_alive "$stranger"
  assert_alive "$pid"

  run ctl stop web --pid "$pid"
  assert_success
  assert_gone "$pid"
}

@test "--pid names one of several that match" {
  local word=$MARK-shared
  define web <<TOML
[match]
cmdline = "$word"
[stop]
schedule = "TERM/5/KILL/5"
TOML
  local elsewhere=$SANDBOX/elsewhere first second # under another run directory, nothing says whose they are
  service one recorder - "$word"
  service two recorder - "$word"
  ctl start one two --run-dir "$elsewhere"
  first=$(<"$elsewhere/one.pid")
  second=$(<"$elsewhere/two.pid")
  run --separate-stderr ctl kill web
  assert_failure 152
  assert_equal "${#stderr_lines[@]}" 3
  run --separate-stderr ctl kill web --pid "$second"
  assert_success
  assert_output --regexp "^web: killed, pid $second, [0-9.]+ s$"
  assert_gone "$second"
  assert_alive "$first"
}

@test "--pid of a process that has ended is already stopped" {
  service web polite
  start web
  ctl stop web >/dev/null
  run --separate-stderr ctl stop web --pid "$pid"
  assert_success
  assert_output "web: already stopped"
}

@test "--pid and --expect-pid go with one target" {
  service web polite
  service web2 polite
  start web
  run --separate-stderr ctl stop web web2 --pid "$pid"
  assert_failure 2
  assert_equal "$stderr" "ctl: Invalid value: --pid goes with one target, not with 2 (see ctl stop --help)"
  run --separate-stderr ctl kill web web2 --expect-pid "$pid"
  assert_failure 2
  assert_equal "$stderr" \
    "ctl: Invalid value: --expect-pid $pid goes with one target, not with 2 (see ctl kill --help); to fix: write TARGET=$pid"
  assert_alive "$pid"
}

@test "--pid refuses what can be no service's pid" {
  service web polite
  local given
  for given in 0 1 -1 web 99999999999999999999; do
    run --separate-stderr ctl kill web --pid "$given"
    assert_failure 2
    assert_output ""
    assert_equal "${#stderr_lines[@]}" 1
  done
}

@test "one unknown name: exit 5, and nothing is touched" {
  service web polite
  start web
  run --separate-stderr ctl stop web wbe
  assert_failure 5
  assert_output ""
  assert_equal "$stderr" "ctl: wbe: no such service \
(there is no $CONF/services/wbe.toml, conf directory set by \$CTL_CONF); to fix: write web instead"
  assert_alive "$pid"
}

@test "several are stopped side by side, and one that stays alive costs the others nothing" {
  ignorer a TERM/0.2
  service b polite
  ignorer c
  start a
  local a=$pid
  start b
  start c
  run --separate-stderr ctl stop a b c
  assert_failure 150
  assert_line --index 0 --regexp '^b: stopped, pid [0-9]+, [0-9.]+ s$'
  assert_line --index 1 --regexp '^c: stopped, but only KILL ended it, pid [0-9]+, [0-9.]+ s$'
  assert_equal "$stderr" "ctl: a: still alive after the whole schedule: pid $a (state S); \
it was not sent KILL; to fix: ctl kill a"
  assert_alive "$a"
  run ctl status b c
  assert_failure 3
}

@test "a survivor that a shell wrapper leaves behind is ended" {
  service web wrapper "$SANDBOX/child"
  start web
  run ctl stop web --grace 0.3
  assert_success
  assert_output --regexp "^web: stopped, but only KILL ended it, pid $pid, "
  assert_gone "$(<"$SANDBOX/child")"
}

@test "restart --expect-pid touches nothing where the service does not run, and says so" {
  service web polite
  echo 4194303 >"$RUN/web.pid"
  for dry in "" --dry-run; do
    run --separate-stderr ctl restart web --expect-pid 4711 --json ${dry:+"$dry"}
    assert_failure 152
    assert_json '.results[0] | "\(.before) \(.reason) \(.changed)"' "stale identity_mismatch false"
  done
  assert_file_exists "$RUN/web.pid"
}
