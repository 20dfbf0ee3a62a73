//! The auth token: the broker's own token, made at the first start and kept. Only users that may read its file know it.

pub(crate) mod error;
pub(crate) mod locations;
mod make;

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, OFlags};
use zeroize::Zeroizing;

use crate::model::auth_token::{LONGEST, NOT_VISIBLE, check};
use crate::model::secret::Secret;
use crate::model::text::Escaped;
use crate::os::files::acl;
use crate::os::files::trust::{PathFacts, TrustPolicy};
use crate::os::files::walk::{WalkedFile, walk};
pub(crate) use crate::server::auth_token::error::AuthTokenError;
pub(crate) use crate::server::auth_token::locations::{at_first_of, default_places};
pub(crate) use crate::server::auth_token::make::random;

/// The location of the token file and the group that may read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AuthTokenFile {
    pub(crate) path: PathBuf,
    /// The group that may read the file, in addition to its owner.
    pub(crate) group: Option<u32>,
}

impl AuthTokenFile {
    /// Reads the token from the file, or makes a new one. A restart keeps the token, so that clients keep working; the
    /// file stays when the daemon stops.
    ///
    /// # Errors
    /// If the file or its folder is open to other users, or cannot be written.
    pub(crate) fn keep_or_make(&self) -> Result<Secret, AuthTokenError> {
        let folder = match self.path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let folder = self.open_folder(folder)?;
        match self.keep() {
            Err(AuthTokenError::Io { error, .. }) if error.kind() == io::ErrorKind::NotFound => self.make(&folder),
            kept => kept,
        }
    }

    /// Reads a token that the user has written, and makes none. A line break at the end of the file is no part of it.
    ///
    /// # Errors
    /// If the file is missing, holds no valid token, or another user may have written it.
    pub(crate) fn read_given(&self) -> Result<Secret, AuthTokenError> {
        let read = || {
            let (file, found) = self.open()?;
            self.check_owner(&found)?;
            let token = self.content(&file, true)?;
            let has_line_break = file.metadata().is_ok_and(|meta| meta.len() > token.expose().len() as u64);
            Ok((token, has_line_break))
        };
        let (token, has_line_break) = read().map_err(AuthTokenError::of_given_file)?;
        if has_line_break {
            tracing::warn!(
                token_file = %Escaped(&self.path.to_string_lossy()),
                "the token file ends with a line break, and some SDKs refuse a token file with one; write it with printf '%s'"
            );
        }
        Ok(token)
    }

    /// Reads the token of a running daemon and makes none, for its clients. They do not check the mode of the file; the
    /// daemon does. Returns the facts of the path, too.
    ///
    /// # Errors
    /// If the file is missing or holds no valid token.
    pub(crate) fn read(&self) -> Result<(Secret, PathFacts), AuthTokenError> {
        let (file, found) = self.open()?;
        Ok((self.content(&file, true)?, found.facts))
    }

    fn keep(&self) -> Result<Secret, AuthTokenError> {
        let (file, found) = self.open()?;
        self.check_owner(&found)?;
        let meta = file.metadata().map_err(|error| self.io("read its metadata", error))?;
        self.check_mode(&meta)?;
        self.check_acl(&file)?;
        let token = self.content(&file, false)?;
        self.open_to_a_new_group(&file, &meta)?;
        Ok(token)
    }

    fn open(&self) -> Result<(File, WalkedFile), AuthTokenError> {
        let found = walk(&self.path).map_err(|error| self.io("open it", error.into()))?;
        found.check_symlinks().map_err(|reason| self.unfit(reason))?;
        if found.kind() != FileType::RegularFile {
            return Err(self.unfit("it is not a regular file"));
        }
        let file = found.open(OFlags::NONBLOCK).map_err(|error| self.io("open it", error.into()))?;
        Ok((file.into(), found))
    }

    fn content(&self, file: &File, may_end_line: bool) -> Result<Secret, AuthTokenError> {
        // Two more bytes for a line break, and one for a text that is too long.
        let mut text = Zeroizing::new(String::with_capacity(LONGEST + 3));
        match file.take(LONGEST as u64 + 3).read_to_string(&mut text) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(self.unfit(NOT_VISIBLE)),
            Err(error) => return Err(self.io("read it", error)),
        }
        let line = text.strip_suffix('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
        let token = line.filter(|_| may_end_line).unwrap_or(&text);
        check(token).map_err(|reason| self.unfit(reason))?;
        Ok(Secret::new(token))
    }

    /// Refuses a file of another user, and a file that a symlink of another user leads to.
    fn check_owner(&self, found: &WalkedFile) -> Result<(), AuthTokenError> {
        let judged = found.facts.without_folders_above().trusted(&TrustPolicy::default());
        judged.map_err(|distrust| self.unfit(distrust.about(&self.path)))
    }

    fn check_mode(&self, meta: &fs::Metadata) -> Result<(), AuthTokenError> {
        let mode = meta.mode() & 0o777;
        let allowed = if self.group == Some(meta.gid()) { 0o740 } else { 0o700 };
        if mode & !allowed != 0 {
            return Err(self.unfit(format!("its mode {mode:04o} gives other users access to it (run chmod 600)")));
        }
        Ok(())
    }

    /// Refuses a file with an ACL if a group may read it: the bits of the group are then the mask of the ACL, and each
    /// user of the ACL could read the token too.
    fn check_acl(&self, file: &File) -> Result<(), AuthTokenError> {
        let has_acl = || acl::is_present(file, acl::ACCESS).map_err(|error| self.io("read its ACL", error));
        if self.group.is_some() && has_acl()? {
            return Err(self.unfit("it has an ACL, which may let other users read it (run setfacl -b)"));
        }
        Ok(())
    }

    /// Lets a newly configured group read the file. The caller has checked that the file holds a token: a symlink could
    /// point to another file of the user.
    fn open_to_a_new_group(&self, file: &File, meta: &fs::Metadata) -> Result<(), AuthTokenError> {
        let ours = rustix::process::geteuid().as_raw();
        let closed = |group: &u32| ours == meta.uid() && (meta.gid() != *group || meta.mode() & 0o040 == 0);
        self.group.filter(closed).map_or(Ok(()), |group| self.open_to(file, group))
    }

    fn open_to(&self, file: &File, group: u32) -> Result<(), AuthTokenError> {
        // First, because the mode opens an inherited ACL.
        acl::remove(file, acl::ACCESS).map_err(|error| self.io("remove its ACL", error))?;
        // A new file has the user's own group already, and a sandbox may refuse the call.
        if file.metadata().map_err(|error| self.io("read its metadata", error))?.gid() != group {
            std::os::unix::fs::fchown(file, None, Some(group)).map_err(|error| self.not_given("it", group, error))?;
        }
        file.set_permissions(fs::Permissions::from_mode(0o640))
            .map_err(|error| self.io("make it readable for the group", error))
    }

    fn not_given(&self, what: &'static str, group: u32, error: io::Error) -> AuthTokenError {
        AuthTokenError::Group { path: self.path.clone(), what, group, error }
    }

    fn unfit(&self, reason: impl Into<String>) -> AuthTokenError {
        AuthTokenError::Unfit { path: self.path.clone(), reason: reason.into() }
    }

    fn io(&self, what: &'static str, error: io::Error) -> AuthTokenError {
        AuthTokenError::Io { path: self.path.clone(), what, error }
    }
}

#[cfg(test)]
mod tests {
    use rustix::fs::CWD;

    use super::*;
    use crate::os::environment::Environment;

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
        folder
    }

    fn file(path: PathBuf) -> AuthTokenFile {
        AuthTokenFile { path, group: None }
    }

    #[test]
    fn makes_token_once_and_keeps_it() {
        let folder = folder();
        let file = file(folder.path().join("deep/er/token"));
        let token = file.keep_or_make().unwrap();
        assert_eq!(token.expose().len(), 64);
        let written = fs::read_to_string(&file.path).unwrap();
        assert_eq!(written, token.expose(), "no line break at its end");
        assert_eq!(fs::metadata(&file.path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(folder.path().join("deep/er")).unwrap().mode() & 0o777, 0o700);
        assert_eq!(file.keep_or_make().unwrap(), token);
        assert_eq!(fs::read_dir(folder.path().join("deep/er")).unwrap().count(), 1, "nothing is left over");
    }

    #[test]
    fn refuses_unfit_file_and_leaves_it() {
        let folder = folder();
        let file = file(folder.path().join("token"));
        let good = "0123456789abcdef0123456789abcdef";
        let long = "x".repeat(4097);
        let table: &[(&[u8], u32, &str)] = &[
            (b"", 0o600, "empty"),
            (b"short", 0o600, "shorter"),
            (long.as_bytes(), 0o600, "longer"),
            (b"0123456789abcdef0123456789abcdef\n", 0o600, "visible"),
            (b"0123456789abcdef 0123456789abcdef", 0o600, "visible"),
            (b"0123456789abcdef0123456789abcdef\xff", 0o600, "visible"),
            (good.as_bytes(), 0o604, "0604"),
            (good.as_bytes(), 0o640, "0640"),
            (good.as_bytes(), 0o660, "0660"),
            (good.as_bytes(), 0o666, "0666"),
        ];
        for (content, mode, reason) in table {
            fs::write(&file.path, content).unwrap();
            fs::set_permissions(&file.path, fs::Permissions::from_mode(*mode)).unwrap();
            let error = file.keep_or_make().unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
            assert!(!error.contains("0123456789abcdef"), "{error}");
            assert_eq!(fs::read(&file.path).unwrap(), *content);
        }
        fs::set_permissions(&file.path, fs::Permissions::from_mode(0o400)).unwrap();
        assert_eq!(file.keep_or_make().unwrap().expose(), good);
    }

    #[test]
    fn messages_escape_the_path() {
        let folder = folder();
        let file = file(folder.path().join("a\u{1b}[2J"));
        fs::write(&file.path, "short").unwrap();
        let unfit = file.keep_or_make().unwrap_err();
        let given = AuthTokenError::Given { path: file.path.clone(), reason: String::new() };
        let open = AuthTokenError::OpenFolder { path: file.path.clone(), reason: String::new() };
        let io = file.io("read it", io::ErrorKind::Other.into());
        let not_given = file.not_given("it", 7, io::ErrorKind::Other.into());
        for error in [unfit, given, open, io, not_given].map(|error| error.to_string()) {
            assert!(error.contains("/a\\u{1b}[2J") && !error.contains('\u{1b}'), "{error:?}");
        }
    }

    #[test]
    fn given_token_may_end_with_a_line_break() {
        let folder = folder();
        let file = file(folder.path().join("token"));
        let good = "0123456789abcdef0123456789abcdef";
        for (content, is_good) in
            [("\n", true), ("\r\n", true), ("", true), ("\n\n", false), (" \n", false), ("\r", false)]
        {
            fs::write(&file.path, format!("{good}{content}")).unwrap();
            match file.read_given() {
                Ok(token) => assert!(is_good && token.expose() == good, "{content:?}"),
                Err(error) => {
                    let error = error.to_string();
                    assert!(!is_good && error.contains("write 32 to 4096 visible ASCII characters"), "{error}");
                    assert!(!error.contains("next start"), "{error}");
                }
            }
        }
        fs::set_permissions(&file.path, fs::Permissions::from_mode(0o666)).unwrap();
        assert!(file.read_given().unwrap_err().to_string().contains("may be written by all users"));
    }

    #[test]
    fn refuses_open_folder_and_special_files() {
        let folder = folder();
        let open = folder.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(file(open.join("token")).keep_or_make(), Err(AuthTokenError::OpenFolder { .. })));
        assert!(file(open.join("below/token")).keep_or_make().is_ok(), "a folder below it will do");
        assert!(matches!(file(open.clone()).keep_or_make(), Err(AuthTokenError::Unfit { .. })), "a directory");
        let fifo = folder.path().join("fifo");
        rustix::fs::mkfifoat(CWD, &fifo, 0o600.into()).unwrap();
        assert!(matches!(file(fifo).keep_or_make(), Err(AuthTokenError::Unfit { .. })), "and it does not hang");
    }

    #[test]
    fn group_may_read_only_and_only_a_token() {
        let folder = folder();
        let gid = fs::metadata(folder.path()).unwrap().gid();
        let ours = |name: &str| AuthTokenFile { path: folder.path().join(name), group: Some(gid) };
        fs::write(folder.path().join("keys"), "[default]\naws_secret_access_key = hush\n").unwrap();
        fs::set_permissions(folder.path().join("keys"), fs::Permissions::from_mode(0o600)).unwrap();
        std::os::unix::fs::symlink("keys", folder.path().join("link")).unwrap();
        assert!(matches!(ours("link").keep_or_make(), Err(AuthTokenError::Unfit { .. })));
        assert_eq!(fs::metadata(folder.path().join("keys")).unwrap().mode() & 0o777, 0o600);

        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o770)).unwrap();
        assert!(matches!(ours("token").keep_or_make(), Err(AuthTokenError::OpenFolder { .. })));
        assert!(file(folder.path().join("token")).keep_or_make().is_ok(), "no clients are in it then");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o750)).unwrap();
        assert!(ours("token").keep_or_make().is_ok());
        assert_eq!(fs::metadata(folder.path().join("token")).unwrap().mode() & 0o777, 0o640);
    }

    #[test]
    fn both_methods_write_whole_token_and_replace_none() {
        let folder = folder();
        let token = "0123456789abcdef0123456789abcdef";
        for name in ["nameless", "aside"] {
            let file = file(folder.path().join(name));
            let handle = file.open_folder(folder.path()).unwrap();
            let make = || match name {
                "nameless" => file.make_nameless(&handle, token).expect("the file systems of tests know it"),
                _ => file.make_aside(&handle, token),
            };
            make().unwrap();
            assert_eq!(fs::read_to_string(&file.path).unwrap(), token);
            assert_eq!(fs::metadata(&file.path).unwrap().mode() & 0o777, 0o600);
            let error = make().unwrap_err();
            assert!(
                matches!(&error, AuthTokenError::Io { error, .. } if error.kind() == io::ErrorKind::AlreadyExists),
                "{error}"
            );
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing is left over");
    }

    #[test]
    fn concurrent_starts_share_one_token() {
        let folder = folder();
        let path = folder.path().join("token");
        let tokens: Vec<Secret> = std::thread::scope(|scope| {
            let makers: Vec<_> = (0..8).map(|_| scope.spawn(|| file(path.clone()).keep_or_make().unwrap())).collect();
            makers.into_iter().map(|maker| maker.join().unwrap()).collect()
        });
        assert!(tokens.iter().all(|token| *token == tokens[0]));
    }

    #[test]
    fn uses_first_location_that_can_be_written() {
        let folder = folder();
        let blocked = folder.path().join("file");
        fs::write(&blocked, "").unwrap();
        let places = [blocked.join("credenza/token"), folder.path().join("b/token"), folder.path().join("c/token")];
        let (_, chosen) = at_first_of(&places, None).unwrap();
        assert_eq!(chosen.path, places[1]);
        assert!(!folder.path().join("c").exists());
        assert!(matches!(at_first_of(&places[..1], None), Err(AuthTokenError::Nowhere(_))));
        assert!(matches!(at_first_of(&[], None), Err(AuthTokenError::Nowhere(_))));
    }

    #[test]
    fn default_locations_are_in_order() {
        let environment = Environment::new([
            ("RUNTIME_DIRECTORY", "/run/a:/run/b"),
            ("XDG_RUNTIME_DIR", "/run/user/1"),
            ("HOME", "/h"),
        ]);
        let policy = |ours| TrustPolicy { ours, ..TrustPolicy::default() };
        let nobody = policy(64001);
        let places = ["/run/a/token", "/run/credenza/token", "/h/.local/state/credenza/token"];
        assert_eq!(default_places(&environment, &policy(0))[..], places.map(PathBuf::from)[..], "no folder is ours");
        let environment = Environment::new([("XDG_STATE_HOME", "/s"), ("XDG_RUNTIME_DIR", "relative")]);
        assert_eq!(default_places(&environment, &nobody), [PathBuf::from("/s/credenza/token")]);
        assert!(default_places(&Environment::default(), &nobody).is_empty());
        // A runtime folder of this user, and one of another user after `su`.
        let folder = folder();
        let uid = rustix::process::geteuid().as_raw();
        let environment = Environment::new([("XDG_RUNTIME_DIR", folder.path().to_str().unwrap())]);
        assert_eq!(default_places(&environment, &policy(uid))[0], folder.path().join("credenza/token"));
        assert!(!default_places(&environment, &nobody).contains(&folder.path().join("credenza/token")));
    }

    #[test]
    fn checks_length_of_given_token() {
        assert!(check("0123456789abcdef0123456789abcdef").is_ok());
        assert!(check("0123456789abcdef0123456789abcde").is_err());
    }
}
