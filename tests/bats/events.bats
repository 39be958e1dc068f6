#!/usr/bin/env bats
# events: what every ctl did is in the journal, and is read again as an operator asks for it.
# shellcheck disable=SC2154 # bats sets output, stderr and stderr_lines

load helper

@test "a start and a stop are told step by step, with who asked for them" {
  service web polite
  ctl start web >/dev/null
  pid=$(<"$RUN/web.pid")
  ENV=(SUDO_USER=anna)
  ctl stop web >/dev/null
  run --separate-stderr ctl events web
  assert_success
  user=$(id -un)
  assert_line --index 0 --regexp "^[0-9:]{8}  web  start    spawned pid $pid  +$user$"
  assert_line --index 1 --regexp "  web  start    ready pid $pid  +$user$"
  assert_line --index 2 --regexp "  web  start    started, pid $pid, [0-9.]+ s  +$user$"
  assert_line --index 3 --regexp "  web  stop     TERM to pid $pid  +$user \(sudo by anna\)$"
  assert_line --index 4 --regexp "  web  stop     stopped, pid $pid, [0-9.]+ s  +$user \(sudo by anna\)$"
  assert_equal "${#lines[@]}" 5
  assert_equal "$stderr" ""
}

@test "a line of the journal can be read as it is" {
  service web polite
  ctl start web >/dev/null
  pid=$(<"$RUN/web.pid")
  run head -n 1 "$LOG/events.jsonl"
  assert_output --regexp "^\{\"time\":\"[0-9-]{10}T[0-9:]{8}\.[0-9]{3}[+-][0-9:]{5}\",\"target\":\"web\",\"verb\":\"start\",\"event\":\"spawned\",\"pid\":$pid,"
  assert_json .start_ticks "$(jq .run.identity.start_ticks "$RUN/web.json")"
  assert_json '[.uid, .run_dir] | join(" ")' "$(id -u) $RUN"
  assert_equal "$(stat -c %a "$LOG/events.jsonl")" 640
}

@test "a refusal is told with its reason, a failure with its error" {
  service web polite
  service broken crash
  run ctl stop web nope
  assert_failure 5
  run ctl start broken
  assert_failure 151
  run ctl stop web --expect-pid 4000000
  assert_success
  ctl start web >/dev/null
  run ctl stop web --expect-pid 4000000
  assert_failure 152
  run --separate-stderr ctl events
  assert_line --regexp '  nope +stop +refused: no such service \(there is no .*/nope.toml'
  assert_line --regexp '  broken +start +failed: exited with status 1 while starting \(.*/broken.log\)'
  assert_line --regexp '  web +stop +already stopped '
  assert_line --regexp '  web +stop +refused: its main process is pid [0-9]+, not pid 4000000 \(--expect-pid\)'
}

@test "what was adopted, and what ctl became" {
  service web polite
  ctl start web >/dev/null
  rm "$RUN"/web.*
  ctl start web >/dev/null
  assert_equal "$(jq -r 'select(.event == "adopted") | "\(.verb) \(.pid)"' "$LOG/events.jsonl")" "start $(<"$RUN/web.pid")"
  ctl stop web >/dev/null
  define shown <<TOML
[start]
command = ["/bin/true"]
TOML
  run ctl run shown
  assert_success
  assert_equal "$(jq -r 'select(.event == "run") | .pid == .ctl_pid' "$LOG/events.jsonl")" true
}

@test "status, events, usage errors and --dry-run write nothing; that there is nothing yet is no error" {
  service web polite
  run ctl status web
  run --separate-stderr ctl events
  assert_success
  assert_output ""
  assert_equal "$stderr" "ctl: there are no events yet ($LOG/events.jsonl)"
  run ctl stop
  run ctl start web --frobnicate
  run ctl start web --dry-run
  assert_success
  run ctl stop web nope --dry-run
  assert_failure 5
  run --separate-stderr ctl events --json
  assert_success
  assert_json '.verb, .ok, .changed, (.results | length)' $'events\ntrue\nfalse\n0'
  assert_file_not_exist "$LOG/events.jsonl"
}

# event TARGET TIME [RUN_DIR]: a line of the journal.
event() {
  printf '{"time":"%s","target":"%s","verb":"stop","event":"done","reason":"stopped","changed":true,"pid":7,' "$2" "$1"
  printf '"duration_s":1,"uid":0,"user":"root","ctl_pid":9,"run_dir":"%s"}\n' "${3-$RUN}"
}

@test "the last ones, oldest first, through rotated files" {
  event one 2020-05-01T10:00:00.000+00:00 >"$LOG/events.jsonl.2"
  event two 2020-05-02T10:00:00.000+00:00 >"$LOG/events.jsonl.1"
  event three 2020-05-03T10:00:00.000+00:00 >"$LOG/events.jsonl"
  run --separate-stderr ctl events -n 2
  assert_line --index 0 --regexp "^2020-05-02 10:00:00  two    stop     stopped, pid 7, 1.00 s   root$"
  assert_line --index 1 --regexp "^2020-05-03 10:00:00  three  stop     stopped, pid 7, 1.00 s   root$"
  run --separate-stderr ctl events --json
  assert_json '[.results[].target] | join(" ")' 'one two three'
  run --separate-stderr ctl events -n 0
  assert_output ""
  run --separate-stderr ctl events --json --since 2020-05-02T10:00:00Z
  assert_json '[.results[].target] | join(" ")' 'two three'
  run --separate-stderr ctl events --json --since 3d
  assert_json '.results | length' 0
}

@test "by names that may be gone, all instances, and another run directory" {
  {
    event worker@1 2020-05-01T10:00:00.000+00:00
    event worker@2 2020-05-01T10:00:01.000+00:00 /run/other
    event gone 2020-05-01T10:00:02.000+00:00
  } >"$LOG/events.jsonl"
  run --separate-stderr ctl events worker@ gone --json
  assert_json '[.results[].target] | join(" ")' 'worker@1 worker@2 gone'
  run --separate-stderr ctl events worker@
  assert_equal "${#lines[@]}" 2
  assert_line --index 0 --regexp 'root$'
  assert_line --index 1 --regexp 'root  \[/run/other\]$'
}

@test "a line that was cut off is skipped and counted, and the next event begins a line of its own" {
  service web polite
  printf '{"time":"2020-05-01T10:00:00.000+00:00","targ' >"$LOG/events.jsonl"
  ctl kill web >/dev/null
  assert_equal "$(jq -r .target <<<"$(tail -n 1 "$LOG/events.jsonl")")" web
  { printf '{"time":"2020' && event late 2020-05-01T10:00:00.000+00:00 && printf '{'; } >>"$LOG/events.jsonl"
  run --separate-stderr ctl events --json
  assert_success
  assert_json '[.results[].target] | join(" ")' 'web late'
  assert_equal "$stderr" "ctl: 3 lines are no whole event, and skipped ($LOG/events.jsonl)"
}

@test "what an event says cannot drive the terminal" {
  event '\u001b[2Jweb' 2020-05-01T10:00:00.000+00:00 >"$LOG/events.jsonl"
  run --separate-stderr ctl events
  assert_output --partial '\x1b[2Jweb'
}

@test "--since says what it takes" {
  run --separate-stderr ctl events --since yesterday
  assert_failure 2
  assert_regex "$stderr" "^ctl: .*'yesterday' is no time \(see ctl events --help\); to fix: write 10m, 2h, 3d, 14:30, 2026-11-20 or .*"
}

follow_one() { ctl events -f | head -n 1; }

@test "following ends quietly when its reader goes away" {
  service web polite
  ctl kill web >/dev/null
  set -o pipefail
  run --separate-stderr follow_one
  assert_success
  assert_output --regexp 'web +kill +already stopped'
  assert_equal "$stderr" ""
}
