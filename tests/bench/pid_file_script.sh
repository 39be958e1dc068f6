#!/bin/bash
# The start and stop script of the kind that JVM projects ship, with their half seconds: a pid file, kill -0, sleep.
#   [GRACE=SECONDS] pid_file_script.sh start|stop|kill|status PID_FILE [PORT] [-- COMMAND...]
# It is what ctl is measured against, and no example.
verb=$1 pid_file=$2 port=''
shift 2
if [ $# -gt 0 ] && [ "$1" != -- ]; then
    port=$1
    shift
fi
[ "${1-}" != -- ] || shift

is_running() {
    [ -f "$pid_file" ] && kill -0 "$(cat "$pid_file")" 2>/dev/null
}

case $verb in
start)
    if is_running; then
        echo "already running as process $(cat "$pid_file")"
        exit 1
    fi
    nohup "$@" >/dev/null 2>&1 </dev/null &
    echo $! >"$pid_file"
    while [ -n "$port" ] && ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do
        sleep 0.5
    done
    ;;
stop)
    if ! is_running; then
        echo "no process to stop"
        exit 0
    fi
    kill "$(cat "$pid_file")"
    for ((halves = 0; halves < 2 * ${GRACE:-1}; halves++)); do
        is_running || break
        sleep 0.5
    done
    if is_running; then
        kill -9 "$(cat "$pid_file")"
    fi
    rm -f "$pid_file"
    ;;
kill)
    if is_running; then
        kill -9 "$(cat "$pid_file")"
    fi
    rm -f "$pid_file"
    ;;
status)
    if ! is_running; then
        echo "not running"
        exit 3
    fi
    echo "running as process $(cat "$pid_file")"
    ;;
esac
