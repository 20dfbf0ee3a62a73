//! Lines for fish.

pub(super) fn set(text: &mut String, name: &str, value: &str) {
    text.push_str("set -gx ");
    text.push_str(name);
    text.push(' ');
    quote(text, value);
    text.push('\n');
}

/// What the shell inherited is global. A universal variable is somebody's setting for all shells and stays.
pub(super) fn unset(text: &mut String, name: &str) {
    text.push_str("set -eg ");
    text.push_str(name);
    text.push('\n');
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
