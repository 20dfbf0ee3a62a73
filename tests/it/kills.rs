//! A killed process leaves nothing behind that prevents the next start or accumulates.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use testkit::harness::{HUSH, Home, KEYS, until, wait};

const KILLS: u64 = 120;

fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// Returns a time within `span`, derived from the seed and the number of the attempt.
fn moment(seed: u64, number: u64, span: Duration) -> Duration {
    let mixed = (seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    Duration::from_micros((mixed >> 20) % u64::try_from(span.as_micros()).unwrap())
}

#[test]
fn killed_start_leaves_a_whole_auth_token_or_none() {
    let seed = std::env::var("SEED").map_or_else(|_| getrandom::u64().unwrap(), |seed| seed.parse().unwrap());
    let home = Home::new();
    let run = home.path().join("run");
    let began = Instant::now();
    drop(home.serve(&[], &KEYS));
    // One and a half times the start time, so that kills hit before, during and after the start.
    let span = began.elapsed() * 3 / 2;
    let (mut with, mut without) = (0, 0);
    for number in 0..KILLS {
        let told = format!("SEED={seed}, kill {number}");
        if number % 2 == 0 {
            let _ = fs::remove_dir_all(&run);
        }
        let before = fs::read(run.join("token")).ok();
        let mut serve = home.command(&["serve", "--listen", "127.0.0.1:0"]);
        let mut child = serve.envs(KEYS).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(moment(seed, number, span));
        child.kill().unwrap();
        wait(&mut child);
        match names(&run).as_slice() {
            [] => without += 1,
            // A killed daemon leaves its control socket, too, which the next one replaces.
            [token] if token == "token" => with += 1,
            [socket, token] if socket == "control.sock" && token == "token" => with += 1,
            other => panic!("{told}: {other:?}"),
        }
        if let Ok(token) = fs::read(run.join("token")) {
            assert!(token.len() == 64 && token.iter().all(u8::is_ascii_hexdigit), "{told}: half a token");
            assert!(before.is_none_or(|before| before == token), "{told}: another token");
        }
    }
    assert!(with > 0 && without > 0, "SEED={seed}: {with} kills after the token was made, {without} before");
    let broker = home.serve(&[], &KEYS);
    assert_eq!(broker.get("/credentials").status, 200, "SEED={seed}");
    assert_eq!(names(&run), ["control.sock", "token"]);
}

#[test]
fn starts_from_each_state_of_an_interrupted_start() {
    let whole = "0123456789abcdef".repeat(4);
    type State<'a> = &'a [(&'a str, &'a str)];
    let states: [State<'_>; 6] = [
        // An empty folder.
        &[],
        // A temporary file of a file system without unnamed files: empty, half written, whole.
        &[(".token.0123456789abcdef", "")],
        &[(".token.0123456789abcdef", &whole[..20])],
        &[(".token.0123456789abcdef", &whole)],
        // Renamed, beside the temporary file of an earlier attempt.
        &[(".token.0123456789abcdef", &whole[..20]), ("token", &whole)],
        &[("token", &whole)],
    ];
    for state in states {
        let home = Home::new();
        let run = home.path().join("run");
        fs::create_dir(&run).unwrap();
        fs::set_permissions(&run, fs::Permissions::from_mode(0o700)).unwrap();
        for (name, content) in state {
            fs::set_permissions(home.write(&format!("run/{name}"), content), fs::Permissions::from_mode(0o600))
                .unwrap();
        }
        let broker = home.serve(&[], &KEYS);
        assert_eq!(broker.get("/credentials").status, 200, "{state:?}");
        let kept = state.iter().any(|(name, _)| *name == "token");
        assert_eq!(home.token() == whole, kept, "{state:?}: what lies aside is never a token");
    }
}

#[test]
fn exec_removes_the_folder_of_a_killed_exec() {
    let home = Home::new();
    let runtime = home.path().join("runtime");
    fs::create_dir(&runtime).unwrap();
    fs::set_permissions(&runtime, fs::Permissions::from_mode(0o700)).unwrap();
    let variables = [KEYS[0], KEYS[1], ("XDG_RUNTIME_DIR", runtime.to_str().unwrap())];
    let start = |seconds: &str| {
        let mut exec = home.command(&["exec", "--", "sleep", seconds]);
        let exec = exec.envs(variables).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let is_made = || names(&runtime).iter().any(|name| runtime.join(name).join("credentials").exists());
        until("it has made its folder", is_made);
        exec
    };
    let mut killed = start("1");
    let [left] = &names(&runtime)[..] else { panic!() };
    killed.kill().unwrap();
    wait(&mut killed);
    assert_eq!(names(&runtime), std::slice::from_ref(left), "no process removes it");
    let live = home.run(&["exec", "--", "sh", "-c", "ls \"$XDG_RUNTIME_DIR\""], &variables);
    assert_eq!(live.code, Some(0), "{live:?}");
    assert!(!live.stdout.contains(left.as_str()) && live.stdout.lines().count() == 1, "{live:?}");
    assert!(!live.stderr.contains(HUSH));
    assert_eq!(names(&runtime), [""; 0]);
    // A running process keeps its folder.
    let mut living = start("20");
    let before = names(&runtime);
    assert_eq!(home.run(&["exec", "--", "true"], &variables).code, Some(0));
    assert_eq!(names(&runtime), before);
    rustix::process::kill_process(rustix::process::Pid::from_child(&living), rustix::process::Signal::TERM).unwrap();
    wait(&mut living);
    assert_eq!(names(&runtime), [""; 0]);
}
