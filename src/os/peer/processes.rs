//! Real processes of several users and namespaces, as access control sees them. Each child is this test program again.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use super::{ConnectionEnds, PeerUser, PeerUsers, overflow_id, peercred};

/// The variable with the task of a child.
const CHILD: &str = "CREDENZA_PEER_CHILD";

const STRANGER: u32 = 64_001;

/// A child and the rest of its output. Its standard input ends with its drop, and then the child ends.
struct Process {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Process {
    /// Runs this program under a command such as `unshare`, as a user.
    fn start(outer: &[&str], user: u32, task: &str) -> Self {
        let program = std::env::current_exe().unwrap();
        let mut words: Vec<&str> = outer.to_vec();
        words.extend([program.to_str().unwrap(), "os::peer::processes::child", "--exact", "--nocapture"]);
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).env(CHILD, task).uid(user).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, output }
    }

    /// Returns the rest of the line that begins with this word.
    fn said(&mut self, word: &str) -> String {
        let mut line = String::new();
        while self.output.read_line(&mut line).unwrap() > 0 {
            if let Some(rest) = line.strip_prefix(word) {
                return rest.trim().to_owned();
            }
            line.clear();
        }
        panic!("the child has not said {word:?}: {:?}", self.child.wait());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The child process of the other tests. It connects, or judges the user of a connection.
#[test]
#[allow(clippy::disallowed_methods, reason = "the variable is the parameter of the child")]
fn child() {
    let Ok(task) = std::env::var(CHILD) else { return };
    let (kind, target) = task.split_once(' ').unwrap();
    let mut streams: (Option<TcpStream>, Option<UnixStream>) = (None, None);
    match kind {
        "tcp" => streams.0 = Some(TcpStream::connect(target).unwrap()),
        "unix" => streams.1 = Some(UnixStream::connect(target).unwrap()),
        _ => return judge(Path::new(target)),
    }
    say("connected");
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

fn judge(path: &Path) {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let unix = UnixListener::bind(path).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o666)).unwrap();
    say(&format!("listening {}", tcp.local_addr().unwrap()));
    say(&format!("tcp {:?}", accepted(&PeerUsers::new(), &tcp)));
    say(&format!("unix {:?}", accepted_unix(&unix)));
}

fn accepted(users: &PeerUsers, listener: &TcpListener) -> Option<u32> {
    let (stream, client) = listener.accept().unwrap();
    users.proven(ConnectionEnds { client, ours: stream.local_addr().unwrap() })
}

fn accepted_unix(listener: &UnixListener) -> Option<u32> {
    let (stream, _) = listener.accept().unwrap();
    stream.set_nonblocking(true).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    let _guard = runtime.enter();
    peercred(&tokio::net::UnixStream::from_std(stream).unwrap())
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // The test harness has begun a line.
    write!(out, "\n{line}\n").unwrap();
    out.flush().unwrap();
}

/// Returns true if this process is root, and others can run this program.
fn can_be_others() -> bool {
    let can = rustix::process::geteuid().is_root() && {
        let mut probe = Command::new(std::env::current_exe().unwrap());
        probe.arg("--list").uid(STRANGER).stdout(Stdio::null()).stderr(Stdio::null());
        probe.status().is_ok_and(|status| status.success())
    };
    can || !testkit::harness::skip("processes of other users need root, and a program that all users may run")
}

fn can(outer: &[&str]) -> bool {
    let mut probe = Command::new(outer[0]);
    probe.args(&outer[1..]).arg("true").stderr(Stdio::null());
    probe.status().is_ok_and(|status| status.success())
        || !testkit::harness::skip(&format!("{} is not possible here", outer.join(" ")))
}

fn socket() -> (tempfile::TempDir, PathBuf, UnixListener) {
    let (folder, path) = open_folder();
    let listener = UnixListener::bind(&path).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
    (folder, path, listener)
}

/// A folder in which every user may make a socket.
fn open_folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).unwrap();
    let path = folder.path().join("socket");
    (folder, path)
}

#[test]
fn proves_processes_of_other_users_and_user_namespaces() {
    if !can_be_others() {
        return;
    }
    let users = PeerUsers::new();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = tcp.local_addr().unwrap();
    let (_folder, path, unix) = socket();
    let plain: &[&str] = &["env"];
    // The process has uid 0 in its namespace. The test expects the user that created the namespace.
    let namespace: &[&str] = &["unshare", "--user", "--map-root-user"];
    for (outer, user, expected) in [
        (plain, 0, Some(0)),
        (plain, STRANGER, Some(STRANGER)),
        (plain, overflow_id(), None),
        (namespace, STRANGER, Some(STRANGER)),
        (namespace, overflow_id(), None),
    ] {
        if outer == namespace && !can(namespace) {
            continue;
        }
        let mut client = Process::start(outer, user, &format!("tcp {address}"));
        client.said("connected");
        assert_eq!(accepted(&users, &tcp), expected, "TCP {outer:?} {user}");
        let mut client = Process::start(outer, user, &format!("unix {}", path.display()));
        client.said("connected");
        assert_eq!(accepted_unix(&unix), expected, "Unix {outer:?} {user}");
    }
}

#[test]
fn users_without_an_id_in_our_namespace_are_not_proven() {
    let namespace = ["unshare", "--user", "--map-root-user"];
    if !can_be_others() || !can(&namespace) {
        return;
    }
    // The judge knows only its own user, under the id 0. We are without an id there.
    for (connects_as, expected) in [(0, "None"), (STRANGER, "Some(0)")] {
        let (_folder, path) = open_folder();
        let mut judge = Process::start(&namespace, STRANGER, &format!("judge {}", path.display()));
        let address = judge.said("listening");
        let mut client = Process::start(&["env"], connects_as, &format!("tcp {address}"));
        client.said("connected");
        assert_eq!(judge.said("tcp"), expected, "TCP {connects_as}");
        let mut client = Process::start(&["env"], connects_as, &format!("unix {}", path.display()));
        client.said("connected");
        assert_eq!(judge.said("unix"), expected, "Unix {connects_as}");
    }
}

#[test]
fn another_network_namespace_has_no_row() {
    // Another run of this test may be going on.
    let [.., high, low] = std::process::id().to_be_bytes();
    let (ours, theirs) = (format!("10.{}.{low}.1", 128 + high % 64), format!("10.{}.{low}.2", 128 + high % 64));
    let namespace = ["unshare", "--net", "sh", "-c", "read -r go; exec \"$@\"", "sh"];
    if !can_be_others() || !can(&["unshare", "--net"]) {
        return;
    }
    let (_folder, path, unix) = socket();
    let mut tcp_client = Process::start(&namespace, 0, &format!("tcp {ours}:9"));
    let mut unix_client = Process::start(&namespace, 0, &format!("unix {}", path.display()));
    unix_client.child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    unix_client.said("connected");
    assert_eq!(accepted_unix(&unix), Some(0), "a Unix socket has no network namespace");

    let pid = tcp_client.child.id();
    let name = format!("credenza{}", pid % 1_000_000);
    let inside = format!("nsenter -t {pid} -n");
    let script = format!(
        "ip link add {name} type veth peer name inner netns {pid} && ip addr add {ours}/30 dev {name} && \
         ip link set {name} up && {inside} ip addr add {theirs}/30 dev inner && {inside} ip link set inner up"
    );
    // The child has its namespace once it waits for a line.
    let own = fs::read_link("/proc/self/ns/net").unwrap();
    testkit::harness::until("the child has its network namespace", || {
        fs::read_link(format!("/proc/{pid}/ns/net")).is_ok_and(|link| link != own)
    });
    let made = Command::new("sh").args(["-c", &script]).stderr(Stdio::null()).status().unwrap();
    if !made.success() {
        assert!(testkit::harness::skip("a pair of network interfaces (veth) is not possible here"));
        return;
    }
    let tcp = TcpListener::bind((&*ours, 9)).unwrap();
    tcp_client.child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    tcp_client.said("connected");
    let (stream, client) = tcp.accept().unwrap();
    let ends = ConnectionEnds { client, ours: stream.local_addr().unwrap() };
    let users = PeerUsers::new();
    assert_eq!((users.proven(ends), users.of(ends)), (None, PeerUser::Unknown));
}
