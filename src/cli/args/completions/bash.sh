# Completion of credenza for bash. It asks the program; no name is evaluated.
_credenza() {
    local cur="$2" line word quoted kind IFS=$'\n'
    if [[ "$cur" == "=" ]]; then cur=""; fi
    local -a lines
    mapfile -t lines < <(command credenza complete -- "${COMP_WORDS[@]:1:COMP_CWORD-1}" "$2" 2>/dev/null)
    kind="${lines[0]-}"
    COMPREPLY=()
    case "$kind" in
        command)
            local at
            for ((at = 1; at < COMP_CWORD; at++)); do
                if [[ "${COMP_WORDS[at]}" == "--" ]]; then break; fi
            done
            if declare -F _comp_command_offset >/dev/null; then
                _comp_command_offset $((at + 1))
            elif declare -F _command_offset >/dev/null; then
                _command_offset $((at + 1))
            elif ((COMP_CWORD == at + 1)); then
                mapfile -t COMPREPLY < <(compgen -c -- "$cur")
            else
                compopt -o filenames 2>/dev/null
                mapfile -t COMPREPLY < <(compgen -f -- "$cur")
            fi
            return ;;
        files | folders)
            local prefix="" action=-f
            if [[ "$kind" == folders ]]; then action=-d; fi
            if [[ "$cur" == --*=* ]]; then prefix="${cur%%=*}="; cur="${cur#*=}"; fi
            compopt -o filenames 2>/dev/null
            mapfile -t COMPREPLY < <(compgen "$action" -P "$prefix" -- "$cur")
            return ;;
    esac
    for line in "${lines[@]:1}"; do
        word="${line%%$'\t'*}"
        printf -v quoted '%q' "$word"
        if [[ "$word" == "$cur"* || "$quoted" == "$cur"* ]]; then COMPREPLY+=("$quoted"); fi
    done
}
complete -F _credenza credenza
