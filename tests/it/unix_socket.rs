//! Unix sockets as listeners: clients, the file of the socket, the commands that ask a daemon, and other programs there.

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use testkit::harness::{Broker, Home, KEYS, Response, TIMEOUT, skip, until, wrapped};

/// A user id other than root and the user of the tests.
const ANOTHER_USER: u32 = 64_001;

/// Sends a GET request over a new connection to the socket.
fn get(socket: &Path, path: &str, headers: &str) -> Response {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n").unwrap();
    let mut all = Vec::new();
    let _ = stream.read_to_end(&mut all);
    Response::parse(&all)
}

/// The kernel refuses a connection to a full queue at once, and the daemon empties its queue in a moment.
#[test]
fn command_waits_for_room_in_a_full_queue() {
    let home = Home::new();
    home.write("run/token", "hush-0123456789abcdef0123456789abcdef");
    fs::set_permissions(home.path().join("run/token"), Permissions::from_mode(0o600)).unwrap();
    let socket = home.path().join("run/credenza.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    // Room for one connection.
    rustix::net::listen(&listener, 0).unwrap();
    let _first = UnixStream::connect(&socket).unwrap();
    listener.set_nonblocking(true).unwrap();
    let listen = format!("unix:{}", socket.display());
    let mut command = home.command(&["get", "--from-daemon", "--listen", &listen]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert!(child.try_wait().unwrap().is_none(), "it gave up: {:?}", child.wait_with_output());
    drop(listener.accept().unwrap());
    until("the command is served", || {
        if let Ok((mut stream, _)) = listener.accept() {
            stream.set_nonblocking(false).unwrap();
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
                head.push(byte[0]);
            }
            let body = testkit::document("AKIAQUEUE", "2099-01-01T00:00:00Z");
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
                .unwrap();
        }
        child.try_wait().unwrap().is_some()
    });
    let output = child.wait_with_output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("AKIAQUEUE"), "{output:?}");
}

/// Starts a daemon that listens on a Unix socket alone, and waits for its credentials.
fn serve(home: &Home) -> (Broker, PathBuf, String) {
    let socket = home.path().join("run/credenza.sock");
    let listen = format!("unix:{}", socket.display());
    let broker = home.serve(&["--listen", &listen], &KEYS);
    let headers = format!("Host: localhost\r\nAuthorization: {}\r\n", broker.token());
    until("it has credentials", || get(&socket, "/credentials", &headers).status == 200);
    (broker, socket, listen)
}

#[test]
fn serves_clients_and_removes_its_socket_at_the_end() {
    let home = Home::new();
    let (mut broker, socket, listen) = serve(&home);
    let token = broker.token();
    assert!(broker.log().contains(&format!("listening on {listen}")), "{}", broker.log());
    assert!(broker.addresses.is_empty(), "it listens on no port");
    for (headers, status, key) in [
        (format!("Host: localhost\r\nAuthorization: {token}\r\n"), 200, Some("AKIAENV")),
        (format!("Host: 127.0.0.1:80\r\nAuthorization: {token}\r\n"), 200, Some("AKIAENV")),
        ("Host: localhost\r\n".into(), 401, None),
        (format!("Host: localhost\r\nAuthorization: {token}x\r\n"), 401, None),
        (format!("Host: elsewhere.example\r\nAuthorization: {token}\r\n"), 403, None),
        (format!("Host: localhost\r\nX-Forwarded-For: 1\r\nAuthorization: {token}\r\n"), 403, None),
    ] {
        let answer = get(&socket, "/credentials", &headers);
        assert_eq!((answer.status, answer.key().as_deref()), (status, key), "{headers}");
    }
    let metadata = fs::metadata(&socket).unwrap();
    assert!(metadata.file_type().is_socket() && metadata.mode() & 0o777 == 0o666);
    let curl = Command::new("curl")
        .args(["--silent", "--unix-socket", socket.to_str().unwrap(), "http://localhost/credentials", "-H"])
        .arg(format!("Authorization: {token}"))
        .output();
    match curl {
        Ok(output) => assert!(String::from_utf8_lossy(&output.stdout).contains("AKIAENV"), "{output:?}"),
        Err(_) => assert!(skip("curl is missing")),
    }
    broker.signal(Signal::TERM);
    assert!(broker.wait().success());
    assert!(!socket.exists());
}

#[test]
fn commands_ask_a_daemon_that_has_no_port() {
    let home = Home::new();
    let (broker, _, listen) = serve(&home);
    let key = home.run(&["get", "--from-daemon", "--listen", &listen], &[]).key();
    assert_eq!(key, "AKIAENV");
    let status = home.run(&["status", "--listen", &listen], &[]);
    assert!(status.code == Some(0) && status.stdout.contains("AKIAENV"), "{status:?}");
    home.write(".config/credenza/credenza.toml", "[server]\nlisten = [\"unix:~/run/credenza.sock\"]\n");
    assert_eq!(home.run(&["status", "--ready"], &[]).code, Some(0));
    let lines = home.run(&["get", "--from-daemon", "--format", "env"], &[]);
    assert!(lines.stdout.contains("export AWS_ACCESS_KEY_ID='AKIAENV'"), "{lines:?}");
    let env = home.run(&["env"], &[]);
    assert_eq!((env.code, &*env.stdout), (Some(1), ""), "{env:?}");
    assert!(env.stderr.contains("SDKs know no Unix sockets") && env.stderr.contains(&listen), "{env:?}");
    drop(broker);
    let none = home.run(&["status"], &[]);
    assert!(none.code == Some(1) && none.stderr.contains(&format!("no daemon answers at {listen}")), "{none:?}");
}

#[test]
fn listens_on_both_kinds_and_tells_sdks_the_port() {
    let home = Home::new();
    let config = "[server]\nlisten = [\"unix:~/s\", \"127.0.0.1:0\"]\n";
    home.write("credenza.toml", config);
    let mut command = home.command(&["--config", "credenza.toml", "serve"]);
    command.envs(KEYS);
    let broker = Broker::start(command);
    broker.wait_for_key("AKIAENV");
    let headers = format!("Host: localhost\r\nAuthorization: {}\r\n", broker.token());
    assert_eq!(get(&home.path().join("s"), "/credentials", &headers).status, 200);
    let address = broker.address().to_string();
    let env = home.run(&["env", "--listen", "unix:~/s", "--listen", &address], &[]);
    assert!(env.stdout.contains(&format!("http://{address}/credentials")), "{env:?}");
}

#[test]
fn a_killed_daemon_leaves_a_socket_that_the_next_replaces() {
    let home = Home::new();
    let (mut broker, socket, _) = serve(&home);
    broker.child.kill().unwrap();
    broker.wait();
    assert!(socket.exists());
    drop(serve(&home));
}

#[test]
fn a_second_daemon_leaves_the_first_alone() {
    let home = Home::new();
    let (broker, socket, listen) = serve(&home);
    let inode = fs::metadata(&socket).unwrap().ino();
    let second = home.run(&["serve", "--listen", &listen], &KEYS);
    assert_eq!(second.code, Some(1), "{second:?}");
    assert!(second.stderr.contains(&format!("{listen}: another program listens there")), "{second:?}");
    assert_eq!(fs::metadata(&socket).unwrap().ino(), inode);
    let headers = format!("Host: localhost\r\nAuthorization: {}\r\n", broker.token());
    assert_eq!(get(&socket, "/credentials", &headers).status, 200);
}

#[test]
fn refuses_foreign_files_and_open_folders() {
    let home = Home::new();
    let file = home.write("file", "mine");
    let refused = home.run(&["serve", "--listen", &format!("unix:{}", file.display())], &KEYS);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("no stream socket is there; remove it"), "{refused:?}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");

    let open = home.path().join("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, Permissions::from_mode(0o777)).unwrap();
    let refused = home.run(&["serve", "--listen", "unix:~/open/s"], &KEYS);
    assert!(refused.code == Some(1) && refused.stderr.contains("may be written by all users"), "{refused:?}");
    assert_eq!(fs::read_dir(&open).unwrap().count(), 0);
    for (listen, code, words) in [
        ("unix:s", 2, "not the absolute path of a Unix socket"),
        (&format!("unix:/{}", "x".repeat(107)), 2, "at most 107 bytes"),
        (&format!("unix:~/{}", "x".repeat(100)), 1, "at most 107 are allowed"),
    ] {
        let refused = home.run(&["serve", "--listen", listen], &KEYS);
        assert!(refused.code == Some(code) && refused.stderr.contains(words), "{refused:?}");
    }
}

#[test]
fn uses_a_passed_socket_and_leaves_its_file() {
    let home = Home::new();
    let path = home.path().join("passed");
    let socket = UnixListener::bind(&path).unwrap();
    let script = r#"exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec "$@""#;
    let mut command = wrapped(&["sh", "-c", script, "sh"], &home.command(&["serve", "--listen", "unix:~/other"]));
    command.envs(KEYS).stdin(Stdio::from(OwnedFd::from(socket)));
    let mut broker = Broker::start(command);
    let headers = format!("Host: localhost\r\nAuthorization: {}\r\n", broker.token());
    until("it has credentials", || get(&path, "/credentials", &headers).status == 200);
    let log = broker.log();
    assert!(log.contains(&format!("listening on unix:{}", path.display())), "{log}");
    assert!(log.contains("the service manager passes the sockets"), "{log}");
    broker.signal(Signal::TERM);
    assert!(broker.wait().success());
    assert!(path.exists() && !home.path().join("other").exists());
}

/// The kernel names the user of the listener, so that the token goes to no other.
#[test]
fn sends_no_token_to_another_users_socket() {
    if !rustix::process::geteuid().is_root() && skip("a socket of another user needs root") {
        return;
    }
    let home = Home::new();
    home.write("run/token", "0123456789abcdef0123456789abcdef");
    fs::set_permissions(home.path().join("run/token"), Permissions::from_mode(0o600)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).unwrap();
    let path = folder.path().join("socket");
    // The user of a thread is that of the sockets on which it listens.
    let bind = {
        let path = path.clone();
        move || {
            rustix::thread::set_thread_uid(rustix::process::Uid::from_raw(ANOTHER_USER)).unwrap();
            UnixListener::bind(path).unwrap()
        }
    };
    let listener = std::thread::spawn(bind).join().unwrap();
    let refused = home.run(&["get", "--from-daemon", "--listen", &format!("unix:{}", path.display())], &[]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains(&format!("user {ANOTHER_USER} listens there")), "{refused:?}");
    let (mut stream, _) = listener.accept().unwrap();
    let mut sent = Vec::new();
    stream.read_to_end(&mut sent).unwrap();
    assert!(sent.is_empty(), "{}", String::from_utf8_lossy(&sent));
}

/// Slots of Unix peers count for their users, so that a flood of one user keeps no other out.
#[test]
fn a_flood_of_one_user_evicts_its_own_connections() {
    const SLOTS: usize = 8;
    if !rustix::process::geteuid().is_root() && skip("connections of another user need root") {
        return;
    }
    let home = Home::new();
    fs::set_permissions(home.path(), Permissions::from_mode(0o755)).unwrap();
    let path = home.path().join("s");
    home.write("credenza.toml", format!("[server]\nmax_connections = {SLOTS}\n"));
    let broker = home.serve(&["--config", "credenza.toml", "--listen", "unix:~/s"], &KEYS);
    let headers = format!("Host: localhost\r\nAuthorization: {}\r\n", broker.token());
    until("it has credentials", || get(&path, "/credentials", &headers).status == 200);
    let mut paused = UnixStream::connect(&path).unwrap();
    let flood = {
        let path = path.clone();
        move || {
            rustix::thread::set_thread_uid(rustix::process::Uid::from_raw(ANOTHER_USER)).unwrap();
            (0..100).map(|_| UnixStream::connect(&path).unwrap()).collect::<Vec<_>>()
        }
    };
    let flood = std::thread::spawn(flood).join().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(300));
    write!(paused, "GET /credentials HTTP/1.1\r\n{headers}Connection: close\r\n\r\n").unwrap();
    paused.set_read_timeout(Some(TIMEOUT)).unwrap();
    let mut answer = Vec::new();
    paused.read_to_end(&mut answer).unwrap();
    assert_eq!(Response::parse(&answer).status, 200);
    drop(flood);
}
