use std::time::Instant;

use rustix::process::Pid;

use super::*;
use crate::model::error::ErrorKind;
use crate::os::environment::Environment;
use crate::os::tty::Terminal;

const GOOD: &str = r#"echo '{"Version":1,"AccessKeyId":"A","SecretAccessKey":"hush"}'"#;

async fn run_with(line: &str, variables: &[(&str, &str)], deadline: Duration) -> Result<Credentials, SourceError> {
    let path = [("PATH", "/usr/bin:/bin")];
    let environment = Environment::new(path.into_iter().chain(variables.iter().copied()));
    let context = Context { environment, ..Context::default() };
    ProcessCredentials::new(Program::Line(line.into())).with_timeout(deadline).run(&context).await
}

async fn run(line: &str) -> Result<Credentials, SourceError> {
    run_with(line, &[], Duration::from_secs(20)).await
}

fn lives(pid: &str) -> bool {
    let pid = Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
    rustix::process::test_kill_process(pid).is_ok()
        && !std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()))
            .is_ok_and(|stat| stat.contains(") Z "))
}

#[tokio::test]
async fn runs_lines_by_a_shell_and_words_without() {
    assert_eq!(&*run(&format!("true | {GOOD} | cat")).await.unwrap().access_key_id, "A");
    let printed = r#"{"Version":1,"AccessKeyId":"A;B","SecretAccessKey":"s"}"#;
    let words = ["printf", "%s", printed].map(Into::into).to_vec();
    let source = ProcessCredentials::new(Program::Words(words)).with_account_id(Some("123456789012".into()));
    let environment = Environment::new([("PATH", "/usr/bin:/bin")]);
    let found = source.run(&Context { environment, ..Context::default() }).await.unwrap();
    assert_eq!((&*found.access_key_id, found.account_id.as_deref()), ("A;B", Some("123456789012")));
}

#[tokio::test]
async fn passes_the_environment_without_own_variables() {
    let line = r#"test -z "$CREDENZA_AUTH_TOKEN$NOTIFY_SOCKET$LISTEN_FDS" &&
        echo "{\"Version\":1,\"AccessKeyId\":\"$MINE\",\"SecretAccessKey\":\"s\"}""#;
    let variables = [("MINE", "OURS"), ("CREDENZA_AUTH_TOKEN", "hush"), ("NOTIFY_SOCKET", "/x"), ("LISTEN_FDS", "1")];
    let found = run_with(line, &variables, Duration::from_secs(20)).await.unwrap();
    assert_eq!(&*found.access_key_id, "OURS");
}

#[tokio::test]
async fn takes_no_shell_from_path() {
    let folder = tempfile::tempdir().unwrap();
    let shell = folder.path().join("sh");
    std::fs::write(&shell, "#!/bin/sh\necho hush\n").unwrap();
    std::fs::set_permissions(&shell, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let path = format!("{}:/usr/bin:/bin", folder.path().display());
    let found = run_with(GOOD, &[("PATH", &path)], Duration::from_secs(20)).await.unwrap();
    assert_eq!(&*found.access_key_id, "A");
}

#[tokio::test]
async fn reports_failed_programs() {
    for (line, expected) in [
        ("echo please log in >&2; exit 3", "failed (exit status: 3); run it by hand"),
        ("echo please log in >&2; exit 3", "JSON of credential_process; it said: please log in"),
        ("exit 1", "failed (exit status: 1)"),
        ("kill -9 $$", "failed (signal: 9"),
        ("echo hush", "its output is not a JSON document"),
        ("true", "its output is empty"),
        ("printf '\\033[2Jx' >&2; exit 1", "it said: \\u{1b}[2Jx"),
        ("nosuchprogram", "it said: sh: 1: nosuchprogram: not found"),
        ("yes hush", "printed more than 64 kB"),
        ("head -c 1000000000 /dev/zero", "printed more than 64 kB"),
        ("trap '' PIPE; while :; do echo hush; done", "printed more than 64 kB"),
    ] {
        let error = run(line).await.unwrap_err();
        assert!(!error.to_string().contains("hush") && !error.to_string().contains("please log in"), "{error}");
        let message = format!("{error}; it said: {}", error.detail.as_deref().unwrap_or_default());
        assert!(message.contains(expected) && message.contains(RUN_BY_HAND), "{line}: {message}");
    }
    let absent = ProcessCredentials::new(Program::Words(vec!["/nonexistent/x".into()]));
    let error = absent.run(&Context::default()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Misconfigured);
    assert!(error.to_string().contains("cannot start the process /nonexistent/x"), "{error}");
    assert!(error.to_string().ends_with("check that it is installed and in PATH, or write its full path"), "{error}");
}

#[tokio::test]
async fn drains_standard_error_and_keeps_its_end() {
    let line = format!("head -c 1000000 /dev/zero | tr '\\0' x >&2; echo the reason >&2; {GOOD}");
    assert!(run(&line).await.is_ok());
}

#[tokio::test]
async fn kills_all_processes_at_the_timeout() {
    for terminal in [Terminal::default(), Terminal::ours()] {
        kills_all_at_timeout(terminal).await;
    }
}

async fn kills_all_at_timeout(terminal: Terminal) {
    let folder = tempfile::tempdir().unwrap();
    let pid = folder.path().join("pid");
    let left = folder.path().join("left");
    let line = format!(
        "setsid -f sh -c 'echo $$ > {left}; exec sleep 1000'; while ! test -s {left}; do sleep 0.01; done; \
         sh -c 'sleep 1000 & echo $! > {pid}; wait'; true",
        left = left.display(),
        pid = pid.display()
    );
    let environment = Environment::new([("PATH", "/usr/bin:/bin")]);
    let context = Context { environment, terminal, ..Context::default() };
    let source = ProcessCredentials::new(Program::Line(line.as_str().into()));
    let error = source.with_timeout(Duration::from_millis(500)).run(&context).await.unwrap_err();
    assert!(
        error.to_string().contains("has not ended within 0.5 s; run it by hand")
            && error.kind == ErrorKind::Unavailable
    );
    let began = Instant::now();
    for pid in [pid, left].map(|path| std::fs::read_to_string(path).unwrap()) {
        while lives(&pid) {
            assert!(began.elapsed() < Duration::from_secs(10), "{pid} lives on");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

#[tokio::test]
async fn does_not_wait_for_processes_with_its_pipes() {
    let began = Instant::now();
    assert!(run(&format!("sleep 1000 & {GOOD}")).await.is_ok());
    assert!(began.elapsed() < Duration::from_secs(15));
}

#[tokio::test]
async fn shares_one_run_among_equal_loads_only() {
    let folder = tempfile::tempdir().unwrap();
    let runs = folder.path().join("runs");
    let print = |then: &str| {
        let line = format!("echo x >> {}; sleep 0.2; {then}", runs.display());
        ProcessCredentials::new(Program::Line(line.as_str().into()))
    };
    let counted = || std::fs::read_to_string(&runs).map_or(0, |text| text.lines().count());
    let keys = r#""Version":1,"AccessKeyId":"AKIA1","SecretAccessKey":"s""#;
    let end = crate::os::clock::Clock::system().now() + Duration::from_secs(3600);
    let lasting = format!(r#"echo '{{{keys},"Expiration":"{}"}}'"#, crate::model::time::timestamp(end));
    let endless = format!("echo '{{{keys}}}'");
    for (then, again) in [(&*lasting, 0), (&*endless, 1)] {
        let context = Context { clock: crate::os::clock::Clock::system(), ..Context::default() };
        let before = counted();
        let mut loads = tokio::task::JoinSet::new();
        for _ in 0..100 {
            let (source, context) = (print(then), context.for_refresher());
            loads.spawn(async move { source.load(&context).await });
        }
        let answers = loads.join_all().await;
        assert!(answers.iter().all(|answer| matches!(answer, Lookup::Found(_))));
        assert_eq!(counted() - before, 1, "{then}");
        let before = counted();
        assert!(matches!(print(then).load(&context).await, Lookup::Found(_)));
        assert_eq!(counted() - before, again, "{then}");

        let before = counted();
        let other = Context { environment: crate::os::environment::Environment::new([("A", "b")]), ..context.clone() };
        let with_account = print(then).with_account_id(Some("123456789012".into()));
        let Lookup::Found(found) = with_account.load(&context).await else { panic!() };
        assert_eq!(found.account_id.as_deref(), Some("123456789012"));
        assert!(matches!(print(then).load(&other).await, Lookup::Found(_)));
        assert_eq!(counted() - before, 2, "another account, another environment");
    }
    let before = counted();
    let context = Context { clock: crate::os::clock::Clock::system(), ..Context::default() };
    let failing = print("exit 3");
    let errors = tokio::join!(failing.load(&context), failing.load(&context));
    assert!(matches!(&errors.0, Lookup::Failed(_)) && errors.0 == errors.1);
    assert_eq!(counted() - before, 1);
}
