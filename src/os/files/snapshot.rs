//! A record of one read of a file, without the content. Readers detect changes with it.

use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::path::Path;
use std::sync::{Arc, LazyLock};

use crate::os::files::contents::{FileContents, FileError, FileReader};
use crate::os::files::watcher::WatchRegistry;
use crate::os::files::watcher::file::WatchedFile;

/// The digest of a read, and the version of the watched file before the read. If the version grows, the file is read
/// again. If the digest then differs, the file has changed.
#[derive(Clone)]
pub(crate) struct FileSnapshot {
    /// The watched file and its version. `None` without a watcher.
    watched: Option<(Arc<WatchedFile>, u64)>,
    /// The maximum size of the file, in bytes.
    pub(crate) limit: u64,
    digest: u64,
}

impl FileSnapshot {
    /// Reads a file. The watch starts first, so that a change during the read makes a new version. Blocks on the file
    /// system.
    pub(crate) fn take(
        reader: &FileReader,
        registry: Option<&WatchRegistry>,
        path: &Path,
        limit: u64,
    ) -> (Result<FileContents, FileError>, Self) {
        let watched = registry.map(|registry| {
            let file = registry.register(path);
            let version = file.version();
            (file, version)
        });
        let contents = reader.read(path, limit);
        let digest = digest(&contents);
        (contents, Self { watched, limit, digest })
    }

    /// Returns true if the watched file has no later version. A file that is not watched is never current.
    pub(crate) fn is_current(&self) -> bool {
        self.watched.as_ref().is_some_and(|(file, version)| file.version() == *version)
    }

    /// Like [`Self::is_current`], but checks the metadata of the file first, because the watcher may be late. Blocks on
    /// the file system.
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

/// Returns a hash of the path's facts and the content, or of the error. The hash key is random in each process.
fn digest(contents: &Result<FileContents, FileError>) -> u64 {
    static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    let mut hasher = KEY.build_hasher();
    match contents {
        Ok(contents) => {
            hasher.write_u8(1);
            // Include the facts: a chown of the file or of a folder above it changes trust.
            contents.facts.hash(&mut hasher);
            hasher.write(&contents.bytes);
        }
        Err(error) => hasher.write(error.to_string().as_bytes()),
    }
    hasher.finish()
}
