//! The broker's own token: what somebody gave, and what stands in its file.
#![cfg_attr(fuzzing, no_main)]

use credenza::secret::Secret;
use credenza::token::{TokenFile, given};
use http::HeaderValue;
use tempfile::TempDir;

pub fn check(data: &[u8]) {
    let fit = (32..=4096).contains(&data.len()) && data.iter().all(u8::is_ascii_graphic);
    let from_file = read(data);
    assert_eq!(from_file.is_ok(), fit);
    if let Ok(text) = std::str::from_utf8(data) {
        assert_eq!(given(text).ok(), from_file.as_ref().ok().cloned());
    }
    match from_file {
        Ok(token) => {
            assert_eq!(token.expose().as_bytes(), data);
            assert!(HeaderValue::from_str(token.expose()).is_ok());
        }
        Err(error) => {
            let longest = data.split(|b| !b.is_ascii_graphic()).max_by_key(|run| run.len()).unwrap_or_default();
            // No word of the message is as long.
            let run = std::str::from_utf8(longest).unwrap_or_default();
            assert!(run.len() < 16 || !error.contains(run), "{error}");
        }
    }
}

thread_local! {
    static FOLDER: TempDir = tempfile::tempdir().expect("a temporary folder can be made");
}

/// The token in a file, or the message without the path.
fn read(data: &[u8]) -> Result<Secret, String> {
    let path = FOLDER.with(|folder| folder.path().join("token"));
    std::fs::write(&path, data).expect("a temporary file can be written");
    let file = TokenFile { path, group: None };
    file.read().map_err(|error| error.to_string().replace(&*file.path.to_string_lossy(), ""))
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| check(data));
