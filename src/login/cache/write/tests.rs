use std::os::unix::fs::{PermissionsExt, symlink};

use crate::login::cache::write::*;

const TOKEN: &[u8] = br#"{"accessToken": "hush"}"#;

fn us() -> TrustPolicy {
    TrustPolicy::default()
}

fn put(path: &Path, bytes: &[u8]) -> Result<(), SourceError> {
    Ok(replace(path, bytes, &us())?)
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
fn closes_files_and_new_folders_to_other_users() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("a/b/t.json");
    put(&path, b"1").unwrap();
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    put(&path, b"2").unwrap();
    assert_eq!((mode(&path), fs::read(&path).unwrap()), (0o600, b"2".to_vec()));
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "there is no temporary file");
}

#[test]
fn replaces_target_of_own_symlink() {
    let registration: &[u8] = br#"{"clientId": "x"}"#;
    for content in [TOKEN, registration] {
        let (_home, real, link) = linked(content);
        put(&link, b"2").unwrap();
        assert!(link.is_symlink() && fs::read(&real).unwrap() == b"2");
    }
    let (_home, real, link) = linked(TOKEN);
    fs::remove_file(&real).unwrap();
    put(&link, b"2").unwrap();
    assert!(link.is_symlink() && fs::read(&real).unwrap() == b"2", "creates a missing target");
}

#[test]
fn replaces_symlink_of_another_user() {
    let (home, real, link) = linked(TOKEN);
    symlink("link", home.path().join("mine")).unwrap();
    let owner = fs::symlink_metadata(&link).unwrap().uid();
    // Links of root are trusted: as root the test needs another owner.
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::lchown(&link, Some(4242), None).unwrap();
        assert_eq!(resolve(&home.path().join("mine"), &us()).unwrap(), link, "not followed behind our own link");
        let named = TrustPolicy { owners: [4242].into(), ..us() };
        assert_eq!(resolve(&link, &named).unwrap(), real);
        put(&link, b"2").unwrap();
        assert!(!link.is_symlink() && fs::read(&link).unwrap() == b"2" && fs::read(&real).unwrap() == TOKEN);
    } else {
        let stranger = TrustPolicy { ours: owner + 1, ..us() };
        assert_eq!(resolve(&link, &stranger).unwrap(), link);
    }
    assert_eq!(resolve(&real, &us()).unwrap(), real);
    let other = tempfile::tempdir().unwrap();
    let circle = other.path().join("circle");
    symlink("circle", &circle).unwrap();
    assert_eq!(resolve(&circle, &us()).unwrap(), circle);
}

#[test]
fn writes_nothing_in_a_folder_open_to_other_users() {
    for (mode, is_written) in [(0o777, false), (0o1777, true), (0o755, true)] {
        let (home, real, link) = linked(TOKEN);
        chmod(home.path(), mode);
        for path in [link.clone(), home.path().join("new/token")] {
            let written = put(&path, b"2").map_err(|error| error.to_string());
            assert_eq!(written.is_ok(), is_written, "{mode:o}");
            if let Err(error) = written {
                let place = format!("it is in the folder {}, which may be written by", home.path().display());
                assert!(error.contains(&place) && link.is_symlink(), "{error}");
                assert_eq!(fs::read_dir(home.path()).unwrap().count(), 2, "there is no temporary file");
            }
        }
        assert_eq!(fs::read(&real).unwrap() == b"2", is_written, "{mode:o}");
    }
    if rustix::process::geteuid().is_root() {
        let (home, real, link) = linked(TOKEN);
        std::os::unix::fs::chown(home.path(), Some(4242), None).unwrap();
        assert!(put(&link, b"2").unwrap_err().to_string().contains("belongs to user 4242"), "a foreign folder");
        assert_eq!(fs::read(&real).unwrap(), TOKEN);
    }
}

#[test]
fn replaces_target_of_symlink_only_if_it_is_a_token() {
    for (content, says) in [
        (&b"alias ls=hush"[..], "is not a cached token: it is not a JSON object"),
        (br#"{"hush": 1}"#, "neither accessToken nor clientId"),
        (b"", "is not a cached token: it is empty"),
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
    assert!(put(&link, b"2").unwrap_err().to_string().contains("it is a directory, not a regular file"));
    if rustix::process::geteuid().is_root() {
        let (_home, real, link) = linked(TOKEN);
        std::os::unix::fs::chown(&real, Some(4242), None).unwrap();
        assert!(put(&link, b"2").unwrap_err().to_string().contains("belongs to user 4242"));
        replace(&link, b"2", &TrustPolicy { owners: [4242].into(), ..us() }).unwrap();
        assert_eq!(fs::read(&real).unwrap(), b"2");
    }
}

#[test]
fn leaves_no_temporary_file_after_an_error() {
    let home = tempfile::tempdir().unwrap();
    let taken = home.path().join("taken");
    fs::create_dir_all(taken.join("full")).unwrap();
    let error = put(&taken, b"hush").unwrap_err().to_string();
    assert!(error.contains("taken") && error.contains("rename") && !error.contains("hush"), "{error}");
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
    let error = put(&home.path().join("taken/full/../../file/x"), b"").map(|()| fs::write(home.path().join("f"), ""));
    assert!(error.is_ok());
    let error = put(&home.path().join("f/x"), b"").unwrap_err().to_string();
    assert!(error.contains("make its folder"), "{error}");
}
