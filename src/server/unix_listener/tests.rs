use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

const STRANGER: u32 = 64_001;

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    folder
}

async fn refused(path: &Path) -> String {
    UnixSocketListener::bind(path, SocketAccess::All).await.unwrap_err().to_string()
}

#[tokio::test]
async fn every_user_may_connect_and_the_end_removes_the_socket() {
    let folder = folder();
    let path = folder.path().join("new/socket");
    let mut listener = UnixSocketListener::bind(&path, SocketAccess::All).await.unwrap();
    assert_eq!(listener.path().as_deref(), Some(&*path));
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!((mode(&path), mode(path.parent().unwrap()) & 0o700), (0o666, 0o700));
    let mut client = UnixStream::connect(&path).await.unwrap();
    let (mut accepted, _) = listener.accept().await.unwrap();
    client.write_all(b"x").await.unwrap();
    assert_eq!(accepted.read_u8().await.unwrap(), b'x');
    drop(listener);
    assert!(!path.exists());
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 0);
}

#[tokio::test]
async fn replaces_a_left_socket_and_no_living_one() {
    let folder = folder();
    let path = folder.path().join("socket");
    // Dropping the listener of the standard library leaves the file.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let first = UnixSocketListener::bind(&path, SocketAccess::All).await.unwrap();
    let inode = fs::metadata(&path).unwrap().ino();
    assert!(matches!(UnixSocketListener::bind(&path, SocketAccess::All).await, Err(UnixSocketError::InUse)));
    assert_eq!(fs::metadata(&path).unwrap().ino(), inode, "the living socket is left alone");
    UnixStream::connect(&path).await.unwrap();
    // A file that has taken the place of the socket is not ours to remove.
    fs::remove_file(&path).unwrap();
    fs::write(&path, "other").unwrap();
    drop(first);
    assert_eq!(fs::read_to_string(&path).unwrap(), "other");
}

#[tokio::test]
async fn full_queue_counts_as_listening() {
    let folder = folder();
    let path = folder.path().join("socket");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let _waiting = std::os::unix::net::UnixStream::connect(&path).unwrap();
    assert!(matches!(UnixSocketListener::bind(&path, SocketAccess::All).await, Err(UnixSocketError::InUse)));
}

#[tokio::test]
async fn leaves_other_files_in_place() {
    let folder = folder();
    let path = folder.path().join("socket");
    let target = folder.path().join("target");
    drop(std::os::unix::net::UnixListener::bind(&target).unwrap());
    let make: [(&str, &dyn Fn()); 5] = [
        ("file", &|| fs::write(&path, "x").unwrap()),
        ("folder", &|| fs::create_dir(&path).unwrap()),
        ("symlink", &|| symlink(&target, &path).unwrap()),
        ("dangling symlink", &|| symlink("/nowhere", &path).unwrap()),
        ("datagram socket", &|| std::mem::forget(std::os::unix::net::UnixDatagram::bind(&path).unwrap())),
    ];
    for (name, make) in make {
        make();
        let inode = || fs::symlink_metadata(&path).unwrap().ino();
        let before = inode();
        let error = refused(&path).await;
        assert!(error.contains("no stream socket is there; remove it"), "{name}: {error}");
        assert_eq!(inode(), before, "{name}");
        let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir(&path));
    }
    assert!(target.exists());
}

#[tokio::test]
async fn leaves_a_socket_of_another_user() {
    if !rustix::process::geteuid().is_root() {
        assert!(testkit::harness::skip("sockets of other users need root"));
        return;
    }
    let folder = folder();
    let path = folder.path().join("socket");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    std::os::unix::fs::chown(&path, Some(STRANGER), None).unwrap();
    let error = refused(&path).await;
    assert!(error.contains("a socket of user 64001 is there"), "{error}");
    assert!(path.exists());
}

#[tokio::test]
async fn refuses_folders_that_others_may_write() {
    let folder = folder();
    let inner = folder.path().join("inner");
    fs::create_dir(&inner).unwrap();
    let path = inner.join("socket");
    for (mode, words) in [
        (0o777, Some("may be written by all users")),
        (0o1777, Some("other users may make files in it (mode 1777)")),
        (0o1770, Some("other users may make files in it (mode 1770)")),
        (0o755, None),
        (0o700, None),
    ] {
        fs::set_permissions(&inner, Permissions::from_mode(mode)).unwrap();
        match (UnixSocketListener::bind(&path, SocketAccess::All).await, words) {
            (Ok(_), None) => {}
            (Err(error), Some(words)) => assert!(error.to_string().contains(words), "{mode:o}: {error}"),
            (bound, _) => panic!("{mode:o}: {bound:?}"),
        }
        assert!(!path.exists(), "{mode:o}");
    }
    // As for the auth token, the folder above may be open: a shared volume of a Pod is.
    fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).unwrap();
    UnixSocketListener::bind(&path, SocketAccess::All).await.unwrap();
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&inner, Some(STRANGER), None).unwrap();
        assert!(refused(&path).await.contains("belongs to user 64001"));
        std::os::unix::fs::lchown(&inner, Some(0), None).unwrap();
        let link = folder.path().join("link");
        symlink(&inner, &link).unwrap();
        std::os::unix::fs::lchown(&link, Some(STRANGER), None).unwrap();
        let error = refused(&link.join("socket")).await;
        assert!(error.contains("the symlink") && !path.exists(), "{error}");
    }
}

#[tokio::test]
async fn missing_folders_and_long_paths_are_refused() {
    let folder = folder();
    let error = refused(&folder.path().join("a/b/socket")).await;
    assert!(error.contains("a/b: it does not exist; make it first"), "{error}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    let error = refused(&folder.path().join("x".repeat(107))).await;
    assert!(error.contains("at most 107 are allowed"), "{error}");
    fs::write(folder.path().join("file"), "").unwrap();
    let error = refused(&folder.path().join("file/socket")).await;
    assert!(error.contains("its folder"), "{error}");
}

#[tokio::test]
async fn adopts_a_socket_and_leaves_its_file() {
    let folder = folder();
    let path = folder.path().join("socket");
    let socket = std::os::unix::net::UnixListener::bind(&path).unwrap();
    socket.set_nonblocking(true).unwrap();
    let listener = UnixSocketListener::adopt(socket).unwrap();
    assert_eq!(listener.path().as_deref(), Some(&*path));
    drop(listener);
    assert!(path.exists());
    let name: &[u8] = format!("credenza-test-{}", std::process::id()).leak().as_bytes();
    let address = <std::os::unix::net::SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(name);
    let socket = std::os::unix::net::UnixListener::bind_addr(&address.unwrap()).unwrap();
    socket.set_nonblocking(true).unwrap();
    let listener = UnixSocketListener::adopt(socket).unwrap();
    assert!(listener.path().unwrap().to_str().unwrap().starts_with("@credenza-test-"));
}
