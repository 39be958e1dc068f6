#!/bin/sh
# crash [CODE [LINES]]: dies at once with CODE (1), after LINES (1) lines on stderr, the last of them "fatal: cannot go on".
count=${2:-1}
while [ "$count" -gt 1 ]; do echo "line $count before the end" >&2; count=$((count - 1)); done
echo "fatal: cannot go on" >&2
exit "${1:-1}"
