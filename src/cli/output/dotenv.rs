//! Lines for a `.env` file, as python-dotenv and Docker Compose both read it.

use crate::cli::output::UnwritableValue;

/// The two agree on less than each of them can read: without quotes Compose replaces `$NAME`, with single ones
/// python-dotenv replaces `${NAME}` all the same and reads `\\` as one backslash where Compose reads two.
pub(crate) fn set(text: &mut String, name: &'static str, value: &str) -> Result<(), UnwritableValue> {
    if value.chars().any(char::is_control) {
        return Err(UnwritableValue { name, why: "it holds a control character" });
    }
    text.push_str(name);
    text.push('=');
    if value.chars().all(is_plain) {
        text.push_str(value);
    } else {
        quote(text, value).map_err(|why| UnwritableValue { name, why })?;
    }
    text.push('\n');
    Ok(())
}

/// A file can take nothing away. AWS SDKs take a blank variable of a key for one that is not set.
pub(crate) fn unset(text: &mut String, name: &str) {
    text.push_str(name);
    text.push_str("=\n");
}

/// What means itself to both without quotes, wherever it stands.
fn is_plain(character: char) -> bool {
    character.is_ascii_alphanumeric() || "!%&()*+,-./:;<=>?@[\\]^_{|}~".contains(character)
}

/// Between single quotes `\'` is a quote to both, and a backslash before anything but a quote or a backslash is one.
fn quote(text: &mut String, value: &str) -> Result<(), &'static str> {
    if value.contains("${") {
        return Err("it holds ${, which python-dotenv replaces even between single quotes");
    }
    if ["\\\\", "\\'"].iter().any(|read_apart| value.contains(read_apart)) || value.ends_with('\\') {
        return Err("it holds a backslash that python-dotenv and Compose read differently");
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
