//! Lines for fish.

use std::fmt::Write as _;

pub(crate) fn set(text: &mut String, name: &str, value: &str) {
    erase_local(text, name);
    text.push_str("set -gx ");
    text.push_str(name);
    text.push(' ');
    quote(text, value);
    text.push('\n');
}

/// What the shell inherited is global. A universal variable is somebody's setting for all shells and stays, though
/// programs find it: no other scope hides it from them.
pub(crate) fn unset(text: &mut String, name: &str) {
    erase_local(text, name);
    let _ = writeln!(text, "set -eg {name}");
    let told = format!("credenza: {name} is still set as a universal variable and would win: set -eU {name}");
    let _ = writeln!(text, "set -qUx {name}; and echo '{told}' >&2");
}

/// Neither setting a variable nor not finding one to erase is an outcome: having come to the end is.
pub(crate) fn end(text: &mut String) {
    text.push_str("true\n");
}

/// Those of functions and blocks go before global ones; each time the innermost of them is erased, as long as there is
/// one.
fn erase_local(text: &mut String, name: &str) {
    let _ = writeln!(text, "while set -el {name}; end");
}

/// Between single quotes only `\'` and `\\` mean something else than they say (fish, "Quotes").
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
