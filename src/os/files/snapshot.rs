//! One read of a file, remembered without its content. It is how all readers tell that a file has changed.

use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::path::Path;
use std::sync::{Arc, LazyLock};

use crate::os::files::contents::{self, FileContents, FileError};
use crate::os::files::watcher::{WatchRegistry, WatchedFile};

/// The digest of what a read gave, and the version that the watched file had before. A later version is a reason to read the
/// file again, and another digest is a change.
#[derive(Clone)]
pub(crate) struct FileSnapshot {
    /// `None` without a watcher.
    watched: Option<(Arc<WatchedFile>, u64)>,
    digest: u64,
}

impl FileSnapshot {
    /// Reads a file, watching it first: a change during the read makes a later version. It may block.
    pub(crate) fn take(registry: Option<&WatchRegistry>, path: &Path) -> (Result<FileContents, FileError>, Self) {
        let watched = registry.map(|registry| {
            let file = registry.register(path);
            let version = file.version();
            (file, version)
        });
        let contents = contents::read(path);
        let digest = digest(&contents);
        (contents, Self { watched, digest })
    }

    /// Returns true if the watcher has seen no later version. A file that is not watched is never current.
    pub(crate) fn is_current(&self) -> bool {
        self.watched.as_ref().is_some_and(|(file, version)| file.version() == *version)
    }

    /// Returns the same after a look at the file, for readers that must not wait for the watcher. It may block.
    pub(crate) fn is_current_after_stat(&self, registry: Option<&WatchRegistry>) -> bool {
        if let (Some(registry), Some((file, _))) = (registry, &self.watched) {
            registry.look_at(file);
        }
        self.is_current()
    }

    /// Returns true if both reads gave the same content or the same error.
    pub(crate) fn has_content_of(&self, other: &Self) -> bool {
        self.digest == other.digest
    }

    /// Returns the path if the file is watched.
    pub(crate) fn path(&self) -> Option<&Path> {
        self.watched.as_ref().map(|(file, _)| file.path())
    }
}

/// Returns a number that is equal for equal content or the same error. Its key is drawn once per process.
fn digest(contents: &Result<FileContents, FileError>) -> u64 {
    static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    let mut hasher = KEY.build_hasher();
    match contents {
        Ok(contents) => {
            hasher.write_u8(1);
            // Include the owner: a chown changes trust.
            contents.owner.hash(&mut hasher);
            hasher.write(&contents.bytes);
        }
        Err(error) => hasher.write(error.to_string().as_bytes()),
    }
    hasher.finish()
}
