#compdef ctl
# Completion of ctl for zsh. Install, after compinit: source <(ctl completion zsh)
# ctl gets no arguments, so that nothing is ever done; it prints a word and what it means a line, with a tab between.
_ctl() {
    local line word
    local -a plain open
    local -x _CTL_COMPLETE=zsh _CTL_LINE=${(pj:\n:)${(@Q)words[1,CURRENT-1]}}$'\n'${(Q)PREFIX}
    for line in ${(f)"$(${(Q)~words[1]} 2>/dev/null </dev/null)"}; do
        word=${line%%$'\t'*}
        case $word in
            /directories)
                compset -P '*='
                _files -/
                return
                ;;
            *@) open+=($word) ;; # an instance's name follows
            *$'\t'*) ;;
            *) plain+=(${word//:/\\:}${${line#$word}/$'\t'/:}) ;;
        esac
    done
    (( $#plain )) && _describe -V 'ctl' plain
    (( $#open )) && compadd -S '' -- $open
}
if [[ $funcstack[1] == _ctl ]]; then
    _ctl "$@"
else
    compdef _ctl ctl
fi
