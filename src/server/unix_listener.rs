//! A listener on a Unix socket. The daemon makes the file of the socket in a folder that no other user may write, and
//! removes it at the end.
//!
//! The kernel replaces no file by a socket, so that a daemon that was killed leaves its socket behind. Such a socket is
//! replaced; every other file stays.

use std::ffi::{OsStr, OsString};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{AtFlags, FileType, RenameFlags, Stat};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use tokio::net::{UnixListener, UnixStream};

use crate::config::listen::{ListenAddress, MAX_SOCKET_PATH_LEN};
use crate::model::text::Escaped;
use crate::os::files::trust::TrustPolicy;
use crate::os::files::walk::{WalkError, WalkedFile, walk};
use crate::os::peer;
use crate::server::connection_limit::Peer;
use crate::server::connections::StreamListener;

/// The maximum number of connections that wait in the kernel to be accepted. They are accepted in order, so that a
/// client waits behind a flood: the queue must not be longer than 20 ms. If it is full, a client retries only after a
/// second.
pub(crate) const BACKLOG: i32 = 512;

/// The socket buffer of one connection and direction, in bytes; the kernel doubles it for its own records. By default
/// it grows to megabytes for a client that sends many requests and reads no response, even without a token.
pub(crate) const BUFFER: usize = 32 * 1024;

/// The users that may connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SocketAccess {
    /// Every user, and access control decides. The mode of the folder may keep users out.
    All,
    /// The user of the daemon, and root.
    Owner,
}

impl SocketAccess {
    fn mode(self) -> u32 {
        match self {
            Self::All => 0o666,
            Self::Owner => 0o600,
        }
    }
}

/// The mode of a folder that the daemon makes: every user may enter it.
const FOLDER_MODE: u32 = 0o755;

/// The time in which another daemon, which has just made its socket, begins to listen.
const BINDING_TIME: Duration = Duration::from_millis(50);

/// The number of attempts to bind, if other daemons make and remove their sockets meanwhile.
const ATTEMPTS: usize = 3;

#[derive(Debug)]
pub(crate) struct UnixSocketListener {
    /// The file that the daemon has made. `None` for a socket of the service manager. It is dropped first: no other daemon
    /// replaces the socket while this one listens.
    _file: Option<SocketFile>,
    listener: UnixListener,
}

/// The reason why the daemon cannot listen on a Unix socket: the end of a sentence that starts with its path.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnixSocketError {
    #[error(
        "another program listens there, perhaps another broker (`credenza status` asks it); choose another path with --listen"
    )]
    InUse,
    #[error("a file that is no stream socket is there; remove it, or choose another path with --listen")]
    OtherFile,
    #[error("a socket of user {0} is there; remove it, or choose another path with --listen")]
    Foreign(u32),
    #[error("its folder {}: {reason}; choose a folder of your own with --listen", Escaped(&path.to_string_lossy()))]
    Folder { path: PathBuf, reason: String },
    #[error(
        "its path has {0} bytes, and at most {MAX_SOCKET_PATH_LEN} are allowed; choose a shorter one with --listen"
    )]
    TooLong(usize),
    #[error("cannot {0}: {1}")]
    Io(&'static str, #[source] io::Error),
}

impl UnixSocketListener {
    /// Makes the socket and listens.
    ///
    /// # Errors
    /// If a file is there that is not a left socket of this user, or another user may write to the folder.
    pub(crate) async fn bind(path: &Path, access: SocketAccess) -> Result<Self, UnixSocketError> {
        let length = path.as_os_str().len();
        if length > MAX_SOCKET_PATH_LEN {
            return Err(UnixSocketError::TooLong(length));
        }
        let (Some(above), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(UnixSocketError::OtherFile);
        };
        let folder = find_or_make_folder(above)?;
        for _ in 0..ATTEMPTS {
            match std::os::unix::net::UnixListener::bind(path) {
                Ok(listener) => {
                    let file = SocketFile::open(folder, above, name, access)?;
                    let prepared = listener.set_nonblocking(true).and_then(|()| Self::adopt(listener));
                    let prepared = prepared.map_err(|error| UnixSocketError::Io("listen there", error))?;
                    return Ok(Self { _file: Some(file), ..prepared });
                }
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                    remove_left_socket(&folder, name, path).await?;
                }
                Err(error) => return Err(UnixSocketError::Io("make the socket", error)),
            }
        }
        Err(UnixSocketError::InUse)
    }

    /// Takes over a socket of the service manager, which owns its file.
    ///
    /// # Errors
    /// If the kernel refuses an option.
    pub(crate) fn adopt(listener: std::os::unix::net::UnixListener) -> io::Result<Self> {
        rustix::net::listen(&listener, BACKLOG)?;
        Ok(Self { _file: None, listener: UnixListener::from_std(listener)? })
    }

    /// Returns the path of the socket. A socket in the abstract namespace has a name that begins with `@`.
    pub(crate) fn path(&self) -> Option<PathBuf> {
        let address = self.listener.local_addr().ok()?;
        let abstract_name = || {
            let address = std::os::unix::net::SocketAddr::from(address.clone());
            let name = std::os::linux::net::SocketAddrExt::as_abstract_name(&address)?;
            Some(format!("@{}", String::from_utf8_lossy(name)).into())
        };
        address.as_pathname().map(Path::to_owned).or_else(abstract_name)
    }
}

impl StreamListener for UnixSocketListener {
    type Stream = UnixStream;

    fn address(&self) -> Option<SocketAddr> {
        None
    }

    fn name(&self) -> Option<Arc<str>> {
        self.path().map(|path| ListenAddress::Unix(path).to_string().into())
    }

    async fn accept(&mut self) -> io::Result<(UnixStream, Peer)> {
        let (stream, _) = self.listener.accept().await?;
        // Unlike those of TCP, these connections inherit no option.
        if let Err(error) = rustix::net::sockopt::set_socket_send_buffer_size(&stream, BUFFER) {
            tracing::debug!(%error, "the buffer of a connection is not limited");
        }
        let peer = Peer::of_unix(peer::peercred(&stream), peer::peer_process(&stream));
        Ok((stream, peer))
    }
}

/// The file of a socket. Dropping it removes the file, unless another has taken its place.
#[derive(Debug)]
struct SocketFile {
    folder: OwnedFd,
    name: OsString,
    inode: (u64, u64),
}

impl SocketFile {
    /// Takes over the socket that this process has just made, and opens it to these users.
    fn open(folder: OwnedFd, path: &Path, name: &OsStr, access: SocketAccess) -> Result<Self, UnixSocketError> {
        let exchanged = || open(path, "another user has exchanged it");
        let stat = match rustix::fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if is_our_socket(&stat) => stat,
            // The socket was made in another folder. No other user makes a file in this one.
            Ok(_) | Err(Errno::NOENT) => return Err(exchanged()),
            Err(error) => return Err(UnixSocketError::Io("find the socket", error.into())),
        };
        let file = Self { folder, name: name.to_owned(), inode: inode(&stat) };
        rustix::fs::chmodat(&file.folder, name, access.mode().into(), AtFlags::empty())
            .map_err(|error| UnixSocketError::Io("let clients connect", error.into()))?;
        Ok(file)
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let found = rustix::fs::statat(&self.folder, &self.name, AtFlags::SYMLINK_NOFOLLOW);
        if found.is_ok_and(|found| inode(&found) == self.inode)
            && let Err(error) = rustix::fs::unlinkat(&self.folder, &self.name, AtFlags::empty())
        {
            tracing::debug!(%error, "the file of the Unix socket was not removed");
        }
    }
}

/// Opens the folder. Makes it if only the last part of its path is missing.
fn find_or_make_folder(path: &Path) -> Result<OwnedFd, UnixSocketError> {
    let io = |error: WalkError| UnixSocketError::Io("open its folder", error.into());
    match walk(path) {
        Ok(found) => return check_folder(path, found),
        Err(WalkError::Missing { .. }) => {}
        Err(error) => return Err(io(error)),
    }
    let missing = || open(path, "it does not exist; make it first");
    let (Some(above), Some(name)) = (path.parent(), path.file_name()) else { return Err(missing()) };
    let above = walk(above).map_err(|_| missing())?;
    above.check_symlinks().map_err(|reason| open(path, reason))?;
    match rustix::fs::mkdirat(above.into_handle(), name, FOLDER_MODE.into()) {
        // Another start has made it.
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(UnixSocketError::Io("make its folder", error.into())),
    }
    // Another user may have put something else in its place.
    check_folder(path, walk(path).map_err(io)?)
}

/// Refuses a folder in which another user could put a file. Folders above it may be open, as those of the auth token.
fn check_folder(path: &Path, found: WalkedFile) -> Result<OwnedFd, UnixSocketError> {
    let refuse = |reason: String| Err(open(path, reason));
    if let Err(reason) = found.check_symlinks() {
        return refuse(reason);
    }
    if found.kind() != FileType::Directory {
        return refuse("it is not a folder".into());
    }
    if let Err(distrust) = found.facts.without_folders_above().trusted(&TrustPolicy::default()) {
        return refuse(distrust.about(path));
    }
    // A sticky folder is trusted for files that exist. Before a start another user could make the socket there.
    let mode = found.stat.st_mode & 0o7777;
    if mode & 0o1000 != 0 && mode & 0o022 != 0 {
        return refuse(format!("other users may make files in it (mode {mode:04o})"));
    }
    Ok(found.into_handle())
}

/// Removes a socket of this user on which no program listens.
async fn remove_left_socket(folder: &OwnedFd, name: &OsStr, path: &Path) -> Result<(), UnixSocketError> {
    let io = |what| move |error: Errno| UnixSocketError::Io(what, error.into());
    let left = match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(()),
        stat => stat.map_err(io("find the file at its path"))?,
    };
    if FileType::from_raw_mode(left.st_mode) != FileType::Socket {
        return Err(UnixSocketError::OtherFile);
    }
    if !is_our_socket(&left) {
        return Err(UnixSocketError::Foreign(left.st_uid));
    }
    if is_listening(path)? {
        return Err(UnixSocketError::InUse);
    }
    tokio::time::sleep(BINDING_TIME).await;
    if is_listening(path)? {
        return Err(UnixSocketError::InUse);
    }
    // Another daemon may have replaced the socket meanwhile. Rename first, because only a file without its name can be
    // compared and removed without a race.
    let aside = OsString::from(format!(".{}.{}", name.to_string_lossy(), std::process::id()));
    match rustix::fs::renameat(folder, name, folder, &aside) {
        Err(Errno::NOENT) => return Ok(()),
        renamed => renamed.map_err(io("remove the socket of an earlier daemon"))?,
    }
    let renamed = rustix::fs::statat(folder, &aside, AtFlags::SYMLINK_NOFOLLOW);
    if renamed.is_ok_and(|renamed| inode(&renamed) != inode(&left)) {
        let _ = rustix::fs::renameat_with(folder, &aside, folder, name, RenameFlags::NOREPLACE);
        return Err(UnixSocketError::InUse);
    }
    rustix::fs::unlinkat(folder, &aside, AtFlags::empty()).map_err(io("remove the socket of an earlier daemon"))?;
    tracing::debug!(path = %Escaped(&path.to_string_lossy()), "replaced the socket of an earlier daemon");
    Ok(())
}

/// Returns true if a program listens on the socket, and false if it is gone.
fn is_listening(path: &Path) -> Result<bool, UnixSocketError> {
    let connect = || {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)
    };
    match connect() {
        // The queue of the listener may be full.
        Ok(()) | Err(Errno::AGAIN) => Ok(true),
        Err(Errno::CONNREFUSED | Errno::NOENT) => Ok(false),
        Err(Errno::PROTOTYPE) => Err(UnixSocketError::OtherFile),
        Err(error) => Err(UnixSocketError::Io("ask if a program listens there", error.into())),
    }
}

fn open(folder: &Path, reason: impl Into<String>) -> UnixSocketError {
    UnixSocketError::Folder { path: folder.to_owned(), reason: reason.into() }
}

fn is_our_socket(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Socket && stat.st_uid == rustix::process::geteuid().as_raw()
}

fn inode(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

#[cfg(test)]
mod tests;
