//! Asks a person before a file of theirs is changed.

use std::io::{self, BufRead, IsTerminal, Write};

use crate::cli::error::CommandError;

/// Returns true if the person at the terminal agrees.
///
/// # Errors
/// If there is no terminal at which a person could be asked.
pub(crate) fn confirm(question: &str) -> Result<bool, CommandError> {
    let (input, mut screen) = (io::stdin(), io::stderr());
    if !input.is_terminal() || !screen.is_terminal() {
        return Err(CommandError::new("nothing is written: there is no terminal to ask at. Add --yes"));
    }
    let asked = write!(screen, "{question} [y/N] ").and_then(|()| screen.flush());
    let mut answer = String::new();
    asked
        .and_then(|()| input.lock().read_line(&mut answer))
        .map_err(|error| CommandError::new(format!("nothing is written: cannot ask: {error}. Add --yes")))?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}
