//! The control socket: grants, the switch of `default`, tokens, reloads, and who may reach it.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde_json::{Value, json};
use testkit::harness::{Broker, HUSH, Home, TIMEOUT, keys_file, profile, until};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The expiration of all credentials here.
const EXPIRATION: &str = "2035-01-01T00:00:00Z";

/// Identities with temporary credentials.
fn identities(names: &[&str]) -> String {
    let identity = |name: &&str| {
        let document = json!({
            "Version": 1, "AccessKeyId": format!("ASIA{name}"), "SecretAccessKey": format!("{HUSH}-{name}"),
            "SessionToken": format!("{HUSH}-token"), "Expiration": EXPIRATION,
        });
        format!("[identities.{name}]\nsources = [{{ process = [\"echo\", '{document}'] }}]\n")
    };
    names.iter().map(identity).collect()
}

/// Sends a request to a control socket. Returns the status and the body.
fn send(socket: &Path, method: &str, target: &str, body: &str) -> (u16, Value) {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    let head = format!(
        "{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.get(9..12).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("{answer:?}"));
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    (status, serde_json::from_str(body).unwrap_or(Value::Null))
}

struct Controlled {
    home: Home,
    broker: Broker,
}

impl Controlled {
    fn start(config: &str) -> Self {
        let home = Home::new();
        let broker = home.serve_config(config, &[]);
        until("all identities are loaded", || broker.get_with("/readyz", "").status == 200);
        Self { home, broker }
    }

    fn ask(&self, method: &str, target: &str, body: &Value) -> (u16, Value) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        send(&self.home.path().join("run/control.sock"), method, target, &body)
    }

    fn good(&self, method: &str, target: &str, body: &Value) -> Value {
        let (status, answer) = self.ask(method, target, body);
        assert_eq!(status, 200, "{method} {target}: {answer}");
        answer
    }

    fn grant(&self, name: &str, identity: &str, seconds: u64) -> Value {
        self.good("POST", "/grants", &json!({"name": name, "identity": identity, "seconds": seconds}))
    }

    fn key(&self, path: &str, token: &str) -> String {
        let response = self.broker.get_with(path, token);
        response.key().unwrap_or_else(|| format!("{} {}", response.status, response.code()))
    }

    /// Requests until the answer is this one. No answer before it tells an expiration that is over.
    fn ends_with(&self, expected: &str, token: &str) {
        until(expected, || {
            let asked = OffsetDateTime::now_utc();
            let answer = self.broker.get_with("/credentials", token);
            if answer.status == 200 {
                let told = answer.json()["Expiration"].as_str().unwrap().to_owned();
                assert!(OffsetDateTime::parse(&told, &Rfc3339).unwrap() > asked, "{told} is before {asked}");
            }
            self.key("/credentials", token) == expected
        });
    }
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_else(|| panic!("{key} of {value}"))
}

#[test]
fn grant_opens_one_identity_until_its_end() {
    let controlled = Controlled::start(&identities(&["default", "web"]));
    let grant = controlled.grant("agent", "web", 600);
    assert_eq!(text(&grant, "url"), format!("http://{}/credentials", controlled.broker.address()));
    let token = text(&grant, "token").to_owned();
    assert_eq!(token.len(), 64);
    for (path, expected) in [
        ("/credentials", "ASIAweb"),
        ("/credentials/web", "ASIAweb"),
        ("/credentials/default", "403 IdentityNotAllowed"),
        ("/credentials/nothing", "403 IdentityNotAllowed"),
    ] {
        assert_eq!(controlled.key(path, &token), expected, "{path}");
    }
    // No answer tells a later end than that of the grant.
    let body = controlled.broker.get_with("/credentials", &token).json();
    assert_eq!(body["Expiration"], grant["expires"]);
    let listed = controlled.good("GET", "/grants", &Value::Null);
    assert_eq!(
        listed,
        json!([{"name": "agent", "identity": "web", "expires": grant["expires"], "policy_sha256": null, "policy_arns": []}])
    );
    let (status, error) =
        controlled.ask("POST", "/grants", &json!({"name": "agent", "identity": "default", "seconds": 60}));
    assert_eq!((status, text(&error, "code")), (409, "Conflict"), "{error}");
    let brief = text(&controlled.grant("brief", "web", 2), "token").to_owned();
    controlled.ends_with("401 InvalidAuthorizationToken", &brief);
    until("the grant is listed no more", || controlled.good("GET", "/grants", &Value::Null) == listed);
    assert_eq!(controlled.key("/credentials", &token), "ASIAweb", "the other grant goes on");
    until("the end is logged", || controlled.broker.log().contains("the grant has ended"));
    assert!(!controlled.broker.log().contains(&token), "a token is in the log");
}

#[test]
fn revoked_grant_ends_at_once() {
    let controlled = Controlled::start(&identities(&["default", "web"]));
    let token = text(&controlled.grant("agent", "web", 600), "token").to_owned();
    assert_eq!(controlled.key("/credentials", &token), "ASIAweb");
    let revoked = controlled.good("DELETE", "/grants/agent", &Value::Null);
    let refused = controlled.broker.get_with("/credentials", &token);
    assert_eq!((refused.status, refused.code()), (401, "InvalidAuthorizationToken".into()));
    assert!(refused.message().contains("or its grant has ended"), "{refused:?}");
    assert_eq!((revoked["is_session"].clone(), text(&revoked, "keys_live_until")), (json!(true), EXPIRATION));
    let condition = &revoked["deny_policy"]["Statement"][0]["Condition"]["DateLessThan"];
    assert!(condition["aws:TokenIssueTime"].as_str().unwrap().starts_with("20"), "{revoked}");
    assert_eq!(controlled.ask("DELETE", "/grants/agent", &Value::Null).0, 404);
    // The name is free again, and a replaced grant ends as well.
    let first = text(&controlled.grant("agent", "web", 600), "token").to_owned();
    let order = json!({"name": "agent", "identity": "default", "seconds": 600, "replace": true});
    let second = text(&controlled.good("POST", "/grants", &order), "token").to_owned();
    assert_eq!(controlled.key("/credentials", &first), "401 InvalidAuthorizationToken");
    assert_eq!(controlled.key("/credentials", &second), "ASIAdefault");
}

#[test]
fn grants_survive_a_reload_that_keeps_their_identity() {
    let controlled = Controlled::start(&identities(&["default", "web", "job"]));
    let web = text(&controlled.grant("a", "web", 600), "token").to_owned();
    let job = text(&controlled.grant("b", "job", 600), "token").to_owned();
    controlled.home.write("credenza.toml", identities(&["default", "web"]));
    assert_eq!(controlled.good("POST", "/reload", &json!({}))["result"], "applied");
    until("the grant of the removed identity ends", || controlled.key("/credentials", &job).starts_with("401"));
    assert_eq!(controlled.key("/credentials", &web), "ASIAweb");
    let client = "[clients.web]\ntoken = \"hush-0123456789abcdef0123456789abcdef\"\nidentities = [\"web\"]\n";
    controlled.home.write("credenza.toml", identities(&["default", "web"]) + client);
    controlled.good("POST", "/reload", &json!({}));
    assert_eq!(controlled.key("/credentials", &web), "ASIAweb", "clients beside grants");
    assert_eq!(controlled.good("GET", "/status", &Value::Null)["clients"], json!(["web"]), "grants are listed apart");
    assert_eq!(controlled.ask("POST", "/grants", &json!({"name": "web", "identity": "web", "seconds": 9})).0, 409);
    controlled.home.write("credenza.toml", "[nonsense]\n");
    let (status, error) = controlled.ask("POST", "/reload", &json!({}));
    assert_eq!((status, text(&error, "code")), (409, "ConfigurationRefused"));
    assert!(text(&error, "message").contains("nonsense"), "{error}");
    assert_eq!(controlled.key("/credentials", &web), "ASIAweb");
}

#[test]
fn grant_ends_when_a_client_takes_its_name() {
    let controlled = Controlled::start(&identities(&["default", "web"]));
    let agent = text(&controlled.grant("agent", "web", 600), "token").to_owned();
    let other = text(&controlled.grant("other-agent", "web", 600), "token").to_owned();
    let client = "[clients.agent]\ntoken = \"hush-0123456789abcdef0123456789abcdef\"\nidentities = [\"web\"]\n";
    controlled.home.write("credenza.toml", identities(&["default", "web"]) + client);
    controlled.good("POST", "/reload", &json!({}));
    assert_eq!(controlled.key("/credentials", &agent), "401 InvalidAuthorizationToken");
    assert_eq!(controlled.key("/credentials", &other), "ASIAweb");
    assert_eq!(controlled.key("/credentials", "hush-0123456789abcdef0123456789abcdef"), "ASIAweb");
}

#[test]
fn default_means_the_chosen_identity_for_a_time() {
    let config = "[server]\nswitch_lifetime = \"20m\"\n".to_owned() + &identities(&["default", "web", "job"]);
    let controlled = Controlled::start(&config);
    let token = controlled.broker.token();
    let grant = text(&controlled.grant("one", "default", 600), "token").to_owned();
    let before = controlled.broker.get("/credentials").json();
    let used = controlled.good("POST", "/use", &json!({"identity": "web", "seconds": 600}));
    assert_eq!(used["held_until"], before["Expiration"]);
    for path in ["/credentials", "/credentials/default", "/v2/credentials"] {
        assert_eq!(controlled.key(path, &token), "ASIAweb", "{path}");
    }
    assert_eq!(controlled.key("/credentials/job", &token), "ASIAjob");
    assert_eq!(controlled.key("/credentials", &grant), "ASIAdefault", "a client of one identity keeps it");
    assert_eq!(controlled.broker.get("/credentials").json()["Expiration"], used["until"]);
    let status = controlled.good("GET", "/status", &Value::Null);
    assert_eq!(status["switch"], json!({"identity": "web", "until": used["until"]}));
    assert_eq!(text(&controlled.good("GET", "/whoami", &Value::Null), "identity"), "web");
    controlled.good("POST", "/use", &json!({"identity": "web", "seconds": 2}));
    controlled.ends_with("ASIAdefault", &token);
    controlled.good("POST", "/use", &json!({"identity": "job"}));
    assert_eq!(controlled.key("/credentials", &token), "ASIAjob");
    let told = controlled.broker.get("/credentials").json()["Expiration"].as_str().unwrap().to_owned();
    assert!(told.as_str() < EXPIRATION, "at most switch_lifetime: {told}");
    controlled.good("POST", "/use", &json!({"identity": "default"}));
    assert_eq!(controlled.key("/credentials", &token), "ASIAdefault");
    assert_eq!(controlled.ask("POST", "/use", &json!({"identity": "nothing"})).0, 404);
}

#[test]
fn refused_replacement_keeps_the_grant() {
    let controlled = Controlled::start(&identities(&["default", "web"]));
    let token = text(&controlled.grant("a", "web", 600), "token").to_owned();
    // A program's credentials cannot be narrowed.
    let narrowed = json!({
        "name": "a", "identity": "web", "seconds": 60, "replace": true,
        "policy_arns": ["arn:aws:iam::aws:policy/ReadOnlyAccess"],
    });
    let (status, error) = controlled.ask("POST", "/grants", &narrowed);
    assert_eq!((status, text(&error, "code")), (403, "SourceMisconfigured"), "{error}");
    assert_eq!(controlled.key("/credentials", &token), "ASIAweb");
    assert_eq!(controlled.good("GET", "/grants", &Value::Null).as_array().map(Vec::len), Some(1));
}

#[test]
fn chosen_identity_that_vanishes_is_refused_and_not_replaced() {
    let controlled = Controlled::start(&identities(&["default", "web"]));
    let token = controlled.broker.token();
    controlled.good("POST", "/use", &json!({"identity": "web"}));
    controlled.home.write("credenza.toml", identities(&["default"]));
    controlled.good("POST", "/reload", &json!({}));
    until("the identity vanishes", || controlled.key("/credentials", &token) == "404 IdentityNotFound");
    controlled.home.write("credenza.toml", identities(&["default", "web"]));
    controlled.good("POST", "/reload", &json!({}));
    until("the identity is there again", || controlled.key("/credentials", &token) == "ASIAweb");
    controlled.good("POST", "/use", &json!({"identity": "default"}));
    assert_eq!(controlled.key("/credentials", &token), "ASIAdefault");
}

#[test]
fn configuration_that_vanishes_stays_in_use() {
    let home = Home::new();
    let path = ".config/credenza/credenza.toml";
    home.write(path, identities(&["default", "web"]));
    let mut broker = home.serve(&[], &[]);
    broker.wait_for_identity("web");
    std::fs::rename(home.path().join(path), home.path().join("away.toml")).unwrap();
    broker.wait_for_log("there is no such file; restart the daemon to run without it");
    assert_eq!(broker.get("/credentials/web").key().as_deref(), Some("ASIAweb"));
    home.write(path, identities(&["default", "job"]));
    broker.wait_for_identity("job");
}

#[test]
fn client_without_the_chosen_identity_is_refused() {
    let token = format!("{HUSH}-0123456789abcdef0123456789abcdef");
    let clients = format!("[clients.a]\ntoken = \"{token}\"\nidentities = [\"default\", \"job\"]\n");
    let controlled = Controlled::start(&(identities(&["default", "web", "job"]) + &clients));
    assert_eq!(controlled.key("/credentials", &token), "ASIAdefault");
    controlled.good("POST", "/use", &json!({"identity": "web"}));
    assert_eq!(controlled.key("/credentials", &token), "403 IdentityNotAllowed");
    controlled.good("POST", "/use", &json!({"identity": "job"}));
    assert_eq!(controlled.key("/credentials", &token), "ASIAjob");
}

#[test]
fn switchable_daemon_tells_short_lifetimes_from_the_start() {
    let config =
        "[server]\nswitchable = true\nswitch_lifetime = \"10m\"\n".to_owned() + &identities(&["default", "web"]);
    let controlled = Controlled::start(&config);
    let expiration = |path: &str| controlled.broker.get(path).json()["Expiration"].as_str().unwrap().to_owned();
    assert!(expiration("/credentials").as_str() < EXPIRATION);
    assert_eq!(expiration("/credentials/web"), EXPIRATION);
}

#[test]
fn rotated_token_replaces_the_old_one_after_the_overlap() {
    let home = Home::new();
    let path = home.write("web", "hush-web-0123456789abcdef0123456789abcdef");
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o640)).unwrap();
    let config = "[server]\ntoken_overlap = \"5s\"\n".to_owned() + &identities(&["default"]);
    home.write("credenza.toml", &config);
    let broker = home.serve(&["--config", "credenza.toml"], &[]);
    until("it is ready", || broker.get_with("/readyz", "").status == 200);
    let controlled = Controlled { home, broker };
    let old = controlled.broker.token();
    let rotated = controlled.good("POST", "/token/rotate", &json!({}));
    let new = controlled.broker.token();
    assert_ne!(old, new);
    assert_eq!(text(&rotated, "token_file"), controlled.home.path().join("run/token").to_str().unwrap());
    assert_eq!(
        (controlled.key("/credentials", &old).as_str(), controlled.key("/credentials", &new).as_str()),
        ("ASIAdefault", "ASIAdefault")
    );
    assert_eq!(text(&controlled.good("GET", "/token", &Value::Null), "token"), new);
    until("the overlap ends", || controlled.key("/credentials", &old).starts_with("401"));
    let clients = "[clients.web]\ntoken_file = \"web\"\nidentities = [\"*\"]\n[clients.inline]\ntoken = \"hush-inline-0123456789abcdef0123\"\nidentities = [\"*\"]\n[clients.job]\nusers = [1]\nidentities = [\"*\"]\n";
    controlled.home.write("credenza.toml", config + clients);
    controlled.good("POST", "/reload", &json!({}));
    controlled.good("POST", "/token/rotate", &json!({"client": "web"}));
    let written = fs::read_to_string(controlled.home.path().join("web")).unwrap();
    assert_eq!(controlled.key("/credentials", &written), "ASIAdefault");
    assert_eq!(fs::metadata(controlled.home.path().join("web")).unwrap().mode() & 0o777, 0o640, "the mode stays");
    for (client, status, expected) in [
        ("inline", 409, "line 9: clients.inline.token"),
        ("job", 409, "has no token"),
        ("nobody", 404, "there is no client nobody"),
        ("owner", 404, "there is no auth token, because [clients] are configured"),
    ] {
        let (got, error) = controlled.ask("POST", "/token/rotate", &json!({"client": client}));
        assert!(got == status && text(&error, "message").contains(expected), "{client}: {got} {error}");
    }
}

#[test]
fn rejects_what_it_does_not_understand() {
    let controlled = Controlled::start(&identities(&["default"]));
    for (method, target, body, status) in [
        ("POST", "/grants", "", 400),
        ("POST", "/grants", "{", 400),
        ("POST", "/grants", "[]", 400),
        ("POST", "/grants", r#"["a","default",9]"#, 400),
        ("POST", "/use", r#" ["default",9]"#, 400),
        ("POST", "/grants", r#"{"name":"a","identity":"default"}"#, 400),
        ("POST", "/grants", r#"{"name":"a","identity":"nothing","seconds":9}"#, 404),
        ("POST", "/grants", r#"{"name":"a","identity":"default","seconds":9,"policy":{}}"#, 400),
        ("POST", "/use", r#"{"identity":"default","seconds":-1}"#, 400),
        ("GET", "/whoami?identity=nothing", "", 404),
        ("GET", "/whoami?identity=%ff", "", 400),
        ("GET", "/token?client=a%20b", "", 400),
        ("DELETE", "/grants/", "", 400),
        ("PUT", "/grants", "", 404),
        ("GET", "/credentials", "", 404),
        ("GET", "/nothing", "", 404),
    ] {
        let (got, answer) = send(&controlled.home.path().join("run/control.sock"), method, target, body);
        assert!(got == status && answer["code"].is_string(), "{method} {target} {body}: {got} {answer}");
    }
    // A body that is too long is not read whole.
    let mut stream = UnixStream::connect(controlled.home.path().join("run/control.sock")).unwrap();
    let huge =
        format!("POST /use HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999999\r\n\r\n{}", "x".repeat(70_000));
    let _ = stream.write_all(huge.as_bytes());
    let _ = stream.read_to_end(&mut Vec::new());
    assert_eq!(controlled.key("/credentials", &controlled.broker.token()), "ASIAdefault");
    // No other listener knows these paths.
    for path in ["/grants", "/use", "/token"] {
        assert_eq!(controlled.broker.get(path).status, 404, "{path}");
    }
}

#[test]
fn socket_is_closed_to_others_and_removed_at_the_end() {
    let mut controlled = Controlled::start(&identities(&["default"]));
    let path = controlled.home.path().join("run/control.sock");
    let meta = fs::symlink_metadata(&path).unwrap();
    assert!(meta.file_type().is_socket());
    assert_eq!(meta.mode() & 0o777, 0o600);
    controlled.broker.signal(rustix::process::Signal::TERM);
    controlled.broker.wait();
    assert!(!path.exists());
}

#[test]
fn second_daemon_of_one_folder_runs_without_a_control_socket() {
    let controlled = Controlled::start(&identities(&["default"]));
    let mut second = controlled.home.serve(&["--config", "credenza.toml"], &[]);
    second.wait_for_log("there is no control socket");
    assert_eq!(second.get("/status").status, 200);
    drop(second);
    controlled.good("GET", "/grants", &Value::Null);
}

#[test]
fn profiles_can_be_granted_too() {
    let home = Home::new();
    home.write(".aws/credentials", keys_file("AKIADEFAULT") + &profile("dev", "AKIADEV"));
    let broker = home.serve(&["--serve-profiles", "*"], &[]);
    until("it is ready", || broker.get_with("/readyz", "").status == 200);
    let controlled = Controlled { home, broker };
    let token = text(&controlled.grant("agent", "dev", 600), "token").to_owned();
    assert_eq!(controlled.key("/credentials", &token), "AKIADEV");
    assert_eq!(controlled.ask("POST", "/grants", &json!({"name": "b", "identity": "none", "seconds": 9})).0, 404);
    let revoked = controlled.good("DELETE", "/grants/agent", &Value::Null);
    assert_eq!((revoked["is_session"].clone(), revoked["deny_policy"].clone()), (json!(false), Value::Null));
}

#[test]
fn revocation_stops_a_request_that_waits() {
    let document = r#"{"Version":1,"AccessKeyId":"AKIASLOW","SecretAccessKey":"hush"}"#;
    let slow = format!(
        "[identities.slow]\neager = false\nsources = [{{ process = [\"sh\", \"-c\", 'echo >began; sleep 2; echo \"$0\"', \
         '{document}'] }}]\n"
    );
    let controlled = Controlled::start(&(identities(&["default"]) + &slow));
    let token = text(&controlled.grant("a", "slow", 600), "token").to_owned();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| controlled.key("/credentials", &token));
        until("the load begins", || controlled.home.path().join("began").exists());
        controlled.good("DELETE", "/grants/a", &Value::Null);
        assert_eq!(waiting.join().unwrap(), "401 InvalidAuthorizationToken");
    });
}

#[test]
fn grant_prints_the_endpoint_of_its_keys() {
    let store = "[identities.store]\nsources = [{ url = \"http://AKIASTORE:hush@minio.example:9000\" }]\n";
    let controlled = Controlled::start(&(identities(&["default"]) + store));
    let printed = controlled.home.run(&["grant", "g", "--identity", "store", "--for", "1m"], &[]);
    for expected in ["AWS_ENDPOINT_URL_S3='http://minio.example:9000'", "AWS_EC2_METADATA_DISABLED=true"] {
        let expected = expected.replace('\'', "");
        assert!(printed.stdout.replace('\'', "").contains(&expected), "{expected}: {printed:?}");
    }
}
