//! The directories in which a change could replace a file.

use std::collections::{BTreeSet, VecDeque};
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

/// The maximum number of symlinks on the path of a file, as in Linux.
pub(super) const MAX_LINKS: usize = 40;

/// Directories that are not watched for a missing subfolder, such as `/etc/credenza`; polling finds that. Every program
/// opens files in these directories, and notify would send an event for each.
const BUSY_DIRECTORIES: [&str; 2] = ["/", "/etc"];

/// Returns the directories in which a change could put another file at the path. They are the directory of each symlink
/// on the path, and that of the file. If a directory is missing, its nearest existing ancestor is returned instead.
pub(super) fn directories(path: &Path) -> BTreeSet<PathBuf> {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut directories = BTreeSet::new();
    let mut ahead: VecDeque<OsString> = names(&absolute);
    let (mut here, mut links) = (PathBuf::from("/"), 0);
    while let Some(name) = ahead.pop_front() {
        if name == ".." {
            here.pop();
            continue;
        }
        let there = here.join(&name);
        match there.symlink_metadata() {
            Ok(meta) if meta.is_symlink() => {
                directories.insert(here.clone());
                links += 1;
                let Ok(target) = there.read_link() else { break };
                if links > MAX_LINKS {
                    break;
                }
                if target.is_absolute() {
                    here = PathBuf::from("/");
                }
                for name in names(&target).into_iter().rev() {
                    ahead.push_front(name);
                }
            }
            Ok(meta) if meta.is_dir() && !ahead.is_empty() => here = there,
            _ => {
                if ahead.is_empty() || !BUSY_DIRECTORIES.iter().any(|busy| here == Path::new(busy)) {
                    directories.insert(here.clone());
                }
                break;
            }
        }
    }
    directories
}

fn names(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            Component::Prefix(_) | Component::RootDir | Component::CurDir => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn watches_directories_of_links_and_nearest_ancestor() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("volume/v1")).unwrap();
        fs::write(root.join("volume/v1/key"), "").unwrap();
        symlink("v1", root.join("volume/..data")).unwrap();
        symlink("..data/key", root.join("volume/key")).unwrap();
        symlink(root.join("volume/key"), root.join("link")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        let table: &[(&str, &[&str])] = &[
            ("volume/v1/key", &["volume/v1"]),
            ("volume/key", &["volume", "volume/v1"]),
            ("link", &["", "volume", "volume/v1"]),
            ("absent/deep/file", &[""]),
            ("volume/../absent", &[""]),
            ("loop", &[""]),
        ];
        for (path, expected) in table {
            let expected: BTreeSet<PathBuf> =
                expected.iter().map(|name| root.join(name).components().collect()).collect();
            assert_eq!(directories(&root.join(path)), expected, "{path}");
        }
        for (path, expected) in [("/etc/absent/file", None), ("/absent/file", None), ("/etc/absent", Some("/etc"))] {
            assert_eq!(directories(Path::new(path)), expected.map(PathBuf::from).into_iter().collect(), "{path}");
        }
    }
}
