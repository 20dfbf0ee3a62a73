//! Files that a chain reads: opened safely, remembered, and watched.

use std::path::Path;

use zeroize::Zeroizing;

/// The files of this machine as one keeper sees them: it remembers what was read since [`Files::forget`]. The default
/// reaches nothing.
#[derive(Clone, Debug, Default)]
pub struct Files {}

/// What a file held, and whose it is.
#[derive(Debug)]
pub struct Contents {
    /// At most 16 MB; overwritten when dropped.
    pub bytes: Zeroizing<Vec<u8>>,
}

/// Why a file could not be read.
#[derive(Clone, Debug, thiserror::Error)]
#[error("files are not reachable here")]
pub struct FileError {}

impl Files {
    /// Reads a whole file, watching it first.
    ///
    /// # Errors
    /// When it is missing, unreadable, not regular or too large.
    #[allow(clippy::unused_async)]
    pub async fn read(&self, _path: &Path) -> Result<Contents, FileError> {
        Err(FileError {})
    }

    /// Begins a new record.
    pub fn forget(&self) {}

    /// Waits for a change.
    #[allow(clippy::unused_async)]
    pub async fn changed(&self) {
        std::future::pending::<()>().await;
    }
}
