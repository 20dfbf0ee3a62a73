//! `credenza man`: the manual pages, made of the definition of the command line.

use std::io;
use std::path::{Path, PathBuf};

use crate::cli::args::command;
use crate::config::value;
use crate::model::text::Escaped;

/// The request of `man`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ManualRequest {
    /// Prints the page of a command; that of the program if there are no words.
    Print(Vec<String>),
    /// Writes all pages into a folder, which is created if missing.
    Write(PathBuf),
}

#[derive(clap::Args)]
pub(crate) struct ManualArguments {
    /// The command [default: credenza itself]
    #[arg(value_name = "COMMAND", num_args = 0..)]
    words: Vec<String>,

    /// Write all pages into this folder; created if missing
    #[arg(long, env = "CREDENZA_DIR", value_name = "FOLDER", value_parser = value::path, conflicts_with = "words")]
    dir: Option<PathBuf>,
}

impl ManualArguments {
    pub(crate) fn request(self) -> ManualRequest {
        self.dir.map_or(ManualRequest::Print(self.words), ManualRequest::Write)
    }
}

/// Returns the definition for pages, which do not depend on the width of a terminal.
fn definition() -> clap::Command {
    command().term_width(100)
}

/// Writes the manual pages, one for each command, into a folder.
///
/// # Errors
/// If the folder or a file in it cannot be created.
pub(crate) fn write_manual(folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    clap_mangen::generate_to(definition(), folder)
}

/// Returns the page of a command.
///
/// # Errors
/// If there is no such command.
pub(crate) fn page(words: &[String]) -> Result<String, String> {
    let mut command = definition();
    command.build();
    let mut found = &command;
    for word in words {
        found = found.find_subcommand(word).filter(|command| !command.is_hide_set()).ok_or_else(|| {
            let line = words.join(" ");
            format!("there is no command `credenza {}`; `credenza help` lists them", Escaped(&line))
        })?;
    }
    let mut page = Vec::new();
    let rendered = clap_mangen::Man::new(found.clone()).render(&mut page);
    rendered.map_err(|error| format!("cannot make the page: {error}"))?;
    Ok(String::from_utf8_lossy(&page).into_owned())
}
