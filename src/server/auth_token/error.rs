//! The errors of the auth token file.

use std::io;
use std::path::PathBuf;

use crate::model::text::Escaped;

/// The reason why the auth token cannot be read or made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AuthTokenError {
    #[error("token file {}: {reason}; fix or remove it: the next start makes a new one", Escaped(&path.to_string_lossy()))]
    Unfit {
        path: PathBuf,
        /// The reason why the token is invalid, without the content of the file.
        reason: String,
    },
    /// The file that the user has written holds no valid token.
    #[error("auth token file {}: {reason}; write 32 to 4096 visible ASCII characters there, in one line", Escaped(&path.to_string_lossy()))]
    Given { path: PathBuf, reason: String },
    /// Another user could replace the token.
    #[error("token folder {}: {reason}; choose a folder of your own with --token-file (in a shared volume, one below it)", Escaped(&path.to_string_lossy()))]
    OpenFolder { path: PathBuf, reason: String },
    #[error("token file {}: cannot {what}: {error}", Escaped(&path.to_string_lossy()))]
    Io {
        path: PathBuf,
        /// The operation that failed.
        what: &'static str,
        error: io::Error,
    },
    #[error("token file {}: cannot give {what} to group {group}: {error}; join that group, or choose another", Escaped(&path.to_string_lossy()))]
    Group {
        path: PathBuf,
        /// The file or its folder, in words.
        what: &'static str,
        group: u32,
        error: io::Error,
    },
    #[error("no location for the token file: {0}; choose one with --token-file")]
    Nowhere(String),
}

impl AuthTokenError {
    /// Returns the error for a file that the user has written. No start makes another one.
    pub(crate) fn of_given_file(self) -> Self {
        match self {
            Self::Unfit { path, reason } => Self::Given { path, reason },
            error => error,
        }
    }
}
