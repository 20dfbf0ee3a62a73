//! The auth token, from the configuration and from its file.

use http::HeaderValue;
use tempfile::TempDir;

use crate::model::auth_token;
use crate::model::secret::Secret;
use crate::server::auth_token::AuthTokenFile;

pub fn check(data: &[u8]) {
    let is_valid = (32..=4096).contains(&data.len()) && data.iter().all(u8::is_ascii_graphic);
    let from_file = read(data);
    // A file may end with a line break, which is no part of the token.
    let line = data.strip_suffix(b"\n").map_or(data, |line| line.strip_suffix(b"\r").unwrap_or(line));
    let is_valid_line = (32..=4096).contains(&line.len()) && line.iter().all(u8::is_ascii_graphic);
    assert_eq!(from_file.is_ok(), is_valid_line);
    if let Ok(text) = std::str::from_utf8(data) {
        assert_eq!(auth_token::check(text).is_ok(), is_valid);
    }
    match from_file {
        Ok(token) => {
            assert_eq!(token.expose().as_bytes(), line);
            assert!(HeaderValue::from_str(token.expose()).is_ok());
        }
        Err(error) => {
            let longest = data.split(|b| !b.is_ascii_graphic()).max_by_key(|run| run.len()).unwrap_or_default();
            // Every word of the message itself is shorter.
            let run = std::str::from_utf8(longest).unwrap_or_default();
            assert!(run.len() < 16 || !error.contains(run), "{error}");
        }
    }
}

thread_local! {
    static FOLDER: TempDir = tempfile::tempdir().expect("the temporary folder is writable");
}

/// Returns the token in a file with these bytes, or the error message without the path.
fn read(data: &[u8]) -> Result<Secret, String> {
    let path = FOLDER.with(|folder| folder.path().join("token"));
    std::fs::write(&path, data).expect("the temporary folder is writable");
    let file = AuthTokenFile { path, group: None };
    file.read().map(|(token, _)| token).map_err(|error| error.to_string().replace(&*file.path.to_string_lossy(), ""))
}
