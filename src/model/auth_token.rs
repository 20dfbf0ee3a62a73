//! The rules for the text of an auth token.

/// The shortest token that is taken, in characters: fewer could be guessed.
pub(crate) const SHORTEST: usize = 32;

/// The longest token that is taken, in characters: request heads are limited.
pub(crate) const LONGEST: usize = 4096;

pub(crate) const NOT_VISIBLE: &str =
    "it holds something other than visible ASCII characters (printf '%s' writes no line break)";

/// What a header carries unchanged and every SDK sends: visible ASCII, and nothing at its end (several SDKs refuse a
/// token file that ends in a line break).
pub(crate) fn check(token: &str) -> Result<(), &'static str> {
    match token.len() {
        0 => Err("it is empty"),
        length if length < SHORTEST => Err("it is shorter than 32 characters"),
        length if length > LONGEST => Err("it is longer than 4096 characters"),
        _ if !token.bytes().all(|b| b.is_ascii_graphic()) => Err(NOT_VISIBLE),
        _ => Ok(()),
    }
}
