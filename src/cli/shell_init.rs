//! `credenza shell-init`: a function that switches the identity of a shell, and completes its names.

use clap::ValueEnum;

/// A shell with a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum InitShell {
    Bash,
    Zsh,
    Fish,
}

/// The function for bash and zsh.
const POSIX: &str = r#"# Switches this shell to an identity or a profile: cz NAME. `cz` alone asks for a name, `cz -` restores the variables from before.
cz() {
    local cz_name cz_lines
    case "${1-}" in
        -)
            cz_lines=$(command credenza env --unset --format env) || return
            ;;
        -*)
            echo "usage: cz [NAME | -]" >&2
            return 2
            ;;
        *)
            cz_name=${1-}
            if [ -z "$cz_name" ]; then
                cz_name=$(command credenza pick-name) || return
            fi
            cz_lines=$(command credenza shell-switch --identity="$cz_name" --format env) || return
            ;;
    esac
    eval "$cz_lines"
}
"#;

const BASH_COMPLETION: &str = r#"_cz() {
    local name quoted
    COMPREPLY=()
    while IFS= read -r name; do
        printf -v quoted '%q' "$name"
        if [[ "$name" == "$2"* || "$quoted" == "$2"* ]]; then COMPREPLY+=("$quoted"); fi
    done < <(command credenza complete-names targets 2>/dev/null)
}
complete -F _cz cz
"#;

const ZSH_COMPLETION: &str = r#"_cz() {
    local -a names
    names=(${(f)"$(command credenza complete-names targets 2>/dev/null)"})
    compadd -a names
}
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit -i -D; }
compdef _cz cz
"#;

const FISH: &str = r#"# Switches this shell to an identity or a profile: cz NAME. `cz` alone asks for a name, `cz -` restores the variables from before.
function cz --description "Switch this shell to an identity of Credenza"
    set -l name $argv[1]
    set -l lines
    switch "$name"
        case -
            set lines (command credenza env --unset --format fish | string collect); or return
        case "-*"
            echo "usage: cz [NAME | -]" >&2
            return 2
        case "*"
            if test -z "$name"
                set name (command credenza pick-name); or return
            end
            set lines (command credenza shell-switch --identity="$name" --format fish | string collect)
            if test -z "$lines"
                return 1
            end
    end
    eval $lines
end
complete -c cz -f -a "(command credenza complete-names targets 2>/dev/null)"
"#;

/// Returns the lines for the start file of a shell.
pub(crate) fn shell_init(shell: InitShell) -> String {
    match shell {
        InitShell::Bash => format!("{POSIX}{BASH_COMPLETION}"),
        InitShell::Zsh => format!("{POSIX}{ZSH_COMPLETION}"),
        InitShell::Fish => FISH.to_owned(),
    }
}
