//! `credenza console`: the login URL, the sessions that may enter, and the page that leads a browser to it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use testkit::federation::{Federation, Kind};
use testkit::harness::{CommandOutput, HUSH, Home, until, wait};
use testkit::server::Reply;
use testkit::sts::{Role, Sts};

const ROLE: &str = "arn:aws:iam::123456789012:role/demo";
const NEXT: &str = "arn:aws:iam::123456789012:role/next";

struct Stage {
    home: Home,
    sts: Sts,
    federation: Federation,
}

impl Stage {
    /// A home with profiles of every kind, the strict STS and the strict federation endpoint.
    fn new() -> Self {
        let (home, sts) = (Home::new(), Sts::start("eu-west-1"));
        sts.allow(ROLE, Role::default());
        sts.allow(NEXT, Role::default());
        sts.know_root("AKIAROOT", "hush-root");
        let (id, secret) = (Sts::ACCESS_KEY_ID, Sts::SECRET_ACCESS_KEY);
        home.write(
            ".aws/config",
            format!(
                "[profile user]\naws_access_key_id = {id}\naws_secret_access_key = {secret}\n\
                 [profile role]\nrole_arn = {ROLE}\nsource_profile = user\n\
                 [profile chain]\nrole_arn = {NEXT}\nsource_profile = role\n\
                 [profile root]\naws_access_key_id = AKIAROOT\naws_secret_access_key = hush-root\n\
                 [profile pasted]\naws_access_key_id = ASIAPASTED\naws_secret_access_key = hush-key\naws_session_token = hush-token\n\
                 [profile ended]\naws_access_key_id = ASIAPASTED\naws_secret_access_key = hush-key\naws_session_token = hush-token\n\
                 aws_session_expiration = 2020-01-01T00:00:00Z\n\
                 [profile minio]\naws_access_key_id = minio\naws_secret_access_key = hush\nendpoint_url = http://127.0.0.1:9000\n"
            ),
        );
        home.write(
            "credenza.toml",
            "[identities.session]\nsources = [{ profile = \"user\" }]\nlong_lived_keys = \"session\"\n",
        );
        let federation = Federation::start();
        federation.know("ASIAPASTED", "hush-key", "hush-token", Kind::Role);
        federation.set(|state| state.accepts_all = Some(Kind::Role));
        Self { home, sts, federation }
    }

    fn variables(&self) -> [(&'static str, String); 4] {
        [
            ("AWS_ENDPOINT_URL_STS", self.sts.url()),
            ("AWS_ENDPOINT_URL_SIGNIN", self.federation.endpoint()),
            ("AWS_REGION", "eu-west-1".into()),
            ("CREDENZA_CONFIG", "credenza.toml".into()),
        ]
    }

    fn console(&self, arguments: &[&str], variables: &[(&str, &str)]) -> CommandOutput {
        let own = self.variables();
        let mut all: Vec<(&str, &str)> = own.iter().map(|(name, value)| (*name, value.as_str())).collect();
        all.extend(variables);
        let ended = self.home.run(&[&["console"], arguments].concat(), &all);
        assert!(!ended.stderr.contains(HUSH), "{ended:?}");
        ended
    }

    fn last(&self, name: &str) -> Option<String> {
        let form = self.federation.forms().pop().unwrap();
        form.into_iter().find(|(other, _)| other == name).map(|(_, value)| value)
    }
}

/// Writes a program that opens its argument as a browser would, and returns its path.
fn browser(home: &Home) -> String {
    let path = home.path().join("browser");
    let script = "#!/bin/sh\ncd \"$(dirname \"$0\")\"\necho \"$*\" >> seen\ncurl -sS -i \"$1\" > first 2>&1\n\
                  curl -sS -i \"$1\" > second 2>&1\necho end >> seen\n";
    home.write("browser", script);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    path.into_os_string().into_string().unwrap()
}

#[test]
fn prints_the_login_url_of_a_role() {
    let stage = Stage::new();
    let printed = stage.console(&["role", "--print", "--service", "s3"], &[]);
    let url = format!(
        "{}/federation?Action=login&Destination=https%3A%2F%2Feu-west-1.console.aws.amazon.com%2Fs3%2Fhome%3Fregion%3Deu-west-1\
         &SigninToken=hush%2Bsignin%2F1%3D%3D\n",
        stage.federation.endpoint()
    );
    assert_eq!((printed.code, &printed.stdout), (Some(0), &url), "{printed:?}");
    assert_eq!(stage.last("SessionDuration"), None);
    let [seen] = &stage.federation.server().seen()[..] else { panic!() };
    assert_eq!(seen.line(), "POST /federation", "no secret is in a URL");
    for (region, page) in [
        ("cn-north-1", "https%3A%2F%2Fcn-north-1.console.amazonaws.cn%2Fconsole%2Fhome%3Fregion%3Dcn-north-1"),
        ("us-gov-east-1", "https%3A%2F%2Fus-gov-east-1.console.amazonaws-us-gov.com%2Fconsole%2Fhome"),
    ] {
        let printed = stage.console(&["pasted", "--print"], &[("AWS_REGION", region)]);
        assert!(printed.stdout.contains(&format!("Destination={page}")), "{printed:?}");
    }
    // The name may be that of an identity, of a flag, or none.
    let printed = stage.console(&["--profile", "pasted", "--print"], &[]);
    assert_eq!(printed.code, Some(0), "{printed:?}");
}

#[test]
fn user_enters_as_a_federated_user() {
    let stage = Stage::new();
    stage.federation.set(|state| state.accepts_all = Some(Kind::Federated));
    let printed = stage.console(&["user", "--print", "--duration", "13h"], &[]);
    assert_eq!(printed.code, Some(0), "{printed:?}");
    assert_eq!(stage.sts.actions(), ["GetCallerIdentity", "GetFederationToken"]);
    let forms = stage.sts.forms();
    let of = |name: &str| forms[1].iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str());
    assert_eq!((of("Name"), of("DurationSeconds")), (Some("credenza-user"), Some("46800")));
    let all = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}"#;
    assert_eq!(of("Policy"), Some(all));
    assert_eq!(stage.last("SessionDuration"), None, "the endpoint refuses one");
    let arn = "arn:aws:iam::aws:policy/ReadOnlyAccess";
    let printed = stage.console(&["user", "--print", "--policy-arn", arn], &[]);
    assert_eq!(printed.code, Some(0), "{printed:?}");
    let form = stage.sts.forms().pop().unwrap();
    assert!(form.iter().any(|(name, value)| name == "PolicyArns.member.1.arn" && value == arn), "{form:?}");
    assert!(!form.iter().any(|(name, _)| name == "Policy"), "{form:?}");
}

#[test]
fn durations_follow_the_kind_of_the_session() {
    let stage = Stage::new();
    let printed = stage.console(&["role", "--print", "--duration", "12h"], &[]);
    assert_eq!((printed.code, stage.last("SessionDuration").as_deref()), (Some(0), Some("43200")), "{printed:?}");
    stage.federation.set(|state| state.accepts_all = Some(Kind::Chained));
    for arguments in [&["chain", "--print"][..], &["role", "--role-arn", NEXT, "--print", "--duration", "1h"]] {
        let printed = stage.console(arguments, &[]);
        assert_eq!((printed.code, stage.last("SessionDuration")), (Some(0), None), "{arguments:?}: {printed:?}");
    }
    let asked = stage.federation.server().seen().len();
    for (arguments, expected) in [
        (&["chain", "--duration", "2h"][..], "the session of another role lasts 1h at most; name a shorter one"),
        (&["role", "--duration", "13h"], "the console session of a role lasts 12h at most"),
        (&["pasted", "--duration", "36h"], "lasts 12h at most"),
        (&["role", "--duration", "14m"], "--duration"),
        (&["role", "--service", "../x"], "not the name of a service"),
        (&["role", "--token-file", "x"], "--token-file has no meaning for `credenza console`"),
    ] {
        let refused = stage.console(&[arguments, &["--print"]].concat(), &[]);
        assert!(matches!(refused.code, Some(1 | 2)) && refused.stderr.contains(expected), "{expected}: {refused:?}");
        assert!(refused.stdout.is_empty(), "{refused:?}");
    }
    assert_eq!(stage.federation.server().seen().len(), asked);
}

#[test]
fn credentials_that_cannot_enter_are_told_the_way_out() {
    let stage = Stage::new();
    for (name, expected) in [
        ("minio", "the keys belong to http://127.0.0.1:9000, which is not AWS; use the console of that store"),
        ("root", "these are keys of the root user of their account"),
        ("ended", "the session of these keys ended at 2020-01-01T00:00:00Z"),
        ("session", "the console accepts no session of GetSessionToken; name a role with --role-arn"),
        ("nothing", "there is no identity nothing"),
    ] {
        let refused = stage.console(&[name, "--print"], &[]);
        assert!(refused.code == Some(1) && refused.stderr.contains(expected), "{name}: {refused:?}");
        assert!(refused.stdout.is_empty(), "{refused:?}");
    }
    assert!(stage.federation.server().seen().is_empty());
    // The way out works.
    let printed = stage.console(&["session", "--role-arn", ROLE, "--print"], &[]);
    assert_eq!(printed.code, Some(0), "{printed:?}");
}

#[test]
fn refused_and_broken_answers_are_errors_without_secrets() {
    let stage = Stage::new();
    let token = |text: &str| Reply::ok(text.as_bytes());
    for (reply, expected) in [
        (Reply::of(400, "<html>hush</html>"), "status 400 Bad Request; the console takes sessions of roles"),
        (Reply::of(302, "").with("location", "https://evil.example/?hush"), "redirects are not followed"),
        (token("<html>hush</html>"), "the answer has no SigninToken"),
        (token("{\"SigninToken\":\"hush"), "the answer has no SigninToken"),
        (token("{}"), "the answer has no SigninToken"),
        (Reply::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 90\r\n\r\n{\"SigninToken\":\"hush".to_vec()), "federation"),
        (Reply::Flood, "federation"),
    ] {
        for _ in 0..3 {
            stage.federation.script(reply.clone());
        }
        let refused = stage.console(&["pasted", "--print"], &[]);
        assert!(refused.code == Some(1) && refused.stderr.contains(expected), "{expected}: {refused:?}");
        assert!(refused.stderr.contains("identity pasted: no console session: "), "{refused:?}");
        assert!(refused.stdout.is_empty(), "{refused:?}");
        stage.federation.set(testkit::federation::State::clear_script);
    }
    let refused = stage.console(&["pasted", "--print"], &[("AWS_ENDPOINT_URL_SIGNIN", "http://signin.example")]);
    assert!(refused.code == Some(1) && refused.stderr.contains("without TLS"), "{refused:?}");
}

#[test]
fn browser_gets_a_short_url_that_works_once() {
    let stage = Stage::new();
    let opened = stage.console(&["role"], &[("BROWSER", &browser(&stage.home))]);
    assert_eq!((opened.code, &*opened.stdout), (Some(0), ""), "{opened:?}");
    assert!(opened.stderr.contains("opening the AWS console as identity role in a browser"), "{opened:?}");
    let read = |name: &str| fs::read_to_string(stage.home.path().join(name)).unwrap_or_default();
    until("the browser has ended", || read("seen").ends_with("end\n"));
    // The argument, which other users see in the list of processes, is a path on loopback.
    let seen = read("seen");
    assert!(seen.starts_with("http://127.0.0.1:") && !seen.contains(HUSH) && !seen.contains("Signin"), "{seen}");
    let first = read("first");
    let location = first.lines().find_map(|line| line.strip_prefix("location: ")).unwrap();
    assert!(first.starts_with("HTTP/1.1 302 ") && location.contains("&SigninToken=hush%2Bsignin"), "{first}");
    assert!(!read("second").contains(HUSH), "{}", read("second"));
    // Nothing of it is on the disk, except in what the browser got.
    for entry in fs::read_dir(stage.home.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() && !path.ends_with("first") {
            assert!(!fs::read_to_string(&path).unwrap_or_default().contains("signin%2F"), "{}", path.display());
        }
    }
}

#[test]
fn without_a_browser_only_a_terminal_shows_the_url() {
    let stage = Stage::new();
    let refused = stage.console(&["role"], &[("BROWSER", "/nowhere/browser")]);
    assert!(refused.code == Some(1) && refused.stdout.is_empty(), "{refused:?}");
    assert!(
        refused.stderr.contains("no browser was opened here: ") && refused.stderr.contains("--print"),
        "{refused:?}"
    );
}

#[test]
fn page_of_another_user_opens_nothing() {
    if !rustix::process::geteuid().is_root() {
        assert!(testkit::harness::skip("another user needs root"));
        return;
    }
    let stage = Stage::new();
    let path = stage.home.path().join("browser");
    stage.home.write("browser", "#!/bin/sh\necho \"$1\" > \"$(dirname \"$0\")/seen\"\n");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    let mut command = stage.home.command(&["console", "role"]);
    command.envs(stage.variables()).env("BROWSER", &path).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let seen = stage.home.path().join("seen");
    until("the browser was started", || fs::read_to_string(&seen).is_ok_and(|text| text.ends_with('\n')));
    let page = fs::read_to_string(&seen).unwrap().trim().to_owned();
    let curl = |user: &[&str]| {
        let words = [user, &["curl", "-sS", "-i", "--max-time", "5", &page]].concat();
        let output = std::process::Command::new(words[0]).args(&words[1..]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let theirs = curl(&["setpriv", "--reuid", "64001", "--clear-groups"]);
    assert!(theirs.is_empty(), "{theirs}");
    // The URL of another process's arguments.
    let arguments = fs::read_to_string(format!("/proc/{}/cmdline", child.id())).unwrap();
    assert!(!arguments.contains(HUSH), "{arguments}");
    assert!(child.try_wait().unwrap().is_none(), "it waits for a browser of its user");
    assert!(curl(&["env"]).contains("location: "));
    assert_eq!(wait(&mut child).code(), Some(0));
}
