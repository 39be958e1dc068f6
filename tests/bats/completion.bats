#!/usr/bin/env bats
# What Tab offers: verbs, options and the targets that there are; quickly, silently, and nothing is ever done.
load helper

setup() {
  sandbox_up
  SCRIPT=$SANDBOX/ctl.bash
  ctl completion bash >"$SCRIPT"
}

# offered LINE: what bash is given for the command line LINE, with the cursor at its end.
offered() {
  # shellcheck disable=SC2016 # the inner bash expands it
  run --separate-stderr env -i PATH="$ROOT/bin:/usr/bin:/bin" LC_ALL=C.UTF-8 HOME="$SANDBOX/home" CTL_CONF="$CONF" \
    CTL_RUN_DIR="$RUN" bash --norc -c '
      compopt() { :; } # only bash itself may call it, while it completes
      . "$2"
      COMP_LINE=$1 COMP_POINT=${#1}
      read -ra COMP_WORDS <<<"$1"
      COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
      _ctl ctl
      echo "${COMPREPLY[*]}"' bash "$1" "$SCRIPT" 3>&-
  assert_success
  # shellcheck disable=SC2154 # bats sets stderr
  assert_equal "$stderr" ""
}

offers() { # LINE WORD...
  offered "$1"
  assert_output "${*:2}"
}

some_services() {
  service gateway polite
  service engine polite
  service worker@ polite
  touch "$CONF/services/foo bar.toml" "$CONF/services/worker@1.toml" "$CONF/services/notes.txt"
}

@test "verbs" {
  offers "ctl sta" start status
  offers "ctl compl" completion
  offers "ctl --v" --version
  offers "ctl nope " ""
}

@test "services, templates, and the instances that have a record" {
  some_services
  offers "ctl stop " engine gateway worker@
  ctl start worker@1 worker@22
  offers "ctl stop " engine gateway worker@ worker@1 worker@22
  offers "ctl status gat" gateway
  offers "ctl stop engine gateway w" worker@ worker@1 worker@22
  # bash replaces only the @ and what follows it
  offers "ctl stop worker@" @1 @22
  offers "ctl stop worker@2" @22
  offers 'ctl stop "ga' gateway
}

@test "a target that is named already is not offered again, nor a second one where one is all" {
  some_services
  offers "ctl stop gateway " engine worker@
  offers "ctl run gateway " ""
}

@test "the conf directory is the one that the line names" {
  some_services
  mkdir -p "$SANDBOX/home/other/services"
  touch "$SANDBOX/home/other/services/elsewhere.toml"
  offers "ctl stop --conf $SANDBOX/home/other " elsewhere
  offers "ctl stop --conf=$SANDBOX/home/other e" elsewhere
  offers "ctl stop --conf ~/other " elsewhere
}

@test "options that are not given yet, and the values that there are" {
  service gateway polite
  offers "ctl stop --dry-run --quiet --d" ""
  offers "ctl stop -n --d" ""
  offers "ctl stop --lock" --lock-timeout
  offers "ctl stop --schedule " ""
  offers "ctl stop --schedule TERM/5 g" gateway
  offers "ctl stop --pid=" ""
  offers "ctl completion " bash zsh fish
  offers "ctl wait --for " running ready stopped
  offers "ctl pause --for " ""
  mkdir -p "$SANDBOX/here/conf" "$SANDBOX/here/run"
  offers "ctl stop --conf $SANDBOX/here/c" "$SANDBOX/here/conf"
}

@test "whatever is wrong, nothing is said and nothing is done" {
  define_raw gateway <<<"this is no TOML"
  offers "ctl stop g" gateway
  offers "ctl stop --conf /none g" ""
  offers "ctl stop --nope g" gateway
  chmod 777 "$CONF/services"
  [ "$(id -u)" != 0 ] || offers "ctl stop g" ""
  run --separate-stderr env _CTL_COMPLETE=bash "$ROOT/bin/ctl"
  assert_success
  assert_equal "$output$stderr" ""
  assert_equal "$(ls -A "$RUN")" ""
}

@test "a variable that is left over changes no command" {
  service gateway polite
  ENV=(_CTL_COMPLETE=bash "_CTL_LINE=ctl st")
  run ctl status gateway
  assert_output "gateway: stopped"
}

@test "a script for each shell" {
  for shell in bash zsh fish; do
    run ctl completion "$shell"
    assert_success
    assert_line --partial "Completion of ctl for $shell"
  done
  run --separate-stderr ctl completion csh
  assert_failure 2
  assert_regex "$stderr" "^ctl: .*'csh' is not one of 'bash', 'zsh', 'fish'"
}

@test "fish takes it" {
  requires fish
  some_services
  run env -i PATH="$ROOT/bin:/usr/bin:/bin" HOME="$SANDBOX/home" CTL_CONF="$CONF" CTL_RUN_DIR="$RUN" \
    fish --no-config -c 'ctl completion fish | source; complete -C "ctl stop "; complete -C "ctl stop --sch"' 3>&-
  assert_output "engine
gateway
worker@
--schedule	Signals and seconds: TERM/30/KILL/5"
}
