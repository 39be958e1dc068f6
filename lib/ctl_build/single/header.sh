#!/bin/sh
# ctl in a single file: these lines find the Python that it was built for, which reads the archive after them.
# As bin/ctl has it: -I and -S, so that nothing of the caller's is imported; -X utf8, whatever the locale. Of -X ctl
# Python takes no notice: it tells other ctls what this process is.
set -f
for name in python@PYTHON@ python3; do
    IFS=:
    for directory in ${PATH-} /usr/local/bin /usr/bin; do
        case $directory in
        /*) [ ! -f "$directory/$name" ] || [ ! -x "$directory/$name" ] || exec "$directory/$name" -I -S -X utf8 -X ctl "$0" "$@" ;;
        esac
    done
done
echo "ctl: $0: it needs Python @PYTHON@, and there is no python3 in PATH=${PATH-}" >&2
exit 199
