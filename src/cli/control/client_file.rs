//! The file of a grant's token: a new file that only this user can read, in a folder that no other user can write.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};

use crate::cli::control::socket::shown;
use crate::cli::error::CommandError;
use crate::model::secret::Secret;
use crate::os::files::acl;
use crate::os::files::trust::{PathFacts, PathStep, StepKind, TrustPolicy};
use crate::os::files::walk::walk;

/// A new and empty file. Its drop removes it unless the token is written.
#[derive(Debug)]
pub(crate) struct ClientFile {
    path: PathBuf,
    file: File,
    is_written: bool,
}

impl ClientFile {
    /// Creates the file with mode 0600. A file or symlink at its path is an error.
    ///
    /// # Errors
    /// If something is at the path, or another user may write the folder.
    pub(crate) fn create(path: &Path, policy: &TrustPolicy) -> Result<Self, CommandError> {
        let failed = |reason: String| CommandError::new(format!("cannot write the token to {}: {reason}", shown(path)));
        let absolute = std::path::absolute(path).map_err(|error| failed(format!("{error}. Choose another path")))?;
        let (Some(folder), Some(name)) = (absolute.parent(), absolute.file_name()) else {
            return Err(failed("it is not the path of a file. Choose another path".into()));
        };
        let folder = closed_folder(folder, policy).map_err(failed)?;
        let path = folder.join(name);
        if path.to_str().is_none() {
            return Err(failed("it is not UTF-8. Choose another path".into()));
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(CWD, &path, flags, Mode::RUSR | Mode::WUSR).map_err(|error| match error {
            rustix::io::Errno::EXIST => failed("it exists. Remove it, or choose another path".into()),
            error => failed(format!("{error}. Choose another path")),
        })?;
        let created = Self { path, file: file.into(), is_written: false };
        // The mask of an inherited ACL follows the mode, but a later chmod would open it.
        let _ = acl::remove(&created.file, acl::ACCESS);
        Ok(created)
    }

    /// Returns the absolute path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the token without a line break: several SDKs refuse one.
    ///
    /// # Errors
    /// If the file cannot be written; it is removed then.
    pub(crate) fn write(mut self, token: &Secret) -> Result<(), CommandError> {
        let written = self.file.write_all(token.expose().as_bytes()).and_then(|()| self.file.sync_all());
        written.map_err(|error| {
            CommandError::new(format!("cannot write the token to {}: {error}. Choose another path", shown(&self.path)))
        })?;
        self.is_written = true;
        Ok(())
    }
}

impl Drop for ClientFile {
    fn drop(&mut self) {
        if !self.is_written {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Returns the real path of a folder that no other user can write. A sticky folder such as `/tmp` is refused, too: other
/// users may take the name once the file is removed.
fn closed_folder(folder: &Path, policy: &TrustPolicy) -> Result<PathBuf, String> {
    let found = walk(folder).map_err(|error| {
        format!("its folder {}: {}. Choose another path", shown(folder), std::io::Error::from(error))
    })?;
    let Some(last) = found.facts.file().filter(|last| last.kind == StepKind::Folder) else {
        return Err(format!("{} is not a folder. Choose another path", shown(folder)));
    };
    found.facts.trusted(policy).map_err(|distrust| {
        format!("its folder {}: {}. Choose a folder that only you can write", shown(folder), distrust.about(folder))
    })?;
    let is_closed = PathFacts([PathStep { mode: last.mode & !0o1000, ..last.clone() }].into()).trusted(policy);
    is_closed.map_err(|_| {
        // No chmod: folders such as /tmp are meant to be so.
        format!(
            "its folder {}: other users may make files there, and take the name once the file is removed. Choose a folder \
             that only you can write",
            shown(folder)
        )
    })?;
    Ok(last.path.to_path_buf())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn writes_a_new_closed_file_or_none() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let policy = TrustPolicy::default();
        let file = ClientFile::create(&at("token"), &policy).unwrap();
        let path = file.path().to_owned();
        file.write(&"hush".into()).unwrap();
        assert_eq!((path.as_path(), &*fs::read_to_string(&path).unwrap()), (&*at("token"), "hush"));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        symlink(at("nothing"), at("link")).unwrap();
        for (name, open) in [("open", 0o777), ("sticky", 0o1777)] {
            fs::create_dir(at(name)).unwrap();
            mode(&at(name), open);
        }
        for (name, expected) in [
            ("token", "it exists. Remove it"),
            ("link", "it exists. Remove it"),
            ("open/token", "may be written by all users"),
            ("sticky/token", "other users may make files there"),
            ("none/token", "No such file"),
            ("token/token", "is not a folder"),
        ] {
            let error = ClientFile::create(&at(name), &policy).unwrap_err().to_string();
            assert!(error.starts_with("cannot write the token to ") && error.contains(expected), "{name}: {error}");
            assert!(name != "sticky/token" || !error.contains("chmod"), "{error}");
        }
        assert!(!at("nothing").exists() && !at("open/token").exists());
        drop(ClientFile::create(&at("unused"), &policy).unwrap());
        assert!(!at("unused").exists(), "no empty file is left");
    }
}
