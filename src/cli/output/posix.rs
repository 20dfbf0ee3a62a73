//! Variables for a POSIX shell.

pub(crate) fn set(text: &mut String, name: &str, value: &str) {
    text.push_str("export ");
    text.push_str(name);
    text.push('=');
    quote(text, value);
    text.push('\n');
}

pub(crate) fn unset(text: &mut String, name: &str) {
    text.push_str("unset ");
    text.push_str(name);
    text.push('\n');
}

/// Quotes a value. Single quotes preserve every character except the single quote (POSIX.1-2024, 2.2.2).
fn quote(text: &mut String, value: &str) {
    text.push('\'');
    for character in value.chars() {
        match character {
            '\'' => text.push_str("'\\''"),
            _ => text.push(character),
        }
    }
    text.push('\'');
}
