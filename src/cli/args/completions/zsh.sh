#compdef credenza
# Completion of credenza for zsh. It asks the program; no name is evaluated.
_credenza() {
    local -a lines words_found described
    local line
    lines=("${(@f)$(command credenza complete -- "${(@Q)words[2,CURRENT]}" 2>/dev/null)}")
    case "${lines[1]-}" in
        command)
            local at=${words[(i)--]}
            shift $at words
            ((CURRENT -= at))
            _normal
            return ;;
        files) compset -P '--*='; _files; return ;;
        folders) compset -P '--*='; _files -/; return ;;
    esac
    for line in "${(@)lines[2,-1]}"; do
        words_found+=("${line%%$'\t'*}")
        described+=("${line//$'\t'/  -- }")
    done
    (( $#words_found )) && compadd -l -d described -a words_found
}
if [ "$funcstack[1]" = "_credenza" ]; then
    _credenza "$@"
elif (( $+functions[compdef] )); then
    compdef _credenza credenza
fi
