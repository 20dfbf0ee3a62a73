//! Under a service manager: its sockets are used, and it is notified of readiness, status and watchdog pings.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Instant;

use rustix::process::Signal;
use testkit::harness::{Broker, HUSH, Home, Response, TIMEOUT, keys_file, send, wrapped};
use testkit::server::{Reply, Server};

/// The receiving end of a service manager.
struct Manager {
    socket: UnixDatagram,
    heard: Vec<String>,
}

impl Manager {
    fn new(home: &Home) -> Self {
        let socket = UnixDatagram::bind(home.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(TIMEOUT)).unwrap();
        Self { socket, heard: Vec::new() }
    }

    fn hear(&mut self) -> String {
        let mut buffer = [0; 4096];
        let length = self.socket.recv(&mut buffer).unwrap_or_else(|error| panic!("{error}; heard {:?}", self.heard));
        let text = String::from_utf8(buffer[..length].to_vec()).unwrap();
        assert!(!text.contains(HUSH), "{text}");
        self.heard.push(text.clone());
        text
    }

    /// Receives until a notification begins with `what`; returns all since the last call.
    fn wait_for(&mut self, what: &str) -> Vec<String> {
        let (began, start) = (Instant::now(), self.heard.len());
        while !self.hear().lines().any(|line| line.starts_with(what)) {
            assert!(began.elapsed() < TIMEOUT, "{what} was never said: {:?}", self.heard);
        }
        self.heard[start..].to_vec()
    }
}

/// Returns the command with a socket as file descriptor 3, as in sd_listen_fds(3). The socket is passed as standard
/// input, because safe code can pass no other descriptor.
fn with_socket(home: &Home, socket: OwnedFd, arguments: &[&str]) -> Command {
    let script = r#"exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=credenza exec "$@""#;
    let mut command = wrapped(&["sh", "-c", script, "sh"], &home.command(&["serve"]));
    command.args(arguments).stdin(Stdio::from(socket));
    command
}

#[test]
fn notifies_of_readiness_reload_and_stop() {
    let home = Home::new();
    let mut manager = Manager::new(&home);
    let (release, released) = mpsc::channel();
    let endpoint = Server::start(move |_| {
        let _ = released.recv();
        Reply::ok(testkit::document("ASIASLOW", "2099-01-01T00:00:00Z"))
    });
    let notify = home.path().join("notify");
    let variables = [
        ("NOTIFY_SOCKET", notify.to_str().unwrap()),
        ("WATCHDOG_USEC", "300000"),
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", &endpoint.url("/")),
    ];
    let mut broker = home.serve(&[], &variables);
    // During the load only watchdog pings are sent.
    for _ in 0..3 {
        assert_eq!(manager.hear().trim_end(), "WATCHDOG=1");
    }
    release.send(()).unwrap();
    let said = manager.wait_for("READY=1");
    assert!(said[..said.len() - 1].iter().all(|text| text.trim_end() == "WATCHDOG=1"), "{said:?}");
    assert_eq!(manager.wait_for("STATUS=").last().unwrap().trim_end(), "STATUS=1 of 1 identities have credentials");
    assert_eq!(broker.get("/credentials").key().as_deref(), Some("ASIASLOW"));

    broker.signal(Signal::HUP);
    let reloading = manager.wait_for("RELOADING=1").pop().unwrap();
    assert!(reloading.contains("MONOTONIC_USEC="), "{reloading}");
    manager.wait_for("READY=1");
    broker.signal(Signal::TERM);
    manager.wait_for("STOPPING=1");
    assert!(broker.wait().success());
}

#[test]
fn is_ready_after_a_failed_first_load() {
    let home = Home::new();
    let mut manager = Manager::new(&home);
    let notify = home.path().join("notify");
    let variables = [("NOTIFY_SOCKET", notify.to_str().unwrap()), ("CREDENZA_PROFILE", "absent")];
    let _broker = home.serve(&[], &variables);
    manager.wait_for("READY=1");
    let status = manager.wait_for("STATUS=").pop().unwrap();
    assert_eq!(
        status.trim_end(),
        "STATUS=0 of 1 identities have credentials; default has none, run `credenza status` for the reason"
    );
    assert!(
        manager.heard.iter().all(|text| !text.contains("WATCHDOG")),
        "no watchdog was requested: {:?}",
        manager.heard
    );
}

#[test]
fn notifies_of_a_bad_configuration() {
    let home = Home::new();
    let mut manager = Manager::new(&home);
    let notify = home.path().join("notify");
    home.write("credenza.toml", "[server]\nlisten = 1\n[nonsense]\n");
    let variables = [("NOTIFY_SOCKET", notify.to_str().unwrap())];
    let ended = home.run(&["--config", "credenza.toml", "serve"], &variables);
    assert_eq!(ended.code, Some(78), "{ended:?}");
    let status = manager.wait_for("STATUS=").pop().unwrap();
    assert!(status.contains("bad configuration") && status.contains("nonsense"), "{status}");
    assert_eq!(status.trim_end().lines().count(), 1, "{status}");
}

#[test]
fn uses_passed_sockets_and_leaves_them_open() {
    let home = Home::new();
    home.write(".aws/credentials", keys_file("AKIDSOCKET"));
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let start = || Broker::start(with_socket(&home, OwnedFd::from(socket.try_clone().unwrap()), &[]));
    let mut first = start();
    assert_eq!(first.addresses, [address]);
    first.wait_for_key("AKIDSOCKET");
    first.signal(Signal::TERM);
    assert!(first.wait().success());
    // The socket has no process now, and still accepts: the connection waits for the next one.
    let waiting = std::net::TcpStream::connect(address).unwrap();
    let second = start();
    second.wait_for_key("AKIDSOCKET");
    drop(waiting);
}

#[test]
fn checks_passed_sockets_like_addresses() {
    let home = Home::new();
    home.write(".aws/credentials", keys_file("AKIDSOCKET"));
    let remote = TcpListener::bind("0.0.0.0:0").unwrap();
    let datagram = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    for (socket, words) in [
        (OwnedFd::from(remote), ["other hosts could reach this address", "allow_remote"]),
        (OwnedFd::from(datagram), ["not a listening TCP or Unix socket", ""]),
    ] {
        let output = with_socket(&home, socket, &[]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(words.iter().all(|word| said.contains(word)), "{said}");
    }

    // A socket that another user has made.
    if rustix::process::geteuid().is_root() {
        let foreign = TcpListener::bind("127.0.0.1:0").unwrap();
        std::os::unix::fs::fchown(&foreign, Some(64002), None).unwrap();
        let output = with_socket(&home, OwnedFd::from(foreign), &[]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        let told = "socket 0 of the service manager (LISTEN_FDS) belongs to user 64002, not to this user (0) or root";
        assert!(output.status.code() == Some(1) && said.contains(told), "{said}");
    }

    // Its address wins over the configured one, which is logged.
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let broker = Broker::start(with_socket(&home, OwnedFd::from(socket), &["--listen", "127.0.0.1:1"]));
    assert_eq!(broker.addresses, [address]);
    assert!(broker.log().contains("the daemon uses their addresses"), "{}", broker.log());
}

/// The passed socket holds the port: a broker that bound it again would report that it is in use.
#[test]
fn passed_socket_serves_imds_at_its_address() {
    let home = Home::new();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    home.write("credenza.toml", format!("[imds]\nlisten = \"{address}\"\n"));
    let arguments = ["--config", "credenza.toml", "--listen", "127.0.0.1:0"];
    let mut command = with_socket(&home, socket.into(), &arguments);
    command.envs([("AWS_ACCESS_KEY_ID", "ASIAENV"), ("AWS_SECRET_ACCESS_KEY", HUSH), ("AWS_SESSION_TOKEN", HUSH)]);
    let broker = Broker::start(command);
    assert_eq!(broker.addresses[1], address);
    assert_eq!(broker.get("/credentials").status, 200, "the container endpoint is elsewhere");
    let head = format!("GET /latest/meta-data/ HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    assert_eq!(Response::read(&mut send(address, head)).status, 401);
}
