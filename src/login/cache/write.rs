//! Writing a file of the cache so that nobody ever reads half of it.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::cache::login_entry::{CacheEntry, LARGEST};
use crate::model::text::Escaped;
use crate::os::files::contents::{FileOwner, TrustError};

/// More links than that, one to the next, are a circle.
const MOST_LINKS: usize = 8;

/// Those who may lay a link to a token, or own what it leads to.
#[derive(Clone, Debug)]
pub(crate) struct LinkTrust {
    /// Who we are.
    pub(crate) ours: u32,
    /// Users beside us and root.
    pub(crate) owners: Arc<[u32]>,
}

impl LinkTrust {
    fn owner(&self, meta: &Metadata) -> Result<(), TrustError> {
        FileOwner::of(meta).trusted(self.ours, &self.owners)
    }

    /// Whether others may lay or move links in this folder. A sticky one keeps what is ours in its place.
    fn is_open(&self, folder: &Path) -> bool {
        fs::metadata(folder).is_ok_and(|meta| {
            let is_writable = meta.mode() & 0o022 != 0 && meta.mode() & 0o1000 == 0;
            is_writable || matches!(self.owner(&meta), Err(TrustError::Foreign { .. }))
        })
    }
}

/// The file could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}: cannot {what}: {error}", Escaped(&path.to_string_lossy()))]
pub(crate) struct WriteError {
    path: PathBuf,
    what: &'static str,
    error: io::Error,
}

/// Puts these bytes in the place of the file: written aside with mode 0600, made durable, renamed. Folders that are
/// missing are made with mode 0700. It blocks.
///
/// # Errors
/// What could not be done; the file is as before then, and nothing lies beside it.
pub(crate) fn replace(path: &Path, bytes: &[u8], trusted: &LinkTrust) -> Result<(), WriteError> {
    let failed = |what| move |error| WriteError { path: path.to_owned(), what, error };
    let target = led_to(path, trusted).map_err(|why| failed("follow the link")(io::Error::other(why)))?;
    let folder = folder_of(&target);
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed("make its folder"))?;
    warn_of_an_open_folder(folder);
    let random = getrandom::u64().map_err(|error| failed("draw a random name")(io::Error::other(error.to_string())))?;
    // Not `.json`: whoever lists the cache takes that for a token.
    let aside = folder.join(format!(".credenza-{random:016x}.tmp"));
    let written = write(&aside, bytes).map_err(failed("write beside it"));
    let written = written.and_then(|()| fs::rename(&aside, &target).map_err(failed("rename into place")));
    if written.is_err() {
        let _ = fs::remove_file(&aside);
        return written;
    }
    // The rename itself: some file systems cannot do it for folders, and it is done all the same.
    let _ = File::open(folder).and_then(|folder| folder.sync_all());
    Ok(())
}

/// Where a file is really written. A link that only those whom we trust can have laid stays one, and what it leads to is
/// replaced, where that is a token already. A link of anybody else may lead to any file that we can write: it is replaced
/// itself. Where others can move links about, one of ours says nothing either, and is neither followed nor taken away.
fn led_to(path: &Path, trusted: &LinkTrust) -> Result<PathBuf, String> {
    let mut target = path.to_owned();
    for followed in 0..MOST_LINKS {
        let Ok(meta) = fs::symlink_metadata(&target) else { return Ok(target) };
        let shown = Escaped(&target.to_string_lossy()).to_string();
        if !meta.is_symlink() {
            if followed > 0 {
                holds_a_token(&target, &meta, trusted)
                    .map_err(|why| format!("{shown}, where it leads, {why}; remove the link, or what it leads to"))?;
            }
            return Ok(target);
        }
        // The mode of a link says nothing.
        if let Err(TrustError::Foreign { uid, .. }) = trusted.owner(&meta) {
            tracing::warn!(
                path = %shown,
                owner = uid,
                "a link of another user stands where a token is kept; it is not followed, and a file takes its place"
            );
            return Ok(target);
        }
        let folder = folder_of(&target);
        if trusted.is_open(folder) {
            let folder = Escaped(&folder.to_string_lossy()).to_string();
            return Err(format!(
                "others can write to {folder} and may have put {shown} there; chmod go-w {folder} (it has to be yours), and look where the link leads"
            ));
        }
        let Ok(next) = fs::read_link(&target) else { return Ok(target) };
        target = folder.join(next);
    }
    Ok(path.to_owned())
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Whether what is to be replaced at the end of a link is such a file as reading takes.
fn holds_a_token(path: &Path, meta: &Metadata, trusted: &LinkTrust) -> Result<(), String> {
    if !meta.is_file() {
        return Err("is not a file".into());
    }
    trusted.owner(meta).map_err(|distrust| distrust.to_string())?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(LARGEST + 1));
    let most = u64::try_from(LARGEST).unwrap_or(u64::MAX).saturating_add(1);
    let read = File::open(path).and_then(|file| file.take(most).read_to_end(&mut bytes));
    read.map_err(|error| format!("cannot be read ({error})"))?;
    let entry = CacheEntry::parse(&bytes).map_err(|why| format!("is no cached token: {why}"))?;
    // A log-in has the one, a registration the other.
    if entry.has("accessToken") || entry.has("clientId") {
        return Ok(());
    }
    Err("is no cached token: it has neither accessToken nor clientId".into())
}

/// Whoever can write there can lay another token, which reading refuses, or take this one away.
fn warn_of_an_open_folder(folder: &Path) {
    if fs::metadata(folder).is_ok_and(|meta| meta.mode() & 0o022 != 0) {
        let folder = Escaped(&folder.to_string_lossy()).to_string();
        tracing::warn!(folder, "others can write to the folder of tokens; close it: chmod go-w {folder}");
    }
}

fn write(aside: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(aside)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    const TOKEN: &[u8] = br#"{"accessToken": "hush"}"#;

    fn us() -> LinkTrust {
        LinkTrust { ours: rustix::process::geteuid().as_raw(), owners: Arc::default() }
    }

    fn put(path: &Path, bytes: &[u8]) -> Result<(), WriteError> {
        replace(path, bytes, &us())
    }

    fn chmod(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    /// A folder with a file and a link to it.
    fn linked(content: &[u8]) -> (tempfile::TempDir, PathBuf, PathBuf) {
        let home = tempfile::tempdir().unwrap();
        let (real, link) = (home.path().join("real"), home.path().join("link"));
        fs::write(&real, content).unwrap();
        chmod(&real, 0o600);
        symlink("real", &link).unwrap();
        (home, real, link)
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn files_are_closed_to_others_and_so_are_new_folders() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("a/b/t.json");
        put(&path, b"1").unwrap();
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        put(&path, b"2").unwrap();
        assert_eq!((mode(&path), fs::read(&path).unwrap()), (0o600, b"2".to_vec()));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing lies beside it");
    }

    #[test]
    fn a_link_stays_one() {
        let registration: &[u8] = br#"{"clientId": "x"}"#;
        for content in [TOKEN, registration] {
            let (_home, real, link) = linked(content);
            put(&link, b"2").unwrap();
            assert!(link.is_symlink() && fs::read(&real).unwrap() == b"2");
        }
        let (_home, real, link) = linked(TOKEN);
        fs::remove_file(&real).unwrap();
        put(&link, b"2").unwrap();
        assert!(link.is_symlink() && fs::read(&real).unwrap() == b"2", "what is not there yet is made");
    }

    #[test]
    fn a_link_of_somebody_else_is_not_followed() {
        let (home, real, link) = linked(TOKEN);
        symlink("link", home.path().join("mine")).unwrap();
        let owner = fs::symlink_metadata(&link).unwrap().uid();
        // Root's links are everybody's: as root the owner has to be another.
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::lchown(&link, Some(4242), None).unwrap();
            assert_eq!(led_to(&home.path().join("mine"), &us()).unwrap(), link, "nor behind one of ours");
            let named = LinkTrust { owners: [4242].into(), ..us() };
            assert_eq!(led_to(&link, &named).unwrap(), real);
            // Whoever lays it there can do so because the folder is open: it goes all the same.
            chmod(home.path(), 0o777);
            put(&link, b"2").unwrap();
            assert!(!link.is_symlink() && fs::read(&link).unwrap() == b"2" && fs::read(&real).unwrap() == TOKEN);
        } else {
            let stranger = LinkTrust { ours: owner + 1, ..us() };
            assert_eq!(led_to(&link, &stranger).unwrap(), link);
        }
        assert_eq!(led_to(&real, &us()).unwrap(), real);
        let other = tempfile::tempdir().unwrap();
        let circle = other.path().join("circle");
        symlink("circle", &circle).unwrap();
        assert_eq!(led_to(&circle, &us()).unwrap(), circle);
    }

    #[test]
    fn where_others_can_move_links_none_is_followed() {
        for (mode, is_followed) in [(0o777, false), (0o770, false), (0o1777, true), (0o755, true)] {
            let (home, real, link) = linked(TOKEN);
            chmod(home.path(), mode);
            let written = put(&link, b"2").map_err(|error| error.to_string());
            assert_eq!(written.is_ok(), is_followed, "{mode:o}");
            assert_eq!(fs::read(&real).unwrap() == b"2", is_followed, "{mode:o}");
            if let Err(says) = written {
                let closes = format!("chmod go-w {}", home.path().display());
                assert!(says.contains(&closes) && link.is_symlink(), "{says}");
                assert_eq!(fs::read_dir(home.path()).unwrap().count(), 2, "nothing lies beside it");
            }
        }
        if rustix::process::geteuid().is_root() {
            let (home, real, link) = linked(TOKEN);
            std::os::unix::fs::chown(home.path(), Some(4242), None).unwrap();
            assert!(put(&link, b"2").unwrap_err().to_string().contains("chmod go-w"), "a folder of somebody else");
            assert_eq!(fs::read(&real).unwrap(), TOKEN);
        }
    }

    #[test]
    fn what_a_link_leads_to_is_replaced_only_where_it_is_a_token() {
        for (content, says) in [
            (&b"alias ls=hush"[..], "is no cached token: it is not a JSON object"),
            (br#"{"hush": 1}"#, "neither accessToken nor clientId"),
            (b"", "is no cached token: it is empty"),
        ] {
            let (home, real, link) = linked(content);
            let error = put(&link, b"2").unwrap_err().to_string();
            assert!(error.contains(says) && error.contains("remove the link") && !error.contains("hush"), "{error}");
            assert!(fs::read(&real).unwrap() == content && link.is_symlink());
            assert_eq!(fs::read_dir(home.path()).unwrap().count(), 2);
        }
        let (_home, real, link) = linked(TOKEN);
        chmod(&real, 0o606);
        assert!(put(&link, b"2").unwrap_err().to_string().contains("chmod o-w"));
        fs::remove_file(&real).unwrap();
        fs::create_dir(&real).unwrap();
        assert!(put(&link, b"2").unwrap_err().to_string().contains("is not a file"));
        if rustix::process::geteuid().is_root() {
            let (_home, real, link) = linked(TOKEN);
            std::os::unix::fs::chown(&real, Some(4242), None).unwrap();
            assert!(put(&link, b"2").unwrap_err().to_string().contains("belongs to user 4242"));
            replace(&link, b"2", &LinkTrust { owners: [4242].into(), ..us() }).unwrap();
            assert_eq!(fs::read(&real).unwrap(), b"2");
        }
    }

    #[test]
    fn what_cannot_be_written_leaves_nothing() {
        let home = tempfile::tempdir().unwrap();
        let taken = home.path().join("taken");
        fs::create_dir_all(taken.join("full")).unwrap();
        let error = put(&taken, b"hush").unwrap_err().to_string();
        assert!(error.contains("taken") && error.contains("rename") && !error.contains("hush"), "{error}");
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
        let error =
            put(&home.path().join("taken/full/../../file/x"), b"").map(|()| fs::write(home.path().join("f"), ""));
        assert!(error.is_ok());
        let error = put(&home.path().join("f/x"), b"").unwrap_err().to_string();
        assert!(error.contains("make its folder"), "{error}");
    }
}
