#!/usr/bin/env bats
# A start that fails says why in one line with the log's tail, leaves nothing behind, and never holds a caller's pipe open.
# shellcheck disable=SC2016,SC2154 # scripts for another shell stand in single quotes; bats sets stderr and stderr_lines

load helper

# command_service NAME ARGV...: a service of this very argv. Ready is who lives for SETTLE seconds: a long time for one that
# is to die meanwhile, however busy the machine.
SETTLE=30
command_service() {
  local name=$1
  shift
  define "$name" <<TOML
[start]
command = $(jq -cn '$ARGS.positional' --args -- "$@")
log = "$LOG/$name.log"
[ready]
settle = $SETTLE
TOML
}

# dying_service CODE [LINES]: a service "web" that crashes.
dying_service() {
  service web crash "$@"
  sed -i 's/^settle.*/settle = 30/' "$CONF/services/web.toml"
}

# assert_nothing_left NAME [STATE]: no process, no run on record, no pid file; what is known of it is that STATE.
assert_nothing_left() {
  run ctl status "$1"
  assert_failure "$([ "${2:-stopped}" = stopped ] && echo 3 || echo 1)"
  assert_line --index 0 "$1: ${2:-stopped}"
  assert_no_run "$1"
  assert_not_exist "$RUN/$1.pid"
}

# ------------------------------------------------------------------------------------------------ it cannot be executed

@test "a command that does not exist is exit 5 and named" {
  command_service web "$SANDBOX/none" --port 80
  run --separate-stderr ctl start web
  assert_failure 5
  assert_output ''
  assert_equal "$stderr" "ctl: web: $SANDBOX/none cannot be executed: No such file or directory ($CONF/services/web.toml, start.command)"
  assert_nothing_left web
}

@test "a command that is not in the PATH is exit 5, and the PATH is shown" {
  command_service web no-such-program
  run --separate-stderr ctl start web
  assert_failure 5
  assert_regex "$stderr" '^ctl: web: no-such-program is not installed: it is not in /[^ ]*:/usr/bin:[^ ]* \([^ ]*/services/web.toml, start.command\); to fix: write its whole path where it is elsewhere$'
  assert_nothing_left web
}

@test "a command that is not executable is exit 5 with the fix" {
  echo 'exit 0' >"$SANDBOX/plain.sh"
  command_service web "$SANDBOX/plain.sh"
  run --separate-stderr ctl start web
  assert_failure 5
  assert_equal "$stderr" "ctl: web: $SANDBOX/plain.sh is not executable ($CONF/services/web.toml, start.command); to fix: chmod +x '$SANDBOX/plain.sh'"
  assert_nothing_left web
}

@test "a command that is a directory is exit 5" {
  command_service web "$SANDBOX"
  run --separate-stderr ctl start web
  assert_failure 5
  assert_equal "$stderr" "ctl: web: $SANDBOX is a directory, not a program ($CONF/services/web.toml, start.command)"
  assert_nothing_left web
}

@test "a script whose interpreter is missing names the interpreter" {
  printf '#!/opt/none/bin/python3 -u\n' >"$SANDBOX/app"
  chmod 755 "$SANDBOX/app"
  command_service web "$SANDBOX/app"
  run --separate-stderr ctl start web
  assert_failure 5
  assert_equal "$stderr" "ctl: web: $SANDBOX/app needs /opt/none/bin/python3, which is not installed ($CONF/services/web.toml, start.command)"
  assert_nothing_left web
}

@test "a directory to start in that is not there is exit 6" {
  define web <<TOML
[start]
command = ["/bin/sleep", "60"]
directory = "$SANDBOX/none"
TOML
  run --separate-stderr ctl start web
  assert_failure 6
  assert_regex "$stderr" "^ctl: web: $SANDBOX/none is not a directory \(.*start.directory\)$"
  assert_nothing_left web
}

@test "a program that only root may execute does not run as another user, and is no fault of ctl" {
  requires root
  printf '#!/bin/sh\nsleep 60\n' >"$SANDBOX/private"
  chmod 700 "$SANDBOX/private"
  define web <<TOML
[start]
command = ["$SANDBOX/private"]
user = "nobody"
log = "$LOG/web.log"
TOML
  run --separate-stderr ctl start web
  assert_failure 5
  assert_regex "$stderr" "^ctl: web: .*$SANDBOX/private.*Permission denied"
  assert_nothing_left web
}

@test "a file that is no program at all ends while starting, with what the kernel or shell said" {
  printf '\177ELF garbage' >"$SANDBOX/broken"
  chmod 755 "$SANDBOX/broken"
  command_service web "$SANDBOX/broken"
  run --separate-stderr ctl start web
  assert_regex "$status" '^(5|151)$'
  assert_regex "$stderr" '^ctl: web: .*(Exec format error|not found|Syntax error|exited with status)'
  assert_nothing_left web
}

@test "a file system that forbids executing is exit 5" {
  requires root unshare
  mkdir "$SANDBOX/noexec"
  command_service web "$SANDBOX/noexec/app"
  mounted() {
    unshare --mount sh -c 'mount -t tmpfs -o noexec,mode=755 tmpfs "$1/noexec" && printf "#!/bin/sh\nsleep 9\n" >"$1/noexec/app" &&
      chmod 755 "$1/noexec/app" && shift && exec "$@"' sh "$SANDBOX" \
      env -i PATH="$PATH" CTL_CONF="$CONF" CTL_RUN_DIR="$RUN" CTL_TEST_ID="$MARK" "$ROOT/bin/ctl" start web 3>&-
  }
  run mounted
  assert_failure 5
  assert_output --partial "ctl: web: $SANDBOX/noexec/app"
  assert_nothing_left web
}

# ------------------------------------------------------------------------------------------------ it dies while starting

@test "one that dies at once is exit 151 with its exit status and the log's tail" {
  dying_service 7
  run --separate-stderr ctl start web
  assert_failure 151
  assert_output ''
  assert_equal "$stderr" "ctl: web: exited with status 7 while starting ($LOG/web.log)
  fatal: cannot go on"
  assert_nothing_left web crashed
}

@test "the tail is the last ten lines of this start, not the whole log" {
  dying_service 1 5000
  run --separate-stderr ctl start web
  assert_failure 151
  assert_equal "${#stderr_lines[@]}" 11
  assert_equal "${stderr_lines[1]}" '  line 10 before the end'
  assert_equal "${stderr_lines[10]}" '  fatal: cannot go on'
}

@test "one that a signal kills at once names the signal" {
  command_service web /bin/sh -c 'echo out of luck; kill -SEGV $$'
  run --separate-stderr ctl start web
  assert_failure 151
  assert_equal "$stderr" "ctl: web: was killed by SEGV while starting ($LOG/web.log)
  out of luck"
  assert_nothing_left web crashed
}

@test "one that says nothing before it dies points to its empty log" {
  command_service web /bin/false
  run --separate-stderr ctl start web
  assert_failure 151
  assert_equal "$stderr" "ctl: web: exited with status 1 while starting (nothing in $LOG/web.log)"
}

@test "one that ends well is not started either" {
  command_service web /bin/true
  run --separate-stderr ctl start web
  assert_failure 151
  assert_regex "$stderr" '^ctl: web: exited with status 0 while starting'
}

@test "the log's tail is text: what is no UTF-8 and what moves a terminal's cursor cannot hide a line" {
  command_service web /bin/sh -c 'printf "fatal: \377 \033[2K\rall is well\n"; exit 1'
  run --separate-stderr ctl start web
  assert_failure 151
  assert_regex "$stderr" 'fatal: '
  refute_regex "$stderr" $'\033'
}

@test "a failed start with --json is one document, and the tail is in it" {
  dying_service 7
  run --separate-stderr ctl start web --json
  assert_failure 151
  assert_json '.ok, .changed, (.results | length)' $'false\nfalse\n1'
  assert_json '.results[0] | .target, .reason, .exit_code, .pid' $'web\nnot_ready\n151\nnull'
  assert_json '.results[0].errors[0] | .what, .details[-1]' $'exited with status 7 while starting\nfatal: cannot go on'
}

@test "what a dying service leaves behind is ended too" {
  command_service web /bin/sh -c 'setsid sh -c "trap : TERM; echo \$\$ >$0/child; while :; do sleep 60; done" & exec false' "$SANDBOX"
  sed -i "s/exec false/until [ -s \$0\/child ]; do :; done; exec false/" "$CONF/services/web.toml"
  run --separate-stderr ctl start web
  assert_failure 151
  assert_gone "$(cat "$SANDBOX/child")"
  assert_nothing_left web crashed
}

# ------------------------------------------------------------------------------------------------ it never becomes ready

@test "one that never becomes ready is stopped, cleaned up, and shown with what the probe and the log said" {
  service web never_ready
  sed -i 's/^settle.*/tcp = "127.0.0.1:1"\ntimeout = 0.5/' "$CONF/services/web.toml"
  run --separate-stderr ctl start web
  assert_failure 151
  assert_regex "${stderr_lines[0]}" "^ctl: web: .*ready.*tcp 127.0.0.1:1: Connection refused.*\($LOG/web.log\)$"
  assert_equal "${stderr_lines[1]}" '  waiting for a database that will never come'
  assert_gone "$(sed -n 's/ready (pid: \(.*\))/\1/p' "$LOG/web.log")"
  assert_nothing_left web
}

@test "--timeout replaces the definition's" {
  service web never_ready
  sed -i 's/^settle.*/tcp = "127.0.0.1:1"\ntimeout = 3600/' "$CONF/services/web.toml"
  run ctl start web --timeout 0.3
  assert_failure 151
  assert_nothing_left web
}

@test "one that is not ready and ignores TERM is killed" {
  service web ignorer
  sed -i 's/^settle.*/log = "never"\ntimeout = 0.4/; s/^schedule.*/schedule = "TERM\/0.2\/KILL\/5"/' "$CONF/services/web.toml"
  run ctl start web
  assert_failure 151
  assert_gone "$(sed -n 's/ready (pid: \(.*\))/\1/p' "$LOG/web.log")"
  assert_nothing_left web
}

# ------------------------------------------------------------------------------------------------------- and when it works

@test "a second start of a running service changes nothing" {
  service web polite
  run ctl start web
  assert_success
  pid=$(cat "$RUN/web.pid")
  run ctl start web
  assert_success
  assert_output "web: already running, pid $pid"
  run ctl start web --json
  assert_json '.changed, .results[0].reason, .results[0].pid' $'false\nalready_running\n'"$pid"
  assert_alive "$pid"
}

@test "start --dry-run shows what would be executed and does nothing" {
  command_service web /bin/sleep 60
  run ctl start web --dry-run
  assert_success
  assert_line --index 0 --regexp '^web: would take at most [0-9.]+ s$'
  assert_line --index 1 --regexp '^  1. execute /bin/sleep 60( |$)'
  assert_nothing_left web
  assert_equal "$(ls -A "$RUN")" ''
}

@test "start --dry-run of one that runs without a record says that it would be recorded, and does not" {
  service web polite
  ctl start web
  pid=$(<"$RUN/web.pid")
  rm "$RUN/web.json" "$RUN/web.pid"
  run ctl start web --dry-run
  assert_success
  assert_line --index 1 "  1. record pid $pid, which runs without a record"
  assert_file_not_exists "$RUN/web.json"
}

@test "start --dry-run of one that cannot be executed says so" {
  command_service web "$SANDBOX/none"
  run ctl start web --dry-run
  assert_failure 5
}

@test "ctl start web | cat ends while the service runs" {
  service web polite
  run timeout 20 bash -c "$(declare -f ctl); ENV=(); $(declare -p SANDBOX CONF RUN MARK ROOT); ctl start web 2>&1 | cat"
  assert_success
  assert_output --regexp '^web: started, pid [0-9]+'
  assert_alive "$(cat "$RUN/web.pid")"
}

@test "neither stdin nor stdout nor stderr of the caller is kept: as by ssh and by cron" {
  service web env_dump "$SANDBOX/dump"
  sed -i "s|^settle.*|command = [\"/usr/bin/test\", \"-e\", \"$SANDBOX/dump\"]|" "$CONF/services/web.toml"
  mkfifo "$SANDBOX/in"
  exec 7<>"$SANDBOX/in"
  timeout 20 bash -c "$(declare -f ctl); ENV=(); $(declare -p SANDBOX CONF RUN MARK ROOT); ctl start web" <&7 8<&7 2>&1 | cat >"$SANDBOX/out"
  exec 7>&-
  assert_regex "$(cat "$SANDBOX/out")" '^web: started'
  assert_alive "$(cat "$RUN/web.pid")"
  assert_equal "$(jq -c '.fds | keys | map(tonumber) | sort' "$SANDBOX/dump")" '[0,1,2]'
}

# ---------------------------------------------------------------------------------------------------------------- its log

@test "each start rotates the log, and log_keep old ones are kept" {
  service web polite
  sed -i 's/^log = .*/&\nlog_keep = 2/' "$CONF/services/web.toml"
  for round in 1 2 3 4; do
    run ctl start web
    assert_success
    pids[round]=$(cat "$RUN/web.pid")
    run ctl stop web
    assert_success
  done
  assert_regex "$(cat "$LOG/web.log")" "pid: ${pids[4]}"
  assert_regex "$(cat "$LOG/web.log.1")" "pid: ${pids[3]}"
  assert_regex "$(cat "$LOG/web.log.2")" "pid: ${pids[2]}"
  assert_not_exist "$LOG/web.log.3"
}

@test "log_keep = 0 appends to the one log" {
  service web polite
  sed -i 's/^log = .*/&\nlog_keep = 0/' "$CONF/services/web.toml"
  for _ in 1 2; do
    ctl start web
    ctl stop web
  done
  assert_equal "$(grep -c 'ready (pid' "$LOG/web.log")" 2
  assert_not_exist "$LOG/web.log.1"
}

@test "without start.log it goes to log_dir" {
  define web <<TOML
[start]
command = $(program polite)
[ready]
settle = 0.05
TOML
  run ctl start web
  assert_success
  assert_regex "$(cat "$LOG/web.log")" 'ready \(pid'
}

@test "a log that is a symlink, a fifo or a directory is refused, and nothing is started" {
  service web polite
  for kind in symlink fifo directory; do
    rm -rf "$LOG/web.log"
    case $kind in
      symlink) echo precious >"$SANDBOX/victim" && ln -s "$SANDBOX/victim" "$LOG/web.log" ;;
      fifo) mkfifo "$LOG/web.log" ;;
      directory) mkdir "$LOG/web.log" ;;
    esac
    run --separate-stderr ctl start web
    assert_failure
    refute [ "$status" -eq 199 ]
    assert_regex "$stderr" "^ctl: web: .*log.*\(.*$LOG/web.log\)(; to fix: .*)?$"
    assert_equal "${#stderr_lines[@]}" 1
    assert_nothing_left web
    refute [ -e "$LOG/web.log.1" ]
  done
  assert_equal "$(cat "$SANDBOX/victim")" precious
}

@test "a log directory that cannot be written says so, and nothing is started" {
  service web polite
  sed -i "s|^log = .*|log = \"/proc/nowhere/web.log\"|" "$CONF/services/web.toml"
  run --separate-stderr ctl start web
  assert_failure
  refute [ "$status" -eq 199 ]
  assert_regex "$stderr" '^ctl: web: cannot open the log: .*\(.*/proc/nowhere/web.log\)$'
  assert_nothing_left web
}

# --------------------------------------------------------------------------------------------------------------- restart

@test "restart of a running service gives it a new process, with the old one gone" {
  service web polite
  ctl start web
  old=$(cat "$RUN/web.pid")
  run ctl restart web
  assert_success
  assert_output --regexp "^web: (re)?started, pid [0-9]+"
  assert_gone "$old"
  assert_alive "$(cat "$RUN/web.pid")"
  assert_not_equal "$(cat "$RUN/web.pid")" "$old"
}

@test "restart of a stopped service starts it" {
  service web polite
  run ctl restart web
  assert_success
  assert_output --regexp '^web: started, pid [0-9]+'
  assert_alive "$(cat "$RUN/web.pid")"
}

@test "restart of a service whose command is broken does not stop it" {
  cp /bin/sleep "$SANDBOX/app"
  SETTLE=0.05 command_service web "$SANDBOX/app" 600
  ctl start web
  pid=$(cat "$RUN/web.pid")
  rm "$SANDBOX/app"
  run --separate-stderr ctl restart web
  assert_failure 5
  assert_equal "$stderr" "ctl: web: $SANDBOX/app cannot be executed: No such file or directory ($CONF/services/web.toml, start.command)"
  assert_alive "$pid"
  run ctl status web
  assert_success
}

@test "restart of a service whose definition is broken does not stop it" {
  service web polite
  ctl start web
  pid=$(cat "$RUN/web.pid")
  echo 'nonsense = 1' | cat - "$CONF/services/web.toml" >"$SANDBOX/new"
  mv "$SANDBOX/new" "$CONF/services/web.toml"
  run --separate-stderr ctl restart web
  assert_failure 6
  assert_regex "$stderr" "^ctl: web: nonsense: no such key .*\($CONF/services/web.toml\)$"
  assert_alive "$pid"
}

@test "restart tells in JSON what was before and what is now" {
  service web polite
  ctl start web
  run ctl restart web --json
  assert_success
  assert_json '.verb, .changed, .results[0].before, .results[0].after' $'restart\ntrue\nrunning\nready'
  assert_json '.results[0].signals[0].signal' TERM
  assert_json '.results[0].pid' "$(cat "$RUN/web.pid")"
}

@test "restart --dry-run shows both halves and does nothing" {
  service web polite
  ctl start web
  pid=$(cat "$RUN/web.pid")
  run ctl restart web --dry-run
  assert_success
  assert_output --partial "TERM to $pid"
  assert_output --partial 'execute '
  assert_alive "$pid"
}
