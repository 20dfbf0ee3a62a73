//! Lines for PowerShell, Windows PowerShell as well.

pub(crate) fn set(text: &mut String, name: &str, value: &str) {
    text.push_str("$env:");
    text.push_str(name);
    text.push_str(" = ");
    quote(text, value);
    text.push('\n');
}

/// `$null` takes a variable away (about_Environment_Variables); an empty text does so before 7.5 only.
pub(crate) fn unset(text: &mut String, name: &str) {
    text.push_str("$env:");
    text.push_str(name);
    text.push_str(" = $null\n");
}

/// Whether PowerShell takes a character for a single quote: the typographic ones are the same to it (language
/// specification, 2.3.5.2, single-quote-character).
fn is_single_quote(character: char) -> bool {
    matches!(character, '\'' | '\u{2018}'..='\u{201b}')
}

/// In a verbatim string everything stands for itself, but for single quotes, which are doubled (about_Quoting_Rules).
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
