#!/bin/sh
# wrapper CHILD_PID_FILE: a start script with its service in the foreground. TERM ends the shell; the child ignores it.
sh -c 'trap "" TERM
       echo $$ >"$1.new" && mv "$1.new" "$1"
       echo "ready (pid: $PPID)"
       exec tail -f /dev/null' child "$1"
echo "child ended: $?" # a command after it, or the shell would become its child instead of waiting for it
