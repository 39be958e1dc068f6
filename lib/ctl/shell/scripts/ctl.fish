# Completion of ctl for fish. Install: ctl completion fish > ~/.config/fish/completions/ctl.fish
# ctl gets no arguments, so that nothing is ever done; it prints a word and what it means a line, with a tab between.
function __ctl_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    set -lx _CTL_COMPLETE fish
    set -lx _CTL_LINE (printf '%s\n' $words | string collect)\n"$current"
    set -l found (command $words[1] 2>/dev/null </dev/null)
    if test "$found[1]" = /directories
        __fish_complete_directories "$current"
    else
        printf '%s\n' $found
    end
end
complete -c ctl -f -a '(__ctl_complete)'
