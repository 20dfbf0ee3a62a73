//! Why there is no token.

use std::io;
use std::path::PathBuf;

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AuthTokenError {
    /// What stands in the file is no token of ours.
    #[error("token file {}: {reason}; mend or remove it, and a new one is made at the next start", path.display())]
    Unfit {
        /// The file.
        path: PathBuf,
        /// What is wrong, without the content.
        reason: String,
    },
    /// Another user could put a token of his own there.
    #[error("token folder {}: {reason}; choose a folder of your own with --token-file (in a shared volume, one below it)", path.display())]
    OpenFolder {
        /// The folder.
        path: PathBuf,
        /// Who could.
        reason: String,
    },
    /// The file system says no.
    #[error("token file {}: cannot {what}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// What came of it.
        error: io::Error,
    },
    /// The group that is meant to read it is not ours to give.
    #[error("token file {}: cannot give {what} to group {group}: {error}; be a member of that group, or choose another", path.display())]
    Group {
        /// The file.
        path: PathBuf,
        /// The file or its folder.
        what: &'static str,
        /// The group.
        group: u32,
        /// What came of it.
        error: io::Error,
    },
    /// None of the default places can be used.
    #[error("no place for the token file: {0}; --token-file names one")]
    Nowhere(String),
}
