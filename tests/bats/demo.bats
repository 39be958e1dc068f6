#!/usr/bin/env bats
# The main job, as the README shows it: the embedded demo started, seen, stopped, killed, killed again.

load helper

setup() {
    sandbox_up
    cp "$ROOT/conf/services/demo.toml" "$CONF/services/demo.toml"
}

@test "the demo is started, seen, stopped, killed and killed again" {
    run ctl start demo
    assert_success
    assert_output --regexp '^demo: started, pid [0-9]+'

    run ctl status demo
    assert_success
    assert_line --index 0 --partial 'demo: ready'

    run ctl stop demo
    assert_success
    assert_output --partial 'demo: stopped'

    run ctl kill demo
    assert_success
    assert_output 'demo: already stopped'

    run ctl kill demo
    assert_success
    assert_output 'demo: already stopped'

    run ctl status demo
    assert_failure 3
    assert_line --index 0 --partial 'demo: stopped'
}
