#!/usr/bin/env bats
# Doctor as someone types it who wants to know before the night what will not work then: what, where, and the fix.
# shellcheck disable=SC2154 # bats sets output and stderr

load helper

# finding ID: what --json says of it, in $output.
finding() { jq -c "[.results[].findings[] | select(.id == \"$1\")][0]" <<<"$output"; }

@test "all is well: the host and each service, exit 0, and nothing is made or touched" {
  service web polite
  rmdir "$LOG"
  run --separate-stderr ctl doctor
  assert_success
  assert_equal "$stderr" ''
  assert_line --index 0 --regexp '^this host: all is well(, [0-9]+ notes?)?$'
  assert_line --regexp "^  kernel     $(uname -r)$"
  assert_line "web: all is well"
  assert_line "  state      stopped"
  assert_not_exist "$LOG"
  run ctl doctor web
  assert_success
  refute_output --partial 'this host'
}

@test "a missing directory of the pid file: the fix fixes it" {
  service web polite
  sed -i "/^schedule/a pid_file = \"$SANDBOX/none/web.pid\"" "$CONF/services/web.toml"
  run --separate-stderr ctl doctor web
  assert_failure 1
  assert_line --index 0 'web: 1 warning'
  assert_regex "$(tr -s ' \n' ' ' <<<"$output")" " where $CONF/services/web.toml, stop.pid_file fix " # the lines are folded
  run ctl doctor web --json
  assert_failure 1
  assert_json '[.verb, .ok, .changed, (.results | length), .results[0].kind, .results[0].target] | tojson' \
    '["doctor",false,false,1,"service","web"]'
  assert_equal "$(finding pid-file-directory | jq -r .severity)" warning
  sh -c "$(finding pid-file-directory | jq -r .fix)"
  run ctl doctor web
  assert_success
  chmod 777 "$SANDBOX/none"
  run ctl doctor web --json
  assert_failure 1
  assert_equal "$(finding pid-file-directory | jq -r .severity)" error
  sh -c "$(finding pid-file-directory | jq -r .fix)"
  run ctl doctor web
  assert_success
}

@test "a definition with errors, and a program that is not there" {
  define_raw web <<<'stop.protceted = true'
  define_raw db <<<'start.command = ["/opt/none/db"]'
  run --separate-stderr ctl doctor
  assert_failure 1
  assert_line 'web: 1 error'
  assert_line 'db: 1 error'
  output=$(tr -s ' \n' ' ' <<<"$output")
  assert_output --partial 'error stop.protceted: no such key (valid: '
  assert_output --partial ' fix write protected instead'
  assert_output --partial '/opt/none/db cannot be executed: No such file or directory [program]'
}

@test "an unknown name is exit 5 with a suggestion; units exist only where there is systemd" {
  service web polite
  run --separate-stderr ctl doctor wbe
  assert_failure 5
  assert_output ''
  assert_regex "$stderr" '^ctl: wbe: no such service \(.*\); to fix: write web instead$'
  run --separate-stderr ctl doctor no-such-unit.service
  assert_failure 5
  assert_regex "$stderr" '^ctl: no-such-unit.service: (no such unit and no such service|systemd is not this host.s init)'
}

@test "a stale record is a note: all is still well" {
  service web polite
  ctl start web >/dev/null
  cp "$RUN/web.json" "$SANDBOX/old"
  ctl kill web >/dev/null
  cp "$SANDBOX/old" "$RUN/web.json"
  run ctl doctor web
  assert_success
  assert_line --index 0 'web: all is well, 1 note'
  assert_line '  fix        ctl stop web'
  run ctl doctor web --quiet
  assert_success
  assert_output ''
  ctl stop web >/dev/null
  run ctl doctor web
  assert_line --index 0 'web: all is well'
}

@test "what ctl itself refuses is told with its fix" {
  requires root
  service web polite
  chmod 777 "$CONF"
  run --separate-stderr ctl doctor --json
  assert_failure 1
  assert_equal "$(finding conf-writable | jq -r .fix)" "chmod go-w '$CONF'"
  sh -c "$(finding conf-writable | jq -r .fix)"
  run ctl doctor
  assert_success
}

@test "the log directory: everyone may write there" {
  service web polite
  chmod 777 "$LOG"
  run --separate-stderr ctl doctor --json
  assert_failure 1
  assert_equal "$(finding log-directory | jq -r .severity)" error
  sh -c "$(finding log-directory | jq -r .fix)"
  run ctl doctor
  assert_success
}

@test "without root: what may not be read is exit 4, and never well" {
  requires root
  service web polite
  chmod 600 "$CONF/services/web.toml"
  run --separate-stderr setpriv --reuid 12345 --clear-groups env CTL_CONF="$CONF" CTL_RUN_DIR="$SANDBOX/none" HOME=/ \
    "$ROOT/bin/ctl" doctor
  assert_failure 4
  assert_line 'web: not all could be read'
  assert_line --regexp 'ctl: cannot be read: Permission denied \(.*\); to fix: try again as root'
}

@test "a finding cannot drive the terminal" {
  printf 'description = "x"\n[start]\ncommand = ["/none/\\u001b[2J"]\n' >"$CONF/services/web.toml"
  run ctl doctor web
  assert_failure 1
  assert_output --partial '\x1b[2J'
  refute_output --partial $'\e'
}

@test "a pause whose keeper is gone: nobody would ever resume it" {
  service web polite
  ctl start web >/dev/null
  ctl pause web --for 1h >/dev/null
  run ctl doctor web
  assert_success
  assert_line "  state      paused, pid $(<"$RUN/web.pid")"
  kill -KILL "$(pgrep --full -- "--due $(jq -r .id "$RUN/web.paused") ")"
  run --separate-stderr ctl doctor web --json
  assert_failure 1
  assert_equal "$(finding pause-without-end | jq -r .fix)" 'ctl resume web'
  ctl resume web >/dev/null
  run ctl doctor web
  assert_success
}
