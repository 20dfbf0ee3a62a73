//! The help of commands: what belongs to the command comes first, and `--help-all` adds the options that all share.

use clap::builder::{BoolishValueParser, Resettable};
use clap::error::ErrorKind;
use clap::{Arg, ArgAction};

use crate::cli::args::command;

/// The command that a person asks about.
#[derive(clap::Args)]
pub(crate) struct HelpArguments {
    /// The command [default: an overview]
    #[arg(value_name = "COMMAND", num_args = 0..)]
    words: Vec<String>,

    /// Add the options that all commands share
    #[arg(long, env = "CREDENZA_ALL", value_parser = BoolishValueParser::new())]
    all: bool,
}

impl HelpArguments {
    /// Returns the help of the command as the error by which clap prints help.
    pub(crate) fn answer(&self) -> clap::Error {
        let flag = if self.all { "--help-all" } else { "--help" };
        let line = std::iter::once("credenza").chain(self.words.iter().map(String::as_str)).chain([flag]);
        command().try_get_matches_from(line).err().unwrap_or_else(|| {
            command().error(ErrorKind::InvalidValue, "`credenza help` takes the name of a command; remove the rest")
        })
    }
}

/// Gives a command and its subcommands `--help`, `--help-all`, and a line that names the shared options.
pub(crate) fn with_help(command: clap::Command) -> clap::Command {
    let name = command.get_name().to_owned();
    // The heading of the options before would hold for these, too.
    let flag = |id: &'static str| Arg::new(id).long(id).global(true).help_heading(Resettable::Reset);
    let help = flag("help").short('h').action(ArgAction::HelpShort).help("Print help");
    let all = flag("help-all").action(ArgAction::HelpLong).help("Print help with the options that all commands share");
    with_footer(command.disable_help_flag(true).arg(help).arg(all), &name)
}

fn with_footer(command: clap::Command, path: &str) -> clap::Command {
    let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let footer = format!("Shared options, such as {}: {path} --help-all", shared_options(path));
    let short = if after.is_empty() { footer } else { format!("{after}\n\n{footer}") };
    let command = command.disable_help_subcommand(true).after_help(short);
    let command = if after.is_empty() { command } else { command.after_long_help(after) };
    command.mut_subcommands(|subcommand| {
        let path = format!("{path} {}", subcommand.get_name());
        with_footer(subcommand, &path)
    })
}

/// Returns the shared options that people need most often for a command.
fn shared_options(path: &str) -> &'static str {
    match path.strip_prefix("credenza ").unwrap_or_default() {
        "" | "serve" | "check" => "--profile, --config and --listen",
        "get" | "exec" => "--profile, --region and --config",
        "setup" | "setup profile" => "--profile, --region and --config-file",
        "login" | "logout" | "profiles" => "--profile and --config-file",
        _ => "--config and --token-file",
    }
}
