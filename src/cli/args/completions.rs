//! Completion scripts: those of clap, with the names of the running daemon.
//!
//! A name is foreign text, so no script lets its shell evaluate one: `compgen -W` would.

use std::io;

use clap_complete::Shell;

use crate::cli::args::command;

/// The part of the bash script that offers names. `COMMANDS` stands for the names of all commands.
///
/// A name that follows the first command or one of its flags is completed; all else is left to clap's function.
const BASH: &str = r#"
_credenza_names() {
    local cur="$2" prev="$3" kind="" command="" word name quoted
    if [[ "$cur" == "=" ]]; then cur=""; fi
    if [[ "$prev" == "=" && COMP_CWORD -ge 2 ]]; then prev="${COMP_WORDS[COMP_CWORD-2]}"; fi
    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        case "$word" in
            --) return 1 ;;
            COMMANDS) if [[ -z "$command" ]]; then command="$word"; fi ;;
        esac
    done
    case "$command,$prev" in
        exec,exec | get,get | env,env | console,console | whoami,whoami) kind=targets ;;
        *,--identity | *,--imds-identity | use,use | mfa,mfa) kind=identities ;;
        *,--client) kind=clients ;;
        grant,grant | revoke,revoke) kind=grants ;;
        *) return 1 ;;
    esac
    if [[ "$cur" == -* ]]; then return 1; fi
    COMPREPLY=()
    while IFS= read -r name; do
        printf -v quoted '%q' "$name"
        if [[ "$name" == "$cur"* || "$quoted" == "$cur"* ]]; then COMPREPLY+=("$quoted"); fi
    done < <(credenza complete-names "$kind" 2>/dev/null)
}

_credenza_with_names() {
    _credenza_names "$@" || _credenza "$@"
}
"#;

/// The functions of the zsh script that offer names.
const ZSH: &str = r#"
_credenza_names() {
    local kind=$1
    shift
    local -a names
    names=(${(f)"$(credenza complete-names $kind 2>/dev/null)"})
    compadd "$@" -a names
}
_credenza_identities() { _credenza_names identities "$@" }
_credenza_clients() { _credenza_names clients "$@" }
_credenza_grants() { _credenza_names grants "$@" }
_credenza_targets() { _credenza_names targets "$@" }

"#;

/// The end of clap's zsh script, which runs or registers its function.
const ZSH_END: &str = "if [ \"$funcstack[1]\" = \"_credenza\" ]; then";

/// The beginnings of clap's zsh specifications of arguments, and the functions with their names.
const ZSH_ARGUMENTS: [(&str, &str); 7] = [
    ("::names ", "targets"),
    ("--identity=[", "identities"),
    ("--imds-identity=[", "identities"),
    (":identity_name ", "identities"),
    ("::identity_name ", "targets"),
    ("--client=[", "clients"),
    (":grant_name ", "grants"),
];

/// The lines of the fish script that offer names. They come beside clap's.
const FISH: &str = r#"
function __fish_credenza_names
    credenza complete-names $argv[1] 2>/dev/null
end
complete -c credenza -n "__fish_credenza_using_subcommand use mfa" -f -a "(__fish_credenza_names identities)"
complete -c credenza -n "__fish_credenza_using_subcommand exec get env console whoami" -f -a "(__fish_credenza_names targets)"
complete -c credenza -n "__fish_credenza_using_subcommand grant revoke" -f -a "(__fish_credenza_names grants)"
complete -c credenza -n "__fish_credenza_using_subcommand get env exec console grant" -l identity -x -a "(__fish_credenza_names identities)"
complete -c credenza -n "__fish_credenza_using_subcommand token" -l client -x -a "(__fish_credenza_names clients)"
complete -c credenza -l imds-identity -x -a "(__fish_credenza_names identities)"
"#;

/// Writes the completion script of a shell.
///
/// # Errors
/// If it cannot be written.
pub(crate) fn write_completions(shell: Shell, out: &mut dyn io::Write) -> io::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command(), "credenza", &mut script);
    let script = String::from_utf8_lossy(&script);
    let script = match shell {
        Shell::Bash => bash(&script),
        Shell::Zsh => zsh(&script),
        Shell::Fish => format!("{script}{FISH}"),
        _ => script.into_owned(),
    };
    out.write_all(script.as_bytes())
}

fn bash(script: &str) -> String {
    let command = command();
    let commands: Vec<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
    let names = BASH.replace("COMMANDS", &commands.join(" | "));
    script.replace("complete -F _credenza -o", "complete -F _credenza_with_names -o") + &names
}

fn zsh(script: &str) -> String {
    let with_names = |line: &str| {
        let bare = line.trim_start_matches(['\'', '*', '"']);
        let kind = ZSH_ARGUMENTS.iter().find(|(beginning, _)| bare.starts_with(beginning)).map(|(_, kind)| kind);
        match (kind, line.rsplit_once(":_default")) {
            (Some(kind), Some((spec, end))) => format!("{spec}:_credenza_{kind}{end}\n"),
            _ => format!("{line}\n"),
        }
    };
    let script: String = script.lines().map(with_names).collect();
    script.replacen(ZSH_END, &format!("{}{ZSH_END}", ZSH.trim_start()), 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(shell: Shell) -> String {
        let mut script = Vec::new();
        write_completions(shell, &mut script).unwrap();
        String::from_utf8(script).unwrap()
    }

    #[test]
    fn scripts_offer_names_of_the_daemon() {
        let bash = script(Shell::Bash);
        assert!(
            bash.contains("complete -F _credenza_with_names -o nosort") && !bash.contains("complete -F _credenza -o")
        );
        assert!(bash.contains(" | revoke | ") && bash.contains("--secret-access-key-file"));
        let zsh = script(Shell::Zsh);
        for kind in ["identities", "clients", "grants", "targets"] {
            assert!(zsh.contains(&format!(":_credenza_{kind}'")), "{kind}");
        }
        assert!(zsh.contains(&format!("_credenza_names targets \"$@\" }}\n\n{ZSH_END}")));
        assert!(script(Shell::Fish).contains("__fish_credenza_using_subcommand use"));
        assert!(!script(Shell::PowerShell).is_empty());
    }
}
