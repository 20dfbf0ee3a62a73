//! The rules for the text of an auth token.

/// The minimum length in characters. A shorter token could be guessed.
pub(crate) const SHORTEST: usize = 32;

/// The maximum length in characters. A longer token would not fit into a request head.
pub(crate) const LONGEST: usize = 4096;

pub(crate) const NOT_VISIBLE: &str =
    "it holds something other than visible ASCII characters (printf '%s' writes no line break)";

/// Checks that every SDK can send the token and that a header carries it unchanged.
///
/// A valid token is visible ASCII, without a line break at its end: several SDKs refuse a token file that ends in a
/// line break.
pub(crate) fn check(token: &str) -> Result<(), &'static str> {
    match token.len() {
        0 => Err("it is empty"),
        length if length < SHORTEST => Err("it is shorter than 32 characters"),
        length if length > LONGEST => Err("it is longer than 4096 characters"),
        _ if !token.bytes().all(|b| b.is_ascii_graphic()) => Err(NOT_VISIBLE),
        _ => Ok(()),
    }
}
