#!/usr/bin/env bats
# Which services a command line means: names, instances, all of them; and what is never touched by mistake.
# shellcheck disable=SC2154 # bats sets output, stderr and stderr_lines

load helper

# start NAME...: starts them side by side.
start() { ctl start "$@" >/dev/null; }

pid_of() { cat "$RUN/$1.pid"; }

# running NAME...: exactly these run, and no other.
running() {
  local found
  found=$(ctl status 2>/dev/null | awk '$3 == "pid" { print $1 }' | sort | xargs)
  assert_equal "$found" "$(printf '%s\n' "$@" | sort | xargs)"
}

# worker: the template of instances that are told apart by their argv.
worker() {
  define worker@ <<TOML
[start]
command = $(program polite 0 "$MARK-worker@{instance}")
[ready]
log = "^ready"
[match]
cmdline = '$MARK-worker@{instance}'
[stop]
schedule = "TERM/5/KILL/5"
TOML
}

@test "NAME@ is every instance: status, restart, pause, stop, kill; nobody else" {
  worker
  service web polite
  start worker@1 worker@2 worker@10 web
  local old
  old=$(pid_of worker@10)
  run ctl status worker@
  assert_success
  assert_line --index 0 --regexp "^worker@1 +ready "
  assert_line --index 1 --regexp "^worker@2 +ready "
  assert_line --index 2 --regexp "^worker@10 +ready " # as a person counts
  assert_equal "${#lines[@]}" 3

  run ctl restart worker@ --json
  assert_success
  assert_json '[.results[] | "\(.target) \(.reason)"] | join(", ")' "worker@1 started, worker@2 started, worker@10 started"
  assert_gone "$old"
  run ctl pause worker@ --json
  assert_json '[.results[].after] | join(" ")' "paused paused paused"
  ctl resume worker@ >/dev/null
  rm "$RUN/worker@2.json" "$RUN/worker@2.pid"
  run ctl stop worker@ --json
  assert_success
  assert_json '[.results[] | "\(.target) \(.reason)"] | join(", ")' "worker@1 stopped, worker@2 stopped, worker@10 stopped"
  running web
  start worker@1
  run ctl kill worker@
  assert_success
  assert_line --index 0 --regexp "^worker@1: killed, pid [0-9]+, [0-9.]+ s$"
  assert_line --index 1 "worker@2: already stopped"
  running web
}

@test "NAME@ without an instance: nothing to stop, nothing to start" {
  worker
  local verb none="ctl: worker@: no instance of it is known or running; to fix: name one: worker@ID"
  for verb in stop kill restart; do
    run --separate-stderr ctl "$verb" worker@
    assert_success
    assert_output ""
    assert_equal "$stderr" "$none"
  done
  run --separate-stderr ctl status worker@
  assert_failure 3
  for verb in start pause resume; do
    run --separate-stderr ctl "$verb" worker@
    assert_failure 5
    assert_equal "$stderr" "$none"
  done
}

@test "a name that no service can have is refused in one line" {
  service web polite
  start web
  local name verb
  for name in ../../etc/passwd "" $'web\nweb' "web " "web@" "@1" "web@1" .web; do
    for verb in stop kill; do
      run --separate-stderr ctl "$verb" "$name"
      assert_failure 5
      assert_output ""
      assert_equal "${#stderr_lines[@]}" 1
    done
  done
  run --separate-stderr ctl stop -web
  assert_failure 2
  run --separate-stderr ctl kill -- -web
  assert_failure 5
  assert_equal "${#stderr_lines[@]}" 1
  running web
}

@test "wrong names among right ones: all are told, with the near miss, and nothing is touched" {
  worker
  service web polite
  start web worker@1
  local set_by="conf directory set by \$CTL_CONF"
  run --separate-stderr ctl stop web wbe worker worer@1 worer@ ../x worker@1
  assert_failure 5
  assert_output ""
  assert_equal "${#stderr_lines[@]}" 5
  assert_equal "${stderr_lines[0]}" "ctl: wbe: no such service (there is no $CONF/services/wbe.toml, $set_by); to fix: write web instead"
  assert_equal "${stderr_lines[1]}" "ctl: worker: no such service; it is a template \
(there is no $CONF/services/worker.toml, $set_by); to fix: name an instance, worker@ID, or all of them, worker@"
  assert_regex "${stderr_lines[2]}" "^ctl: worer@1: no such service \(.*\); to fix: write worker@1 instead$"
  assert_regex "${stderr_lines[3]}" "^ctl: worer@: no such service \(.*\); to fix: write worker@ instead$"
  assert_regex "${stderr_lines[4]}" "^ctl: '../x' cannot be a service: "
  run --separate-stderr ctl kill web wbe --json
  assert_failure 5
  assert_json '[.ok, .changed, (.results | length), .errors[0].reason] | map(tostring) | join(" ")' "false false 0 unknown_target"
  run --separate-stderr ctl kill web wbe worer@1 ../x --json
  assert_failure 5
  assert_json '.errors[] | [.target, .what, .fix] | map(tostring) | join("|")' "wbe|no such service|write web instead
worer@1|no such service|write worker@1 instead
null|'../x' cannot be a service: a name is letters, digits and _ . : -, begins with a letter or digit, and may end in \
@INSTANCE|null"
  running web worker@1
}

@test "--expect-pid for each of several: the wrong one is refused, the others are stopped" {
  worker
  service web polite
  start web worker@1 worker@2
  local web one
  web=$(pid_of web) one=$(pid_of worker@1)
  run --separate-stderr ctl stop web worker@ --expect-pid web="$web" --expect-pid worker@1=$((one + 1))
  assert_failure 152
  assert_line --index 0 --regexp "^web: stopped, pid $web, "
  assert_line --index 1 --regexp "^worker@2: stopped, "
  assert_equal "$stderr" "ctl: worker@1: its main process is pid $one, not pid $((one + 1)) (--expect-pid)"
  running worker@1

  local option
  for option in --pid="$one" --expect-pid="$one" --expect-pid=web="$one" --expect-pid=worker@1=x; do
    run --separate-stderr ctl kill worker@ "$option"
    assert_failure 2
    assert_equal "${#stderr_lines[@]}" 1
  done
  assert_regex "$stderr" "expected a process id"
  run --separate-stderr ctl stop worker@ --pid "$one"
  assert_equal "$stderr" "ctl: Invalid value: --pid goes with one target, not with every instance of worker (see ctl stop --help)"
  running worker@1
}

# everything: two that may be stopped, one protected, a stopped one, and a definition that says nothing.
everything() {
  service web polite
  service db polite
  service stopped polite
  service vault polite
  echo 'protected = true' >>"$CONF/services/vault.toml"
  start web db vault
}

@test "a bare stop by a script, of which a variable is empty, stops nothing and lists what it would have stopped" {
  everything
  run --separate-stderr ctl stop
  assert_failure 2
  assert_output ''
  assert_equal "${stderr_lines[0]}" "ctl: names no services: nothing was done; this would stop 2; to fix: name them, or give ctl stop --all"
  assert_equal "${stderr_lines[1]}" "  db   pid $(pid_of db)"
  assert_equal "${stderr_lines[2]}" "  web  pid $(pid_of web)"
  running web db vault
  run ctl stop --yes
  assert_success
  running vault
}

@test "a stop of all takes all but the protected ones, also where one definition is broken" {
  everything
  define_raw broken <<<'[strat]'
  run --separate-stderr ctl stop --dry-run
  assert_failure 6
  running web db vault
  run --separate-stderr ctl stop --all
  assert_failure 6
  assert_line --index 0 --regexp "^db: stopped, "
  assert_line --index 1 --regexp "^web: stopped, "
  assert_equal "${#lines[@]}" 2
  assert_equal "${stderr_lines[0]}" "ctl: vault: is protected: left alone; to fix: ctl stop vault"
  assert_regex "${stderr_lines[1]}" "^ctl: broken: strat: no such key \(.*\); to fix: write start instead$"
  assert_equal "${#stderr_lines[@]}" 2
  running vault
  rm "$CONF/services/broken.toml"
  run ctl stop vault
  assert_success
  assert_output --partial "vault: stopped"
  running
  run ctl stop --all
  assert_success
  assert_output "ctl: nothing to stop: no service is running"
}

@test "kill and restart want names or --all, and --all is all but the protected ones" {
  everything
  local verb
  for verb in kill restart; do
    run --separate-stderr ctl "$verb"
    assert_failure 2
    assert_equal "$stderr" "ctl: Invalid value: name the targets to $verb, or give --all for every service that runs (see ctl $verb --help)"
  done
  for verb in stop kill restart; do
    run --separate-stderr ctl "$verb" --all web
    assert_failure 2
    assert_regex "$stderr" "--all and names of targets contradict each other"
  done
  running web db vault
  local vault
  vault=$(pid_of vault)
  run --separate-stderr ctl restart --all --json
  assert_success
  assert_json '[.results[] | "\(.target) \(.reason)"] | join(", ")' "db started, web started"
  run --separate-stderr ctl kill --all
  assert_success
  assert_line --index 1 --regexp "^web: killed, "
  assert_equal "$stderr" "ctl: vault: is protected: left alone; to fix: ctl kill vault"
  running vault
  run ctl kill vault
  assert_output --regexp "^vault: killed, pid $vault, "
}
