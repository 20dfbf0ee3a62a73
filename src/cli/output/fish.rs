//! Variables for fish.

use std::fmt::Write as _;

pub(crate) fn set(text: &mut String, name: &str, value: &str) {
    erase_local(text, name);
    text.push_str("set -gx ");
    text.push_str(name);
    text.push(' ');
    quote(text, value);
    text.push('\n');
}

/// Erases the global variable: inherited variables are global.
///
/// A universal variable is the user's setting for all shells, so it stays. The lines print a warning, because programs
/// see the universal variable.
pub(crate) fn unset(text: &mut String, name: &str) {
    erase_local(text, name);
    let _ = writeln!(text, "set -eg {name}");
    let warning =
        format!("credenza: {name} is still set as a universal variable and takes precedence; run: set -eU {name}");
    let _ = writeln!(text, "set -qUx {name}; and echo '{warning}' >&2");
}

/// Makes the exit code 0: `set -e` fails if there is no variable to erase.
pub(crate) fn end(text: &mut String) {
    text.push_str("true\n");
}

/// Erases the variables of functions and blocks, which take precedence over global ones. Each pass of the loop erases
/// the innermost.
fn erase_local(text: &mut String, name: &str) {
    let _ = writeln!(text, "while set -el {name}; end");
}

/// Quotes a value. Between single quotes only `\'` and `\\` are escapes (fish, "Quotes").
fn quote(text: &mut String, value: &str) {
    text.push('\'');
    for character in value.chars() {
        if matches!(character, '\'' | '\\') {
            text.push('\\');
        }
        text.push(character);
    }
    text.push('\'');
}
