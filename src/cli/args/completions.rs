//! Completion scripts. Those of bash, zsh, fish, nushell and tcsh ask the program at each key press, so that they know
//! the names of a running daemon and of the files. Those of elvish and PowerShell are clap's, and know commands and flags.
//!
//! A name is foreign text, so no script lets its shell evaluate one: `compgen -W` would.

use clap::ValueEnum;
use clap_complete::Shell;

use crate::cli::args::command;
use crate::cli::args::complete::path_flags;

/// A shell with a completion script.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum CompletionShell {
    Bash,
    Elvish,
    Fish,
    Nushell,
    Powershell,
    Tcsh,
    Zsh,
}

const TCSH: &str = include_str!("completions/tcsh.csh");

/// Returns the completion script of a shell.
pub(crate) fn completion_script(shell: CompletionShell) -> String {
    match shell {
        CompletionShell::Bash => include_str!("completions/bash.sh").to_owned(),
        CompletionShell::Zsh => include_str!("completions/zsh.sh").to_owned(),
        CompletionShell::Fish => include_str!("completions/fish.fish").to_owned(),
        CompletionShell::Nushell => include_str!("completions/nushell.nu").to_owned(),
        CompletionShell::Tcsh => tcsh(),
        CompletionShell::Elvish => static_script(Shell::Elvish),
        CompletionShell::Powershell => static_script(Shell::PowerShell),
    }
}

/// tcsh completes paths only by rules, each for the word after a flag.
fn tcsh() -> String {
    let rule = |(flag, is_folder): (String, bool)| format!("'n/{flag}/{}/'", if is_folder { 'd' } else { 'f' });
    let rules: Vec<String> = path_flags().into_iter().map(rule).collect();
    TCSH.replace("RULES", &rules.join(" "))
}

fn static_script(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command(), "credenza", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_has_a_script() {
        for shell in CompletionShell::value_variants() {
            let script = completion_script(*shell);
            assert!(script.contains("credenza"), "{shell:?}");
            let asks = script.contains("credenza complete");
            assert_eq!(asks, !matches!(shell, CompletionShell::Elvish | CompletionShell::Powershell), "{shell:?}");
        }
        let tcsh = completion_script(CompletionShell::Tcsh);
        assert!(tcsh.contains(" 'n/--token-file/f/' ") && tcsh.contains("'n/--dir/d/'"), "{tcsh}");
        assert!(!tcsh.contains("RULES"), "{tcsh}");
    }
}
