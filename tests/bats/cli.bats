#!/usr/bin/env bats
# The command line: every mistake is one line on stderr that says what is wrong and where, one JSON document with --json,
# the right exit code, and no effect.
# shellcheck disable=SC2016,SC2154 # scripts for another shell stand in single quotes; bats sets stderr and stderr_lines

load helper

# refuses CODE REGEX ARGS...: ctl says one line that matches and nothing else, and touches nothing; the first one of a test
# is asked for with --json as well.
refuses() {
  local code=$1 pattern=$2
  shift 2
  run --separate-stderr ctl "$@"
  echo "# ctl $*: exit $status"
  assert_equal "$status" "$code"
  assert_output ''
  assert_regex "$stderr" "$pattern"
  assert_equal "${#stderr_lines[@]}" 1
  assert_regex "$stderr" '^ctl: '

  [ -z "${asked_json-}" ] || return 0
  asked_json=yes
  run --separate-stderr ctl "${@:1:1}" --json "${@:2}"
  assert_equal "$status" "$code"
  assert_equal "${#lines[@]}" 1
  assert_json '.schema, .ok, .changed' $'1\nfalse\nfalse'
  assert_json '[.errors[]?, .results[].errors[]?] | length > 0' true
  assert_equal "$(ls -A "$RUN")" ''
}

# crashes NAME...: services that die while starting, however busy the machine.
crashes() {
  local name
  for name; do
    service "$name" crash
    sed -i 's/^settle.*/settle = 30/' "$CONF/services/$name.toml"
  done
}

# ----------------------------------------------------------------------------------------------------------------- usage

@test "an unknown verb is one line, and a near one is suggested" {
  refuses 2 "^ctl: No such command 'frobnicate'.* \(see ctl --help\)$" frobnicate
  refuses 2 "'sttaus'.*[Dd]id you mean '?status" sttaus
  refuses 2 "'START'" START
}

@test "an unknown option is one line, and a near one is suggested" {
  service web polite
  refuses 2 '^ctl: No such option: --frobnicate .*\(see ctl start --help\)$' start --frobnicate web
  refuses 2 '--grce.*--grace' stop web --grce 3
  refuses 2 '-z' stop -z web
}

@test "an option of another verb is not taken" {
  service web polite
  refuses 2 'No such option: --grace' kill web --grace 3
  refuses 2 'No such option: --schedule' start web --schedule TERM/1/KILL/1
  refuses 2 'No such option: --timeout' stop web --timeout 3
  refuses 2 'No such option: --pid' start web --pid 3000
}

@test "a missing target is one line, for every verb that needs one" {
  for verb in start run pause resume reload wait explain logs; do
    refuses 2 "^ctl: Missing argument .*TARGET.* \(see ctl $verb --help\)$" "$verb"
  done
}

@test "nothing is killed or restarted for want of a name" {
  for verb in kill restart; do
    refuses 2 "^ctl: .*name the targets to $verb, or give --all for every service that runs \(see ctl $verb --help\)$" "$verb"
  done
}

@test "run takes one target" {
  refuses 2 'extra argument' run one two
}

@test "an option without its value, and a flag with one" {
  refuses 2 '--schedule' stop web --schedule
  refuses 2 '--quiet' stop web --quiet=1
}

@test "seconds are a finite number, not negative" {
  service web polite
  for option in --grace --lock-timeout; do
    for value in nan inf -1 1e300 '' 3s; do
      refuses 2 "^ctl: .*$option.* \(see ctl stop --help\)$" stop web "$option" "$value"
    done
  done
  for value in nan -1 soon; do
    refuses 2 "--timeout" start web --timeout "$value"
  done
}

@test "a schedule that cannot be carried out says why" {
  service web polite
  while read -r spec why; do
    refuses 2 "^ctl: .*--schedule.*$why.*\(see ctl stop --help\)(; to fix: .*)?$" stop web --schedule "$spec"
  done <<'TABLE'
TERM ends in a signal
TREM/5 'TREM' is neither a signal nor a number of seconds
FOO/3/KILL/1 neither a signal nor a number
TERM/nan/KILL/5 nan
TERM/1e9 1e9
TERM//KILL/5 neither
STOP/5 STOP stops no service
CONT/5 CONT stops no service
forever/TERM/0 without a wait
5/5 sends no signal
999/5 sends no signal
TERM/99999999 week
0/TERM sends|signal
TABLE
  refuses 2 '--schedule' stop web --schedule ''
  refuses 2 "^ctl: Invalid value for '--schedule': 'TERMM' is neither a signal" stop web --schedule TERMM
  refuses 2 '--schedule' stop web --schedule $'TERM/5\nKILL/5'
  refuses 2 '\(see ctl stop --help\); to fix: write TERM instead$' stop web --schedule TREM/5
  refuses 2 '\(see ctl stop --help\); to fix: say how long to wait after it, for example TERM/5$' stop web --schedule TERM
}

@test "a pid is a number that can be one" {
  service web polite
  for value in abc '' -1 0 1 1.5 99999999999999999999 4194305; do
    refuses 2 "^ctl: .*--pid" stop web --pid "$value"
  done
  for value in abc 0 99999999999999999999; do
    refuses 2 "^ctl: .*--expect-pid" stop web --expect-pid "$value"
  done
}

@test "one pid does not go with several targets" {
  service web polite
  service db polite
  refuses 2 '--pid goes with one target, not with 2' stop web db --pid 3000
  refuses 2 '--expect-pid 3000 goes with one target, not with 2 \(see ctl kill --help\); to fix: write TARGET=3000$' kill web db --expect-pid 3000
  refuses 2 '--expect-pid web@=3000 names no instance \(see ctl stop --help\); to fix: name the instance, web@ID=3000$' stop web@ --expect-pid web@=3000
}

@test "--grace and --schedule contradict each other" {
  service web polite
  refuses 2 '--grace.*--schedule|--schedule.*--grace' stop web --grace 1 --schedule TERM/9/KILL/1
}

@test "no arguments at all show the help, as a mistake" {
  run --separate-stderr ctl
  assert_failure 2
  assert_output ''
  assert_regex "$stderr" '^Usage: ctl '
}

@test "a mistake is not corrected by what stands after it: --help alone wins" {
  service web polite
  ctl start web
  run ctl stop web --grace nan
  assert_failure 2
  run ctl status web
  assert_success
  run ctl stop web --help
  assert_success
  run ctl status web
  assert_success
}

# ------------------------------------------------------------------------------------------------------------------ help

@test "help of ctl names every verb and every exit code" {
  run --separate-stderr ctl --help
  assert_success
  assert_equal "$stderr" ''
  for word in start run stop kill restart status '  2    usage' 150 151 152 153 199; do
    assert_output --regexp "$word"
  done
  top=$output
  run ctl -h
  assert_output "$top"
}

@test "help of each verb says what it does, its targets and its options" {
  for verb in start run stop kill restart status; do
    run --separate-stderr ctl "$verb" --help
    assert_success
    assert_equal "$stderr" ''
    assert_line --index 0 --regexp "^Usage: ctl $verb .*TARGET"
    for option in --conf --run-dir --json --quiet --verbose; do assert_output --partial -- "$option"; done
    assert_line 'Exit codes:'
    assert_line 'Examples:'
  done
  for verb in start stop kill restart; do
    run ctl "$verb" --help
    assert_line --index 0 --regexp 'TARGET.*\.\.\.' # several
    assert_output --partial -- '--dry-run'
  done
}

@test "the version is one line" {
  run ctl --version
  assert_success
  assert_output --regexp '^[0-9]+\.[0-9]+\.[0-9]+$'
}

# --------------------------------------------------------------------------------------------------------------- targets

@test "an unknown target names the file that is missing and what set its directory" {
  for verb in start stop kill restart run; do
    refuses 5 "^ctl: nope: no such service \(there is no $CONF/services/nope.toml, conf directory set by \\\$CTL_CONF\)$" \
      "$verb" nope
  done
}

@test "a target like another is suggested" {
  service gateway polite
  refuses 5 'ctl: gatway: no such service \(.*\); to fix: write gateway instead$' stop gatway
  refuses 5 'ctl: Gateway: no such service \(.*\); to fix: write gateway instead$' stop Gateway
}

@test "status of an unknown target cannot tell: exit 4, as LSB has it" {
  run --separate-stderr ctl status nope
  assert_failure 4
  assert_output ''
  assert_regex "$stderr" '^ctl: nope: no such service '
}

@test "what can never be a name is refused, whatever file it would lead to" {
  echo 'description = "outside"' >"$CONF/outside.toml"
  for name in ../../etc/passwd ../outside /etc/passwd .. .hidden 'two words' '$(id)' 'web.toml/' \
    "$(printf 'x%.0s' {1..300})" 'wéb' 'web@' 'web@@1' 'web@../1'; do
    refuses 5 'cannot be a service|no such service' stop "$name"
  done
  refuses 5 "^ctl: '' cannot be a service" stop ''
}

@test "a name with a newline or an escape sequence is shown on one line, harmless" {
  for name in $'web\nctl: web: stopped' $'web\033[2J' $'\r'; do
    refuses 5 'cannot be a service' stop "$name"
    refute_regex "$stderr" $'[\033\r]'
  done
}

@test "a name with a leading dash is an option, and behind -- no service" {
  refuses 2 'No such option' stop -web
  run --separate-stderr ctl stop -- -web
  assert_failure 5
  assert_regex "$stderr" "^ctl: .*'-web' cannot be a service"
}

@test "of several targets with one wrong name none is touched" {
  service web polite
  service db polite
  ctl start web db
  web=$(cat "$RUN/web.pid") db=$(cat "$RUN/db.pid")
  for verb in stop kill restart; do
    run --separate-stderr ctl "$verb" web nope db
    assert_failure 5
    assert_output ''
    assert_regex "$stderr" '^ctl: nope: no such service'
    assert_alive "$web"
    assert_alive "$db"
  done
  run ctl stop web ../db --json
  assert_failure 5
  assert_alive "$web"
}

@test "every wrong name is told at once, those that cannot be names too" {
  service web polite
  run --separate-stderr ctl stop web one ../two
  assert_failure 5
  assert_regex "$stderr" 'one: no such service'
  assert_regex "$stderr" "'../two' cannot be a service"
}

@test "of several targets with one broken definition none is touched" {
  service web polite
  ctl start web
  echo 'nonsense = 1' | define_raw db
  run --separate-stderr ctl kill web db
  assert_failure 6
  assert_regex "$stderr" "^ctl: db: nonsense: no such key .*\($CONF/services/db.toml\)$"
  assert_alive "$(cat "$RUN/web.pid")"
}

@test "a target named twice is done once" {
  service web polite
  run ctl start web web
  assert_success
  assert_equal "${#lines[@]}" 1
}

# ---------------------------------------------------------------------------------------- where things live on this host

# settings of another host: run directory in `here`, and a service named after it
other_conf() {
  mkdir -p "$SANDBOX/$1/services" "$SANDBOX/$1-run"
  sed "s/web/$1/" "$CONF/services/web.toml" >"$SANDBOX/$1/services/$1.toml"
}

@test "--conf goes before \$CTL_CONF" {
  service web polite
  other_conf option
  run ctl status --conf "$SANDBOX/option"
  assert_success
  assert_output 'option  stopped'
  run ctl status
  assert_output 'web  stopped'
  run ctl status --conf option
  assert_output 'option  stopped'
}

@test "a conf directory that is none says what named it" {
  refuses 6 '^ctl: /none is not a directory \(--conf\)$' status --conf /none
  refuses 6 '^ctl: /etc/passwd is not a directory \(--conf\)$' status --conf /etc/passwd
  ENV=(CTL_CONF=/none)
  refuses 6 '^ctl: /none is not a directory \(\$CTL_CONF\)$' status
}

@test "a conf directory without services says so" {
  mkdir empty
  refuses 6 "^ctl: $SANDBOX/empty/services is not a directory \(--conf\); to fix: put definitions there, or name their directory as service_dir in ctl.toml$" status --conf empty
}

@test "an empty --conf or --run-dir is no directory, least of all the current one" {
  service web polite
  refuses 2 '^ctl: .*--conf' start web --conf ''
  refuses 2 '^ctl: .*--run-dir' start web --run-dir=
  assert_equal "$(find . -name 'web.pid' -o -name 'web.json')" ''
}

@test "an empty \$CTL_RUN_DIR is as if it were not set" {
  service web polite
  ENV=(CTL_RUN_DIR=)
  run ctl start web
  assert_success
  assert_exist "$RUN/web.pid" # that of ctl.toml
}

@test "--run-dir goes before \$CTL_RUN_DIR, and that before ctl.toml" {
  service web polite
  printf 'run_dir = "%s"\nlog_dir = "%s"\n' "$SANDBOX/of-file" "$LOG" >"$CONF/ctl.toml"
  run ctl start web --run-dir "$SANDBOX/of-option"
  assert_success
  assert_exist of-option/web.pid
  ctl kill web --run-dir "$SANDBOX/of-option"

  ENV=(CTL_RUN_DIR="$SANDBOX/of-variable")
  run ctl start web
  assert_success
  assert_exist of-variable/web.pid
  ctl kill web

  ENV=(CTL_RUN_DIR=)
  run ctl start web
  assert_success
  assert_exist of-file/web.pid
}

@test "what is relative in ctl.toml is relative to the conf directory, and to the current one on the command line" {
  service web polite
  printf 'run_dir = "../beside"\nlog_dir = "../beside/log"\nservice_dir = "defined"\n' >"$CONF/ctl.toml"
  mv "$CONF/services" "$CONF/defined"
  mkdir elsewhere
  cd elsewhere
  ENV=(CTL_RUN_DIR=)
  run ctl start web
  assert_success
  assert_exist "$SANDBOX/beside/web.pid"
  ctl kill web
  run ctl start web --run-dir here
  assert_success
  assert_exist "$SANDBOX/elsewhere/here/web.pid"
}

@test "a run directory that is a file is told by each verb, with what named it" {
  service web polite
  touch file
  for verb in status start stop kill restart; do
    refuses 6 "^ctl: $SANDBOX/file is not a directory \(--run-dir\)$" "$verb" web --run-dir file
  done
  ENV=(CTL_RUN_DIR="$SANDBOX/file")
  refuses 6 "^ctl: $SANDBOX/file is not a directory \(\\\$CTL_RUN_DIR\)$" start web
  printf 'run_dir = "%s"\n' "$SANDBOX/file" >"$CONF/ctl.toml"
  ENV=(CTL_RUN_DIR=)
  refuses 6 "^ctl: $SANDBOX/file is not a directory \($CONF/ctl.toml.*\)$" start web
}

@test "a run directory that cannot be made is told" {
  service web polite
  run --separate-stderr ctl start web --run-dir /proc/none/run
  assert_failure
  refute [ "$status" -eq 199 ]
  assert_regex "$stderr" '^ctl: .*/proc/none.*'
  assert_equal "${#stderr_lines[@]}" 1
}

@test "a ctl.toml with a mistake is told with file, key and the nearest name" {
  service web polite
  echo 'rundir = "/run/x"' >"$CONF/ctl.toml"
  refuses 6 "^ctl: rundir: no such key .*\($CONF/ctl.toml\); to fix: write run_dir instead$" status
  echo 'run_dir = 3' >"$CONF/ctl.toml"
  refuses 6 "^ctl: .*run_dir.*\($CONF/ctl.toml\)$" start web
  echo 'run_dir = ' >"$CONF/ctl.toml"
  refuses 6 "^ctl: is not TOML: .*line 1.*\($CONF/ctl.toml\)$" status
  printf 'run_dir = "\377"\n' >"$CONF/ctl.toml"
  refuses 6 "^ctl: is not TOML: .*\($CONF/ctl.toml\)$" status
  rm "$CONF/ctl.toml" && mkdir "$CONF/ctl.toml"
  refuses 6 "^ctl: .*\($CONF/ctl.toml\)$" status
}

@test "no ctl.toml is as good as an empty one" {
  service web polite
  rm "$CONF/ctl.toml"
  run ctl status
  assert_success
  assert_output 'web  stopped'
}

# ---------------------------------------------------------------------------------------------------------------- status

@test "status of all is one line each, in order, whatever becomes of the others" {
  service web polite
  service db polite
  service cache polite
  echo 'start = 1' | define_raw broken
  ctl start db cache
  sed -i '1i description = "the data base"' "$CONF/services/db.toml"
  kill_and_wait "$(cat "$RUN/cache.pid")"
  run --separate-stderr ctl status
  assert_equal "${#lines[@]}" 4
  assert_regex "${lines[0]}" '^broken  unknown  .*start'
  assert_regex "${lines[1]}" '^cache   ended +unknown how: nothing watched it, between '
  assert_regex "${lines[2]}" "^db      ready +pid $(cat "$RUN/db.pid"), up [0-9]+s +- the data base$"
  assert_regex "${lines[3]}" '^web     stopped$'
}

kill_and_wait() {
  kill -KILL "$1"
  tail --pid="$1" -f /dev/null
}

@test "status exits 0, 1, 3, 4 as LSB has it" {
  service web polite
  run ctl status web
  assert_failure 3
  ctl start web
  run ctl status web
  assert_success
  kill_and_wait "$(cat "$RUN/web.pid")"
  run ctl status web
  assert_failure 1
  ctl stop web
  run ctl status web
  assert_failure 3
  echo 'start = 1' | define_raw web
  run ctl status web
  assert_failure
}

@test "status of several is 0 when all run, and theirs when they agree" {
  service web polite
  service db polite
  run ctl status web db
  assert_failure 3
  ctl start web db
  run ctl status web db
  assert_success
}

@test "status of one tells pid, user, command, what it uses, and what its record says" {
  service web polite
  ctl start web
  pid=$(cat "$RUN/web.pid")
  run ctl status web
  assert_line --index 0 'web: ready'
  assert_line --regexp "^  pid: +$pid, user $(id -un), since 20[0-9-]+T[0-9:]+[+-][0-9:]+ \([0-9]+s\)$"
  assert_line --regexp '^  command: .*polite.py$'
  assert_line --regexp '^  uses: +[0-9.]+ MiB, [0-9.]+ % of a processor, 1 thread, 0 children$'
  assert_line --regexp '^  ready: +yes$'
  assert_line --regexp "^  record: +holds: pid $pid is the process that was recorded$"
}

@test "status --quiet says nothing but by its exit code" {
  service web polite
  run ctl status web --quiet
  assert_failure 3
  assert_output ''
}

@test "status in JSON has every field that is promised" {
  service web polite
  ctl start web
  run ctl status web --json
  assert_success
  assert_json '.schema, .verb, .ok, .changed' $'1\nstatus\ntrue\nfalse'
  for key in target state pid since uptime_s user cpu_percent rss_bytes threads children ready claim; do
    assert_json ".results[0] | has(\"$key\") and .$key != null" true
  done
  assert_json '.results[0].claim[0] | .source, .pid, .verdict' "record
$(cat "$RUN/web.pid")
holds"
  assert_json '.results[0] | .pid, .state, .ready, .children' "$(cat "$RUN/web.pid")
ready
true
0"
}

@test "status of nothing defined is nothing, and no mistake" {
  run --separate-stderr ctl status
  assert_success
  assert_output ''
  run ctl status --json
  assert_json '.ok, (.results | length)' $'true\n0'
}

# ------------------------------------------------------------------------------------------------------------------ JSON

@test "JSON of an operation has the shape that is promised" {
  service web polite
  ctl start web
  pid=$(cat "$RUN/web.pid")
  run --separate-stderr ctl stop web --json
  assert_success
  assert_equal "$stderr" ''
  assert_equal "${#lines[@]}" 1
  assert_json '.schema, .verb, .ok, .changed' $'1\nstop\ntrue\ntrue'
  assert_json '.results[0] | .target, .ok, .changed, .before, .after, .reason, .pid, .escalated, .exit_code' \
    $'web\ntrue\ntrue\nrunning\nstopped\nstopped\n'"$pid"$'\nfalse\n0'
  assert_json '.results[0] | has("drained")' true
  assert_json '.results[0].signals | length' 1
  assert_json '.results[0].signals[0] | .pid, .signal, (.at_s | type)' "$pid"$'\nTERM\nnumber'
  assert_json '.results[0] | .survivors, .errors | length' $'0\n0'
  assert_json '.results[0].duration_s | type' number
}

@test "JSON of several targets has them in their order, and is not ok where one failed" {
  service web polite
  crashes db
  run --separate-stderr ctl start web db --json
  assert_failure 151
  assert_json '[.ok, .changed, (.results[] | .ok)] | map(tostring) | join(" ")' 'false true true false'
  run --separate-stderr ctl stop web db --json
  assert_success
  assert_json '[.results[].target] | join(" ")' 'web db'
  assert_json '.changed, .results[0].changed, .results[1].changed' $'true\ntrue\nfalse'
}

@test "several targets that fail for different reasons exit 1, for the same one with its code" {
  crashes one two
  define three <<TOML
[start]
command = ["/opt/none"]
TOML
  run ctl start one two
  assert_failure 151
  run ctl start one three
  assert_failure 1
}

@test "--quiet leaves only what went wrong" {
  service web polite
  crashes db
  run ctl start web --quiet
  assert_success
  assert_output ''
  run --separate-stderr ctl start db --quiet
  assert_failure 151
  assert_regex "$stderr" '^ctl: db: exited with status 1'
}

@test "--verbose tells each signal on stderr" {
  service web polite
  ctl start web
  pid=$(cat "$RUN/web.pid")
  run --separate-stderr ctl stop web --verbose
  assert_success
  assert_regex "$output" '^web: stopped'
  assert_regex "$stderr" "ctl: web: TERM to pid $pid at 0\.[0-9]+ s"
}

# --------------------------------------------------------------------------------------- streams that are not as they seem

# closed SCRIPT: what a shell runs where $ctl is the command with its environment
closed() {
  env -i PATH="$PATH" CTL_CONF="$CONF" CTL_RUN_DIR="$RUN" CTL_TEST_ID="$MARK" ctl="$ROOT/bin/ctl" bash -c "$1" 3>&-
}

@test "ctl status | head -1 is quiet about the reader that has gone" {
  for number in {1..50}; do echo '[match]
cmdline = "no such thing"' | define_raw "service-$number"; done
  run --separate-stderr closed 'set -o pipefail; "$ctl" status | head -1'
  assert_success
  assert_equal "$stderr" ''
  assert_equal "${#lines[@]}" 1
}

@test "a reader that has gone changes nothing about what is done" {
  service web polite
  run closed '"$ctl" start web | true; exit "${PIPESTATUS[0]}"'
  assert_success
  assert_alive "$(cat "$RUN/web.pid")"
}

@test "closed streams are no fault, and what was done is done" {
  service web polite
  for streams in '>&-' '2>&-' '<&- >&- 2>&-'; do
    run --separate-stderr closed "\"\$ctl\" start web $streams"
    assert_success
    assert_equal "$stderr" ''
    pid=$(cat "$RUN/web.pid")
    assert_alive "$pid"
    assert_equal "$(readlink "/proc/$pid/fd/0")" /dev/null
    assert_equal "$(readlink "/proc/$pid/fd/1")" "$LOG/web.log"
    run closed "\"\$ctl\" status web $streams"
    assert_success
    run --separate-stderr closed "\"\$ctl\" stop web $streams"
    assert_success
    assert_equal "$stderr" ''
    assert_gone "$pid"
    run closed "\"\$ctl\" stop nope $streams"
    assert_failure 5
  done
}

@test "a full disk under stdout is told, and the exit code is not 0" {
  service web polite
  run closed '"$ctl" status >/dev/full'
  assert_failure 1
  assert_output 'ctl: cannot write the result: No space left on device'
  run closed '"$ctl" status web --json >/dev/full'
  assert_failure
  assert_output --partial 'cannot write the result'
}

@test "a full disk under stdout does not keep a service from being started or stopped" {
  service web polite
  run closed '"$ctl" start web >/dev/full'
  assert_failure 1
  pid=$(cat "$RUN/web.pid")
  assert_alive "$pid"
  run closed '"$ctl" stop web >/dev/full'
  assert_failure 1
  assert_gone "$pid"
}

@test "a full disk under stderr leaves the exit code as it is" {
  run closed '"$ctl" stop nope 2>/dev/full'
  assert_failure 5
  run closed '"$ctl" stop web --grace nan 2>/dev/full'
  assert_failure 2
}

@test "whatever the locale, names and output are UTF-8" {
  service web polite
  sed -i '1i description = "Grüße ☃"' "$CONF/services/web.toml"
  for locale in C POSIX C.UTF-8 xx_XX; do
    ENV=(LC_ALL="$locale" LANG="$locale")
    run ctl status
    assert_success
    assert_output 'web  stopped   - Grüße ☃'
  done
}
