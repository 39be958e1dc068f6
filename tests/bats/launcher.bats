#!/usr/bin/env bats
# bin/ctl starts from wherever it is called and however it is linked; an installed ctl is an ordinary command.
# shellcheck disable=SC2016,SC2154 # scripts for another shell stand in single quotes; bats sets stderr

load helper

# copy DIR: a checkout elsewhere, which borrows the virtual environment's interpreter and packages.
copy() {
  mkdir -p "$1/.venv/bin"
  cp -R "$ROOT/bin" "$ROOT/lib" "$ROOT/conf" "$1/"
  ln -s "$(readlink -f "$ROOT/.venv/bin/python")" "$1/.venv/bin/python"
  cp "$ROOT/.venv/pyvenv.cfg" "$1/.venv/"
  ln -s "$ROOT/.venv/lib" "$1/.venv/lib"
  : >"$1/.venv/.stamp"
}

@test "it starts by its absolute path, by a relative one, and from its own directory" {
  for called in "$ROOT/bin/ctl" "$(realpath --relative-to=. "$ROOT/bin/ctl")"; do
    run "$called" --version
    assert_success
    assert_output --regexp '^[0-9]+\.[0-9]+'
  done
  cd "$ROOT/bin"
  run ./ctl --version
  assert_success
  cd "$ROOT"
  run bin/ctl --version
  assert_success
  run sh bin/ctl --version
  assert_success
}

@test "it starts by the PATH" {
  PATH=$ROOT/bin:$PATH run ctl_of_path
  assert_success
}
ctl_of_path() { command ctl --version; }

@test "it starts through symlinks: absolute, relative, a chain, one to its directory" {
  mkdir -p links/deep
  ln -s "$ROOT/bin/ctl" links/absolute
  ln -s "$(realpath --relative-to=links "$ROOT/bin/ctl")" links/relative
  ln -s ../absolute links/deep/chain
  ln -s deep/chain links/longer
  ln -s "$ROOT/bin" links/directory
  ln -s "$ROOT" links/checkout
  for link in links/absolute links/relative links/deep/chain links/longer links/directory/ctl links/checkout/bin/ctl; do
    run "$link" --version
    assert_success
    run "$PWD/$link" --version
    assert_success
  done
  cd links
  run ./longer --version
  assert_success
  PATH=$PWD:$PATH run longer --version
  assert_success
}

@test "it starts in a directory that has been deleted, and in one that may not be entered again" {
  mkdir gone
  cd gone
  rmdir ../gone
  run "$ROOT/bin/ctl" --version
  assert_success
  run ctl status
  assert_success
}

@test "a service can be started and stopped from a deleted directory" {
  service web polite
  mkdir gone
  cd gone
  rmdir ../gone
  run ctl start web
  assert_success
  run ctl stop web
  assert_success
}

@test "it starts under an empty environment" {
  run env -i "$ROOT/bin/ctl" --version
  assert_success
  run env -i "$ROOT/bin/ctl" status --conf "$CONF" --run-dir "$RUN"
  assert_success
}

@test "neither the caller's Python settings nor modules in the current directory reach it" {
  for name in typer msgspec json os re site sitecustomize ctl; do
    echo 'raise SystemExit("a stranger was imported")' >"$name.py"
  done
  run env PYTHONPATH="$PWD" PYTHONHOME=/nowhere PYTHONSTARTUP="$PWD/os.py" PYTHONWARNINGS=error PYTHONVERBOSE=1 \
    CTL_CONF="$CONF" "$ROOT/bin/ctl" status --run-dir "$RUN"
  assert_success
  refute_output --partial stranger
}

@test "it works from a copy with a space in its path, and through a link with one" {
  copy "$SANDBOX/my checkout"
  ln -s "$SANDBOX/my checkout/bin/ctl" "$SANDBOX/my link"
  for called in "$SANDBOX/my checkout/bin/ctl" "$SANDBOX/my link"; do
    run env -i "$called" status --run-dir "$RUN"
    assert_success
    assert_output --partial 'demo  stopped'
  done
}

@test "before setup it says which command to run, and exits 199" {
  mkdir -p "$SANDBOX/fresh copy"
  cp -R "$ROOT/bin" "$ROOT/lib" "$ROOT/conf" "$SANDBOX/fresh copy/"
  ln -s "$SANDBOX/fresh copy/bin/ctl" link
  for called in "$SANDBOX/fresh copy/bin/ctl" ./link; do
    run --separate-stderr "$called" status
    assert_equal "$status" 199
    assert_output ''
    assert_equal "$stderr" "ctl: not set up yet: run $SANDBOX/fresh copy/bin/setup"
  done
}

@test "after a setup that was cut short it says so too" {
  copy "$SANDBOX/cut"
  rm "$SANDBOX/cut/.venv/.stamp"
  run --separate-stderr "$SANDBOX/cut/bin/ctl" status
  assert_equal "$status" 199
  assert_equal "$stderr" "ctl: not set up yet: run $SANDBOX/cut/bin/setup"
}

@test "without a package that it needs it says so in one line" {
  copy "$SANDBOX/without"
  rm "$SANDBOX/without/.venv/lib" # a link
  run --separate-stderr "$SANDBOX/without/bin/ctl" --version
  assert_equal "$status" 199
  assert_equal "$stderr" "ctl: it cannot be loaded: No module named 'msgspec'; to fix: bin/setup installs what is missing"
}

@test "bin/setup names what it does not know" {
  run "$ROOT/bin/setup" --frobnicate
  assert_failure 2
  assert_output 'usage: setup [--dev]'
}

@test "an argument with a space, a star, an empty one and one that begins with a dash arrive as they are" {
  for name in 'my service' '*' '' '$HOME'; do
    run --separate-stderr ctl stop "$name"
    assert_failure 5
    assert_regex "$stderr" 'cannot be a service'
  done
  run ctl stop -- -x
  assert_failure 5
}

@test "pip install . gives a ctl that ships its definitions and runs the demo" {
  mkdir source needs
  cp -R "$ROOT/lib" "$ROOT/conf" "$ROOT/bin" "$ROOT/pyproject.toml" "$ROOT/README.md" source/
  "$ROOT/.venv/bin/python" -m venv --without-pip installed
  # Nothing is fetched: what ctl needs, and what builds it, is lent by the checkout. Never ctl itself, which pip would take
  # for an older one to remove.
  for package in "$ROOT"/.venv/lib/python3*/site-packages/*; do
    case ${package##*/} in ctl* | _ctl* | *.pth | __editable__*) ;; *) ln -s "$package" needs/ ;; esac
  done
  echo "$SANDBOX/needs" >"$(echo installed/lib/python3*/site-packages)/needs.pth"
  installed/bin/python -m pip -q --disable-pip-version-check install --root-user-action=ignore --no-deps \
    --no-build-isolation --no-compile ./source
  rm -rf source

  installed() { env -i PATH=/usr/bin:/bin CTL_TEST_ID="$MARK" "$SANDBOX/installed/bin/ctl" "$@" --run-dir "$RUN" 3>&-; }
  run "$SANDBOX/installed/bin/ctl" --version
  assert_success
  run installed status
  assert_success
  assert_output --regexp '^demo +stopped +- '
  assert_exist "$(echo installed/lib/python3*/site-packages/ctl/_conf/examples/redis.toml)"
  run "$SANDBOX/installed/bin/ctl" completion bash
  assert_output "$(cat installed/share/bash-completion/completions/ctl)"
  run "$SANDBOX/installed/bin/ctl" completion zsh
  assert_output "$(cat installed/share/zsh/site-functions/_ctl)"
  run "$SANDBOX/installed/bin/ctl" completion fish
  assert_output "$(cat installed/share/fish/vendor_completions.d/ctl.fish)"
  assert_equal "$(cat installed/share/man/man1/ctl.1)" "$(cat "$ROOT/conf/man/ctl.1")"

  printf 'log_dir = "%s"\n' "$LOG" >"$(echo installed/lib/python3*/site-packages/ctl/_conf)/ctl.toml"
  run installed start demo
  assert_success
  pid=$(cat "$RUN/demo.pid")
  run installed stop demo
  assert_success
  assert_output --regexp "^demo: stopped, pid $pid"
  assert_gone "$pid"
}
