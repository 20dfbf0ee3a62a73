//! One read of a file without its content. All readers detect changes with it.

use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::path::Path;
use std::sync::{Arc, LazyLock};

use crate::os::files::contents::{self, FileContents, FileError};
use crate::os::files::watcher::WatchRegistry;
use crate::os::files::watcher::file::WatchedFile;

/// The digest of a read, and the version of the watched file before it. A later version is a reason to read the file again.
/// Another digest is a change.
#[derive(Clone)]
pub(crate) struct FileSnapshot {
    /// `None` without a watcher.
    watched: Option<(Arc<WatchedFile>, u64)>,
    digest: u64,
}

impl FileSnapshot {
    /// Reads a file. It is watched first, so that a change during the read makes a later version. Blocks on the file system.
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

    /// Checks the file itself first, for readers that must not wait for the watcher. Blocks on the file system.
    pub(crate) fn is_current_after_stat(&self, registry: Option<&WatchRegistry>) -> bool {
        if let (Some(registry), Some((file, _))) = (registry, &self.watched) {
            registry.check_now(file);
        }
        self.is_current()
    }

    /// Returns true if both reads gave equal content or an equal error.
    pub(crate) fn has_content_of(&self, other: &Self) -> bool {
        self.digest == other.digest
    }

    /// Returns the path if the file is watched.
    pub(crate) fn path(&self) -> Option<&Path> {
        self.watched.as_ref().map(|(file, _)| file.path())
    }
}

/// Returns a number that is equal for equal content or equal errors. Its key is drawn once per process.
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
