//! Variables for PowerShell and Windows PowerShell.

pub(crate) fn set(text: &mut String, name: &str, value: &str) {
    text.push_str("$env:");
    text.push_str(name);
    text.push_str(" = ");
    quote(text, value);
    text.push('\n');
}

/// Unsets a variable with `$null` (about_Environment_Variables). An empty text unsets it only before version 7.5.
pub(crate) fn unset(text: &mut String, name: &str) {
    text.push_str("$env:");
    text.push_str(name);
    text.push_str(" = $null\n");
}

/// Returns true if PowerShell treats a character as a single quote. It accepts the typographic ones, too (language
/// specification, 2.3.5.2, single-quote-character).
fn is_single_quote(character: char) -> bool {
    matches!(character, '\'' | '\u{2018}'..='\u{201b}')
}

/// Quotes a value as a verbatim string. It preserves every character; single quotes are doubled (about_Quoting_Rules).
fn quote(text: &mut String, value: &str) {
    text.push('\'');
    for character in value.chars() {
        if is_single_quote(character) {
            text.push(character);
        }
        text.push(character);
    }
    text.push('\'');
}
