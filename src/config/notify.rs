//! Reads `[notify]`: the program that tells a person of the end of a login.

use crate::config::roles;
use crate::config::table::{ConfigErrors, TableSection};
use crate::source::spec::Program;

/// A program and its arguments, which may hold placeholders; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NotifyCommand(pub(crate) Vec<Box<str>>);

/// Reads the command. A line for a shell is refused: what is filled in would be read by the shell.
pub(super) fn read(mut section: TableSection<'_>, errors: &mut ConfigErrors) -> Option<NotifyCommand> {
    let at = section.at("command");
    let program = section.take("command").and_then(|entry| roles::process(entry, errors));
    section.close();
    match program? {
        Program::Words(words) if words.first().is_some_and(|program| !program.trim().is_empty()) => {
            Some(NotifyCommand(words))
        }
        _ => {
            let (at, path) = at?;
            errors.push(at, &path, "not a program and its arguments; write a list: [\"notify-send\", \"{command}\"]");
            None
        }
    }
}
