//! Completion: finds what a shell may offer for the last word of a command line.
//!
//! The scripts of all shells ask here, so that each shell offers the same. It reads clap's definition of the command
//! line, and no more of the line than its grammar: words that clap would refuse are passed over.

use std::ffi::OsString;
use std::fmt::Write as _;

use clap::{Arg, ArgAction};

use crate::cli::args::command;
use crate::cli::control::complete_names::NameKind;

/// The options of a typed line that say where names come from.
const SOURCES_OF_NAMES: [&str; 3] = ["config", "token_file", "control_socket"];

/// The sorts of words that a shell itself completes best.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ShellWords {
    /// The offered words are all there are.
    None,
    Files,
    Folders,
    /// The command line of another program, after `--`.
    Command,
}

/// The form of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CompletionForm {
    /// A line with the words that the shell completes, then `WORD<TAB>DESCRIPTION` a line
    Lines,
    /// Words alone, for the line in COMMAND_LINE, as tcsh asks
    Tcsh,
}

/// The answer for one word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Completion {
    pub(crate) shell_words: ShellWords,
    /// The words with their descriptions.
    pub(crate) words: Vec<(String, String)>,
    /// The names to add, of a running daemon or of files.
    pub(crate) names: Option<NameKind>,
    /// The beginning of the word before a name: `--identity=`.
    prefix: String,
    form: CompletionForm,
    /// The options of the line that say where names come from, with their values.
    pub(crate) sources: Vec<(&'static str, String)>,
}

impl Completion {
    fn nothing(form: CompletionForm) -> Self {
        let (words, names, prefix, sources) = (Vec::new(), None, String::new(), Vec::new());
        Self { shell_words: ShellWords::None, words, names, prefix, form, sources }
    }

    /// Returns the output with these names. A name that a line cannot hold is left out.
    pub(crate) fn text<'n>(&self, names: impl IntoIterator<Item = &'n str>) -> String {
        let mut text = String::new();
        if self.form == CompletionForm::Lines {
            text += match self.shell_words {
                ShellWords::None => "words\n",
                ShellWords::Files => "files\n",
                ShellWords::Folders => "folders\n",
                ShellWords::Command => "command\n",
            };
        }
        for (word, description) in &self.words {
            let _ = match self.form {
                CompletionForm::Lines => writeln!(text, "{}{word}\t{description}", self.prefix),
                CompletionForm::Tcsh => writeln!(text, "{}{word}", self.prefix),
            };
        }
        for name in names {
            let is_plain = |c: char| !c.is_control() && (self.form == CompletionForm::Lines || !c.is_whitespace());
            // tcsh evaluates nothing of a list, and splits it at white space.
            if name.chars().all(is_plain) {
                let _ = writeln!(text, "{}{name}", self.prefix);
            }
        }
        text
    }
}

/// Returns the words of a line of tcsh, without quotes. The last one ends at the cursor.
pub(crate) fn words_of_line(line: &str) -> Vec<OsString> {
    let mut words = vec![String::new()];
    let (mut quote, mut escaped) = (None, false);
    for c in line.trim_start().chars() {
        let last = words.last_mut().expect("the list begins with a word");
        match (c, quote) {
            _ if escaped => {
                last.push(c);
                escaped = false;
            }
            ('\\', None) => escaped = true,
            ('\'' | '"', None) => quote = Some(c),
            (c, Some(open)) if c == open => quote = None,
            (' ' | '\t', None) if last.is_empty() => {}
            (' ' | '\t', None) => words.push(String::new()),
            _ => last.push(c),
        }
    }
    words.into_iter().skip(1).map(OsString::from).collect()
}

/// Finds the words that continue a line. The words begin after the name of the program; the last one, which may be
/// empty, is completed.
pub(crate) fn complete(words: &[OsString], form: CompletionForm) -> Completion {
    let mut root = command();
    root.build();
    let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
    let Some((current, before)) = words.split_last() else { return Completion::nothing(form) };
    let mut completion = Completion::nothing(form);
    let line = TypedLine::read(&root, before, &mut completion.sources);
    let current: &str = if line.option.is_some() && current == "=" { "" } else { current };
    match (line.option, current.split_once('=')) {
        (Some(option), _) => offer_values(&mut completion, option, line.command.get_name()),
        (None, _) if line.is_escaped => {
            if line.command.get_positionals().any(Arg::is_last_set) {
                completion.shell_words = ShellWords::Command;
            }
        }
        (None, Some((flag, _))) if flag.starts_with("--") => {
            if let Some(option) = find_option(line.command, flag) {
                completion.prefix = format!("{flag}=");
                offer_values(&mut completion, option, line.command.get_name());
            }
        }
        (None, _) if current.starts_with('-') => completion.words = flags(line.command, true),
        (None, _) => {
            completion.words = subcommands(line.command);
            if let Some(argument) = line.argument() {
                offer_values(&mut completion, argument, line.command.get_name());
            }
            let is_empty = completion.words.is_empty() && completion.names.is_none();
            if is_empty && completion.shell_words == ShellWords::None && current.is_empty() {
                completion.words = flags(line.command, false);
            }
        }
    }
    let beginning = current.strip_prefix(&*completion.prefix).unwrap_or(current);
    completion.words.retain(|(word, _)| word.starts_with(beginning));
    completion
}

/// The part of a line before the completed word.
struct TypedLine<'c> {
    command: &'c clap::Command,
    /// The option whose value comes next.
    option: Option<&'c Arg>,
    /// The number of arguments that are no options.
    arguments: usize,
    /// True after `--`.
    is_escaped: bool,
}

impl<'c> TypedLine<'c> {
    fn read(root: &'c clap::Command, words: &[impl AsRef<str>], sources: &mut Vec<(&'static str, String)>) -> Self {
        let mut line = Self { command: root, option: None, arguments: 0, is_escaped: false };
        let mut remember = |option: &Arg, value: &str| {
            sources.extend(SOURCES_OF_NAMES.iter().filter(|id| *option.get_id() == **id).map(|id| (*id, value.into())));
        };
        for word in words.iter().map(AsRef::as_ref) {
            if let Some(option) = line.option {
                // bash makes a word of its own of the sign in --option=value.
                if word != "=" {
                    remember(option, word);
                    line.option = None;
                }
            } else if line.is_escaped {
            } else if word == "--" {
                line.is_escaped = true;
            } else if word.starts_with("--") {
                match word.split_once('=') {
                    Some((flag, value)) => {
                        if let Some(option) = find_option(line.command, flag) {
                            remember(option, value);
                        }
                    }
                    None => line.option = find_option(line.command, word),
                }
            } else if word.len() > 1 && word.starts_with('-') {
            } else if let Some(subcommand) = line.command.find_subcommand(word) {
                (line.command, line.arguments) = (subcommand, 0);
            } else {
                line.arguments += 1;
            }
        }
        line
    }

    /// Returns the argument that the completed word may be.
    fn argument(&self) -> Option<&'c Arg> {
        let mut positionals = self.command.get_positionals().filter(|argument| !argument.is_last_set());
        positionals.nth(self.arguments)
    }
}

/// Returns the option of this flag, if it has a value.
fn find_option<'c>(command: &'c clap::Command, flag: &str) -> Option<&'c Arg> {
    let flag = flag.strip_prefix("--")?;
    let has_value = |arg: &&Arg| matches!(arg.get_action(), ArgAction::Set | ArgAction::Append);
    command.get_arguments().filter(has_value).find(|arg| arg.get_long() == Some(flag))
}

/// Returns the flags of a command, with those that all commands share if `shared` says so.
fn flags(command: &clap::Command, shared: bool) -> Vec<(String, String)> {
    let arguments =
        command.get_arguments().filter(|arg| !arg.is_hide_set() && (shared || !arg.is_hide_short_help_set()));
    arguments.filter_map(|arg| Some((format!("--{}", arg.get_long()?), description(arg.get_help())))).collect()
}

fn subcommands(command: &clap::Command) -> Vec<(String, String)> {
    let visible = command.get_subcommands().filter(|subcommand| !subcommand.is_hide_set());
    visible.map(|subcommand| (subcommand.get_name().to_owned(), description(subcommand.get_about()))).collect()
}

fn description(help: Option<&clap::builder::StyledStr>) -> String {
    help.map(ToString::to_string).unwrap_or_default().replace(['\t', '\n'], " ")
}

/// Adds the values of an option or an argument.
fn offer_values(completion: &mut Completion, argument: &Arg, command: &str) {
    completion.names = match (argument.get_id().as_str(), command) {
        ("names", _) | ("identity_name", "whoami") => Some(NameKind::Targets),
        ("identity" | "identity_name" | "imds_identity", _) => Some(NameKind::Identities),
        ("client", _) => Some(NameKind::Clients),
        ("grant_name", _) => Some(NameKind::Grants),
        ("profile", _) => Some(NameKind::Profiles),
        ("sso_session", _) => Some(NameKind::SsoSessions),
        _ => None,
    };
    if (argument.get_id().as_str(), command) == ("words", "help") {
        let mut root = super::command();
        root.build();
        completion.words.extend(subcommands(&root));
    }
    let possible = argument.get_possible_values();
    let visible = possible.iter().filter(|value| !value.is_hide_set());
    completion.words.extend(visible.map(|value| (value.get_name().to_owned(), description(value.get_help()))));
    completion.shell_words = match argument.get_value_names().unwrap_or_default() {
        [name, ..] if matches!(name.as_str(), "FILE" | "PATH") => ShellWords::Files,
        [name, ..] if name.as_str() == "FOLDER" => ShellWords::Folders,
        _ => completion.shell_words,
    };
}

/// Returns the flags with paths as values, and true for a folder. tcsh completes them by rules of its own.
pub(crate) fn path_flags() -> Vec<(String, bool)> {
    fn collect(command: &clap::Command, found: &mut Vec<(String, bool)>) {
        for arg in command.get_arguments() {
            let kind = arg.get_value_names().and_then(|names| match names.first()?.as_str() {
                "FILE" | "PATH" => Some(false),
                "FOLDER" => Some(true),
                _ => None,
            });
            if let (Some(long), Some(is_folder)) = (arg.get_long(), kind) {
                found.push((format!("--{long}"), is_folder));
            }
        }
        command.get_subcommands().for_each(|subcommand| collect(subcommand, found));
    }
    let mut found = Vec::new();
    collect(&command(), &mut found);
    found.sort();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completed(line: &str) -> Completion {
        let words: Vec<OsString> = line.split(' ').map(Into::into).collect();
        complete(&words, CompletionForm::Lines)
    }

    fn words(completion: &Completion) -> Vec<&str> {
        completion.words.iter().map(|(word, _)| word.as_str()).collect()
    }

    #[test]
    fn offers_what_the_grammar_allows() {
        for (line, expected) in [
            ("ch", &["check"][..]),
            ("--profile dev ch", &["check"]),
            ("--config=x ch", &["check"]),
            ("get --format f", &["fish"]),
            ("get --identity a --format f", &["fish"]),
            ("get --format=po", &["powershell"]),
            ("get --format = f", &["fish"]),
            ("get --from-daemon --fr", &["--from-daemon"]),
            ("token ", &["show", "rotate"]),
            ("token rotate --cl", &["--client"]),
            ("help ch", &["check"]),
            ("exec -- ch", &[]),
            ("get --policy ", &[]),
            ("whoami prod --veri", &["--verify"]),
            ("completions t", &["tcsh"]),
            ("complete", &[]),
        ] {
            assert_eq!(words(&completed(line)), expected, "{line}");
        }
        assert!(words(&completed("get --")).contains(&"--token-file"), "shared options are offered after a dash");
        let own = completed("reload ");
        assert!(words(&own).contains(&"--json") && !words(&own).contains(&"--token-file"), "{own:?}");
    }

    #[test]
    fn says_which_names_and_files_are_next() {
        for (line, names, shell_words) in [
            ("use ", Some(NameKind::Identities), ShellWords::None),
            ("use --for 1h ", Some(NameKind::Identities), ShellWords::None),
            ("--config x exec ", Some(NameKind::Targets), ShellWords::None),
            ("exec a ", None, ShellWords::None),
            ("exec --profile ", Some(NameKind::Profiles), ShellWords::None),
            ("--profile=d", Some(NameKind::Profiles), ShellWords::None),
            ("login --sso-session ", Some(NameKind::SsoSessions), ShellWords::None),
            ("token show --client ", Some(NameKind::Clients), ShellWords::None),
            ("revoke ", Some(NameKind::Grants), ShellWords::None),
            ("grant b --identity ", Some(NameKind::Identities), ShellWords::None),
            ("--config ", None, ShellWords::Files),
            ("exec --policy ", None, ShellWords::Files),
            ("exec a -- aws ", None, ShellWords::Command),
            ("check -- ", None, ShellWords::None),
        ] {
            let found = completed(line);
            assert_eq!((found.names, found.shell_words), (names, shell_words), "{line}");
        }
    }

    #[test]
    fn remembers_options_that_say_where_names_come_from() {
        let found = completed("--token-file t use --control-socket=s --for 1h --config = c ");
        assert_eq!(found.sources, [("token_file", "t".into()), ("control_socket", "s".into()), ("config", "c".into())]);
    }

    #[test]
    fn prints_names_that_a_line_can_hold() {
        let names = ["b", "a b", "c\nd", "\u{1b}[2J"];
        assert_eq!(completed("use ").text(names), "words\nb\na b\n");
        assert_eq!(completed("get --identity=").text(names), "words\n--identity=b\n--identity=a b\n");
        let tcsh = complete(&words_of_line("credenza use "), CompletionForm::Tcsh);
        assert_eq!(tcsh.text(names), "b\n");
    }

    #[test]
    fn splits_lines_of_tcsh() {
        for (line, expected) in [
            ("credenza ", &[""][..]),
            ("credenza use", &["use"]),
            ("  credenza  use 'a b' \"c\\ d", &["use", "a b", "c\\ d"]),
            ("credenza a\\ b ", &["a b", ""]),
            ("credenza", &[]),
            ("", &[]),
        ] {
            assert_eq!(words_of_line(line), expected, "{line}");
        }
    }
}
