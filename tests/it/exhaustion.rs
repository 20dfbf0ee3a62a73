//! Exhausted file descriptors, watches, disks, readers: the daemon goes on, logs it once, and recovers by itself.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use testkit::harness::{Broker, Home, KeepAlive, Response, TIMEOUT, keys_file, open_many_files, skip, until, wrapped};

const KEYS: [(&str, &str); 3] =
    [("AWS_ACCESS_KEY_ID", "AKIAENV"), ("AWS_SECRET_ACCESS_KEY", "hush-env"), ("RUST_LOG", "info")];

fn times(broker: &Broker, what: &str) -> usize {
    broker.log().matches(what).count()
}

/// Sets the soft limit of open files of a running daemon.
fn limit_files(broker: &Broker, files: u64) {
    let pid = Pid::from_child(&broker.child);
    let before = prlimit(Some(pid), Resource::Nofile, Rlimit { current: Some(files), maximum: Some(files.max(4096)) });
    before.unwrap();
}

#[test]
fn recovers_from_exhausted_file_descriptors() {
    let home = Home::new();
    home.write(".aws/credentials", keys_file("AKIABEFORE"));
    let mut broker = home.serve(&[], &KEYS[2..]);
    broker.wait_for_key("AKIABEFORE");
    let mut client = KeepAlive::to(&broker);
    assert_eq!(client.request(), 200);

    limit_files(&broker, 1);
    let mut waiting = TcpStream::connect(broker.address()).unwrap();
    broker.wait_for_log("cannot accept connections");
    for _ in 0..5 {
        assert_eq!(client.request(), 200, "a connected client is still served");
        std::thread::sleep(Duration::from_millis(100));
    }
    // The file cannot be read either: the lease remains.
    home.write(".aws/credentials", keys_file("AKIAAFTER"));
    broker.wait_for_log("load failed");
    assert_eq!(client.request(), 200);
    assert_eq!(times(&broker, "cannot accept connections"), 1, "{}", broker.log());

    limit_files(&broker, 1024);
    broker.wait_for_key("AKIAAFTER");
    waiting.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    assert_eq!(Response::read(&mut waiting).status, 200, "the waiting client is served");
    broker.wait_for("/healthz", |_| times(&broker, "connections are accepted again") == 1);
    assert_eq!(times(&broker, "cannot accept connections"), 1, "{}", broker.log());
}

#[test]
fn keeps_file_descriptors_from_unknown_clients() {
    let home = Home::new();
    home.write(".aws/credentials", keys_file("AKIABEFORE"));
    let broker = Broker::start(serve_in(&["sh", "-c", "ulimit -n 128 && exec \"$0\" \"$@\""], &home, &KEYS[2..]));
    broker.wait_for_key("AKIABEFORE");
    assert_eq!(times(&broker, "leaves room for fewer connections"), 1, "{}", broker.log());
    let unknown: Vec<_> = (0..1000).map(|_| TcpStream::connect(broker.address()).unwrap()).collect();
    home.write(".aws/credentials", keys_file("AKIAAFTER"));
    broker.wait_for_key("AKIAAFTER");
    assert_eq!(times(&broker, "cannot accept"), 0, "{}", broker.log());
    drop(unknown);
}

/// Returns a command that runs another program, which replaces itself by `serve` in this home.
fn serve_in(outer: &[&str], home: &Home, variables: &[(&str, &str)]) -> Command {
    let mut command = wrapped(outer, &home.command(&["serve", "--listen", "127.0.0.1:0"]));
    command.envs(variables.iter().copied());
    command
}

/// Returns true if this script succeeds in a namespace of this kind.
pub(crate) fn can(namespace: &str, script: &str) -> bool {
    let done = Command::new("unshare").args([namespace, "sh", "-c", script]).stderr(Stdio::null()).status();
    done.is_ok_and(|status| status.success())
}

#[test]
fn polls_files_when_watches_are_exhausted() {
    std::thread::scope(|scope| {
        for limit in ["max_inotify_watches", "max_inotify_instances"] {
            scope.spawn(move || polls_without(limit));
        }
    });
}

/// Runs in a user namespace with a limit of its own, and raises the limit after the daemon has reported it.
fn polls_without(limit: &str) {
    let file = format!("/proc/sys/user/{limit}");
    if !can("-Ur", &format!("echo 0 > {file}")) && skip("user namespaces with limits of their own (unshare -Ur)") {
        return;
    }
    let home = Home::new();
    home.write(".aws/credentials", keys_file("AKIABEFORE"));
    let script = format!(
        "echo 0 > {file} || exit; exec 3<&0; (read -r go <&3; echo 1000 > {file}) & exec \"$0\" \"$@\" 3<&- </dev/null"
    );
    let mut command = serve_in(&["unshare", "-Ur", "sh", "-c", &script], &home, &KEYS[2..]);
    command.stdin(Stdio::piped());
    let mut broker = Broker::start(command);
    broker.wait_for_key("AKIABEFORE");
    broker.wait_for_log("files are polled instead");
    home.write(".aws/credentials", keys_file("AKIAPOLLED"));
    broker.wait_for_key("AKIAPOLLED");
    assert_eq!(times(&broker, "files are polled instead"), 1, "{limit}: {}", broker.log());

    broker.child.stdin.take().unwrap().write_all(b"go\n").unwrap();
    broker.wait_for_log("the kernel gives file watches again");
    home.write(".aws/credentials", keys_file("AKIAWATCHED"));
    broker.wait_for_key("AKIAWATCHED");
    assert_eq!(times(&broker, "files are polled instead"), 1, "{limit}: {}", broker.log());
}

#[test]
fn reports_a_full_disk_and_starts_once_there_is_space() {
    let probe = tempfile::tempdir().unwrap();
    let mount = |folder: &Path| format!("mount -t tmpfs -o size=64k,mode=700 none '{}'", folder.display());
    if !can("-m", &mount(probe.path())) && skip("mounting a small file system (unshare -m, as root)") {
        return;
    }
    let home = Home::new();
    fs::create_dir(home.path().join("run")).unwrap();
    // The first start has no space. The second has some and creates the auth token. The third has the token, no space.
    let script = format!(
        r#"
        {mount} || exit
        fill() {{ dd if=/dev/zero of=run/fill bs=1k 2>/dev/null; }}
        fill
        "$0" "$@"; echo "ended with $?, left $(ls -A run)"
        rm run/fill
        "$0" "$@" & daemon=$!
        for _ in $(seq 200); do [ -s run/token ] && break; sleep 0.1; done
        kill $daemon; wait $daemon; echo "stopped with $?"
        fill
        exec "$0" "$@"
        "#,
        mount = mount(&home.path().join("run"))
    );
    let mut broker = Broker::start(serve_in(&["unshare", "-m", "sh", "-c", &script], &home, &KEYS));
    broker.wait_for_log("stopped with 0");
    until("the third start is ready", || times(&broker, "ready to answer") == 2);
    let log = broker.log();
    assert!(log.contains("ended with 1, left fill\n"), "{log}");
    assert!(log.contains("run/token: cannot") && log.contains("No space left on device"), "{log}");
    broker.token_file = format!("/proc/{}/root{}", broker.child.id(), broker.token_file.display()).into();
    let address = log.lines().rfind(|line| line.contains("listening on http://")).unwrap();
    broker.addresses = vec![address.rsplit('=').next().unwrap().trim().parse().unwrap()];
    broker.wait_for_key("AKIAENV");
}

#[test]
fn serves_other_identities_when_a_file_system_hangs() {
    let home = Home::new();
    let hung = home.path().join("hung");
    fs::create_dir(&hung).unwrap();
    // The other end stays open as long as the daemon runs, and never answers.
    let mount = format!(
        "exec 3<>/dev/fuse && mount -i -t fuse -o fd=3,rootmode=40000,user_id=0,group_id=0 none '{}'",
        hung.display()
    );
    if !can("-m", &mount) && skip("mounting a file system that hangs (unshare -m and /dev/fuse, as root)") {
        return;
    }
    home.write("key", "AKIABEFORE");
    home.write("secret", "hush-secret");
    // Nearly as many as there are threads for blocking work; their retries must not take the remaining threads.
    let hanging = |n| format!("[identities.hung{n}]\nsources = [{{ credentials_file = \"~/hung/{n}\" }}]\n");
    let hanging: String = (0..50).map(hanging).collect();
    let files = "access_key_id_file = \"~/key\", secret_access_key_file = \"~/secret\"";
    home.write("credenza.toml", format!("[identities.default]\nsources = [{{ {files} }}]\n{hanging}"));
    let outer = ["unshare", "-m", "sh", "-c", &format!("{mount} && exec \"$0\" \"$@\"")];
    let mut command = serve_in(&outer, &home, &KEYS[2..]);
    command.args(["--config", "credenza.toml"]);
    let mut broker = Broker::start(command);
    broker.wait_for_key("AKIABEFORE");
    home.write("key", "AKIADURING");
    broker.wait_for_key("AKIADURING");
    broker.wait_for_log("load failed");
    std::thread::sleep(Duration::from_secs(2));
    home.write("key", "AKIAAFTER");
    broker.wait_for_key("AKIAAFTER");
    let answer = broker.get("/credentials/hung1");
    assert_eq!(answer.status, 503, "{answer:?}");
}

#[test]
fn serves_beside_ten_thousand_idle_connections() {
    let files = open_many_files(10_000);
    if files.is_none() && skip("10,000 connections need ulimit -n 14000") {
        return;
    }
    let home = Home::new();
    let broker = home.serve_config("[server]\nmax_connections = 11000\n", &KEYS);
    broker.wait_for_key("AKIAENV");
    let mut client = KeepAlive::to(&broker);
    let idle: Vec<_> = (0..10_000)
        .map(|number| {
            if number % 500 == 0 {
                assert_eq!(client.request(), 200);
            }
            TcpStream::connect(broker.address()).unwrap()
        })
        .collect();
    assert_eq!(broker.get("/credentials").status, 200);
    assert_eq!(client.request(), 200);
    // The daemon closes each of them after the header timeout, although no client needs the slot.
    for mut stream in idle {
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    }
    assert_eq!(broker.get("/credentials").status, 200);
    assert!(broker.peak_memory() < 256_000, "{} kB", broker.peak_memory());
    assert!(broker.log().lines().count() < 20, "{}", broker.log());
}

#[test]
fn closes_connections_of_clients_that_never_read() {
    const SLOTS: usize = 4;
    let home = Home::new();
    let broker = home.serve_config(format!("[server]\nmax_connections = {SLOTS}\n"), &KEYS);
    let token = home.token();
    broker.wait_for_key("AKIAENV");
    let requests =
        format!("GET /credentials HTTP/1.1\r\nHost: localhost\r\nAuthorization: {token}\r\n\r\n").repeat(1000);
    let mut readers: Vec<TcpStream> = (0..SLOTS)
        .map(|_| {
            let mut stream = TcpStream::connect(broker.address()).unwrap();
            stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
            while stream.write_all(requests.as_bytes()).is_ok() {}
            stream
        })
        .collect();
    let (sending, received) = queued(broker.address().port());
    assert!(sending > 0, "no response waits for its reader");
    assert!(
        sending < SLOTS << 17 && received < SLOTS << 17,
        "the kernel holds {sending} and {received} bytes for them"
    );
    let deadline = Instant::now() + TIMEOUT;
    for reader in &mut readers {
        while !matches!(reader.write(b"x"), Err(error) if error.kind() != std::io::ErrorKind::WouldBlock) {
            assert!(Instant::now() < deadline, "the connection is still open");
        }
    }
    assert_eq!(broker.get("/credentials").status, 200);
    assert!(broker.peak_memory() < 64_000, "{} kB", broker.peak_memory());
}

/// Idle connections with a token, as a pool of a client keeps them, must not keep other clients out.
#[test]
fn idle_connections_with_a_token_make_room() {
    const SLOTS: usize = 8;
    let home = Home::new();
    let config = home.write("credenza.toml", format!("[server]\nmax_connections = {SLOTS}\n"));
    let broker = home.serve(&["--config", config.to_str().unwrap()], &KEYS);
    broker.wait_for_key("AKIAENV");
    let mut idle: Vec<KeepAlive> = (0..SLOTS).map(|_| KeepAlive::to(&broker)).collect();
    for client in &mut idle {
        assert_eq!(client.request(), 200);
    }
    let began = Instant::now();
    for _ in 0..3 {
        assert_eq!(broker.get("/credentials").status, 200);
    }
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}: they waited for the header timeout", began.elapsed());
    // The newest has the latest right to stay.
    assert_eq!(idle.pop().unwrap().request(), 200);
}

/// A user with many connections must not evict the few of another, even while that one pauses.
#[test]
fn a_flood_of_one_user_evicts_its_own_connections() {
    const SLOTS: usize = 8;
    if !rustix::process::geteuid().is_root() && skip("connections of another user need root") {
        return;
    }
    let home = Home::new();
    let config = home.write("credenza.toml", format!("[server]\nmax_connections = {SLOTS}\n"));
    let broker = home.serve(&["--config", config.to_str().unwrap()], &KEYS);
    let token = home.token();
    broker.wait_for_key("AKIAENV");
    let (host, port) = (broker.address().ip(), broker.address().port());
    let script = format!("for i in $(seq 100); do exec {{fd}}<>/dev/tcp/{host}/{port}; done; echo full; read -r");
    let mut command = Command::new("bash");
    std::os::unix::process::CommandExt::uid(command.args(["-c", &script]), 65_534);
    let mut paused = TcpStream::connect(broker.address()).unwrap();
    let mut flood = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = [0; 4];
    flood.stdout.as_mut().unwrap().read_exact(&mut said).unwrap();
    write!(
        paused,
        "GET /credentials HTTP/1.1\r\nHost: localhost\r\nAuthorization: {token}\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    paused.set_read_timeout(Some(TIMEOUT)).unwrap();
    let mut answer = String::new();
    paused.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer:?}");
    drop(flood.stdin.take());
    flood.wait().unwrap();
}

/// Returns the bytes that the kernel holds for the connections of this port, unread by the peer and by the daemon.
fn queued(port: u16) -> (usize, usize) {
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let ours = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    // Columns: number, local address, remote address, state (01 is established), both queues.
    let ours = ours.filter(|columns| columns[1].ends_with(&format!(":{port:04X}")) && columns[3] == "01");
    ours.fold((0, 0), |(sending, received), columns| {
        let (send, receive) = columns[4].split_once(':').unwrap();
        (sending + usize::from_str_radix(send, 16).unwrap(), received + usize::from_str_radix(receive, 16).unwrap())
    })
}
