# Completion of ctl for bash 4.4 and newer. Install: eval "$(ctl completion bash)"
# ctl gets no arguments, so that nothing is ever done; words are what it prints, one a line.
_ctl() {
    local ctl=$1 word
    local -a words
    COMPREPLY=()
    case $ctl in \~/*) ctl=$HOME/${ctl#??} ;; esac
    mapfile -t words < <(_CTL_COMPLETE=bash _CTL_LINE=${COMP_LINE:0:COMP_POINT} _CTL_BREAKS=$COMP_WORDBREAKS \
        "$ctl" 2>/dev/null </dev/null)
    if [ "${words[0]-}" = /directories ]; then
        word=${COMP_WORDS[COMP_CWORD]}
        [ "$word" != = ] || word=
        compopt -o filenames
        mapfile -t COMPREPLY < <(compgen -d -- "$word")
        return
    fi
    COMPREPLY=("${words[@]}")
    # An instance's name follows.
    case ${#words[@]}:${words[0]-} in 1:*@) compopt -o nospace ;; esac
}
complete -F _ctl ctl
