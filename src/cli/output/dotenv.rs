//! Variables for a `.env` file that python-dotenv and Docker Compose read alike.

use crate::cli::output::UnwritableValue;

/// Writes a value in a form that both programs read alike.
///
/// Without quotes Compose expands `$NAME`. With single quotes python-dotenv still expands `${NAME}`, and it reads `\\`
/// as one backslash, but Compose reads two.
pub(crate) fn set(text: &mut String, name: &'static str, value: &str) -> Result<(), UnwritableValue> {
    if value.chars().any(char::is_control) {
        return Err(UnwritableValue { name, reason: "it contains a control character" });
    }
    text.push_str(name);
    text.push('=');
    if value.chars().all(is_plain) {
        text.push_str(value);
    } else {
        quote(text, value).map_err(|reason| UnwritableValue { name, reason })?;
    }
    text.push('\n');
    Ok(())
}

/// Writes a blank value, since a file cannot unset a variable. AWS SDKs treat a blank key variable as unset.
pub(crate) fn unset(text: &mut String, name: &str) {
    text.push_str(name);
    text.push_str("=\n");
}

/// Returns true if both programs read this character literally without quotes, at any position.
fn is_plain(character: char) -> bool {
    character.is_ascii_alphanumeric() || "!%&()*+,-./:;<=>?@[\\]^_{|}~".contains(character)
}

/// Quotes a value. Between single quotes both programs read `\'` as a quote, and a backslash before another character
/// literally.
fn quote(text: &mut String, value: &str) -> Result<(), &'static str> {
    if value.contains("${") {
        return Err("it contains ${, which python-dotenv expands even between single quotes");
    }
    if ["\\\\", "\\'"].iter().any(|ambiguous| value.contains(ambiguous)) || value.ends_with('\\') {
        return Err("it contains a backslash that python-dotenv and Compose read differently");
    }
    text.push('\'');
    for character in value.chars() {
        if character == '\'' {
            text.push('\\');
        }
        text.push(character);
    }
    text.push('\'');
    Ok(())
}
