//! The control socket of a daemon that answers as a test wants.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::server::{Reply, Seen, read, write};

/// Listens at a path until it is dropped. The file stays, as after the crash of a daemon.
pub struct ControlServer {
    path: PathBuf,
    seen: Arc<Mutex<Vec<Seen>>>,
    stop: Arc<AtomicBool>,
}

impl ControlServer {
    pub fn start(path: &Path, answer: impl FnMut(&Seen) -> Reply + Send + 'static) -> Self {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let _ = std::fs::remove_file(path);
        let listener = UnixListener::bind(path).unwrap();
        std::fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
        let (seen, stop) = (Arc::<Mutex<Vec<Seen>>>::default(), Arc::<AtomicBool>::default());
        let (requests, stopped, answer) = (Arc::clone(&seen), Arc::clone(&stop), Arc::new(Mutex::new(answer)));
        thread::spawn(move || {
            for stream in listener.incoming().take_while(|_| !stopped.load(Ordering::SeqCst)).flatten() {
                let (requests, answer) = (Arc::clone(&requests), Arc::clone(&answer));
                thread::spawn(move || {
                    let Some(request) = read(&stream) else { return };
                    requests.lock().unwrap().push(request.clone());
                    let reply = (answer.lock().unwrap())(&request);
                    // The client may close the connection before it has read all of the reply.
                    drop(write(&stream, reply));
                });
            }
        });
        Self { path: path.to_owned(), seen, stop }
    }

    /// Returns the requests, and forgets them.
    pub fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut *self.seen.lock().unwrap())
    }
}

impl Drop for ControlServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        drop(UnixStream::connect(&self.path));
    }
}
