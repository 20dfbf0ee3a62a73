//! The IMDS server: every path, code and header, and its access control.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, SystemTime};

use testkit::harness::{Broker, Home, Response, TIMEOUT, send, until};

const TEMPORARY: [(&str, &str); 3] =
    [("AWS_ACCESS_KEY_ID", "ASIAENV"), ("AWS_SECRET_ACCESS_KEY", "hush-env"), ("AWS_SESSION_TOKEN", "hush-token")];
/// A shared credentials file with temporary keys.
const DEV: &str = "[dev]\naws_access_key_id = ASIADEV\naws_secret_access_key = hush\naws_session_token = hush\n";
const ROLE: &str = "/latest/meta-data/iam/security-credentials/default";

/// Status, head and body of a response.
type Said = (u16, String, String);

struct Service {
    address: SocketAddr,
    broker: Broker,
}

fn serve(home: &Home, more: &str, variables: &[(&str, &str)]) -> Service {
    let broker = home.serve_config(format!("[imds]\nlisten = \"127.0.0.1:0\"\n{more}"), variables);
    Service { address: broker.addresses[1], broker }
}

impl Service {
    fn ask(&self, method: &str, path: &str, headers: &str) -> Said {
        let own = format!("Host: {}\r\n", self.address);
        let host = if headers.to_ascii_lowercase().contains("host:") { "" } else { &own };
        let head = format!("{method} {path} HTTP/1.1\r\n{host}{headers}Connection: close\r\n\r\n");
        let answer = Response::read(&mut send(self.address, head));
        (answer.status, answer.head.to_ascii_lowercase(), answer.body)
    }

    fn token(&self) -> String {
        let (status, head, token) =
            self.ask("PUT", "/latest/api/token", "X-aws-ec2-metadata-token-ttl-seconds: 60\r\n");
        assert_eq!(status, 200, "{head}");
        assert!(head.contains("\r\nx-aws-ec2-metadata-token-ttl-seconds: 60"), "{head}");
        format!("X-aws-ec2-metadata-token: {token}\r\n")
    }

    fn get(&self, path: &str) -> Said {
        self.ask("GET", path, &self.token())
    }
}

#[test]
fn serves_each_path() {
    let home = Home::new();
    let more = [("AWS_REGION", "eu-north-1"), ("AWS_ACCOUNT_ID", "123456789012")];
    let service = serve(&home, "", &[&TEMPORARY[..], &more].concat());
    for (path, body) in [
        ("/latest/meta-data/iam/security-credentials", "default"),
        ("/latest/meta-data/iam/security-credentials/", "default"),
        ("//latest/meta-data/iam/security-credentials/", "default"),
        ("/latest/meta-data/placement/region", "eu-north-1"),
        ("/latest/meta-data/placement/region/", "eu-north-1"),
        ("/latest/meta-data/placement/availability-zone", "eu-north-1a"),
        ("/latest/meta-data/placement/availability-zone/", "eu-north-1a"),
    ] {
        let (status, head, said) = service.get(path);
        assert_eq!((status, &*said), (200, body), "{path}");
        assert!(head.contains("content-type: text/plain") && head.contains("cache-control: no-store"), "{head}");
    }
    let json = |path| serde_json::from_str::<serde_json::Value>(&service.get(path).2).unwrap();
    let credentials = json(ROLE);
    for (name, value) in [
        ("Code", "Success"),
        ("Type", "AWS-HMAC"),
        ("AccessKeyId", "ASIAENV"),
        ("SecretAccessKey", "hush-env"),
        ("Token", "hush-token"),
    ] {
        assert_eq!(credentials[name], value, "{name}");
    }
    assert!(credentials["LastUpdated"].is_string() && credentials["Expiration"].as_str().unwrap().ends_with('Z'));
    let document = json("/latest/dynamic/instance-identity/document");
    assert_eq!((&document["region"], &document["accountId"]), (&"eu-north-1".into(), &"123456789012".into()));
    let info = json("/latest/meta-data/iam/info");
    assert_eq!(
        (&info["Code"], &info["InstanceProfileArn"]),
        (&"Success".into(), &"arn:aws:iam::123456789012:instance-profile/default".into())
    );
    for path in [
        "/",
        "/latest",
        "/latest/meta-data/",
        "/latest/meta-data/iam/security-credentials-extended/",
        "/latest/meta-data/iam/security-credentials-extended/default",
        "/latest/meta-data/iam/security-credentials/other",
        "/latest/meta-data/iam/security-credentials/default/",
        "/latest/user-data",
        "/credentials",
        "/status",
        "/healthz",
    ] {
        let (status, head, _) = service.get(path);
        assert!(status == 404 && head.contains("content-type: text/plain"), "{path}: {head}");
    }
    let (status, head, body) = service.ask("HEAD", ROLE, &service.token());
    assert!(status == 200 && body.is_empty() && head.contains("content-length"), "{head}");
    assert_eq!(service.ask("POST", ROLE, &service.token()).0, 405);
}

#[test]
fn issues_and_checks_session_tokens() {
    let home = Home::new();
    let service = serve(&home, "", &TEMPORARY);
    for ttl in ["0", "21601", "-1", "+5", "", "x", "1.5", "99999999999999999999999"] {
        let asked = format!("X-aws-ec2-metadata-token-ttl-seconds: {ttl}\r\n");
        assert_eq!(service.ask("PUT", "/latest/api/token", &asked).0, 400, "{ttl:?}");
    }
    assert_eq!(service.ask("PUT", "/latest/api/token", "").0, 400);
    for ttl in ["1", "21600"] {
        let asked = format!("X-aws-ec2-metadata-token-ttl-seconds: {ttl}\r\n");
        assert_eq!(service.ask("PUT", "/latest/api/token", &asked).0, 200, "{ttl}");
        assert_eq!(service.ask("GET", "/latest/api/token", &asked).0, 405);
        assert_eq!(service.ask("PUT", "/latest/api/token", &format!("{asked}X-Forwarded-For: 1.2.3.4\r\n")).0, 403);
    }
    let token = service.token();
    let mut forged = token.trim_end().to_owned();
    let last = forged.pop().unwrap();
    forged.push(if last == 'A' { 'E' } else { 'A' });
    let other = serve(&Home::new(), "", &TEMPORARY).token();
    for refused in ["", "X-aws-ec2-metadata-token: \r\n", &format!("{forged}\r\n"), &format!("{token}{token}"), &other]
    {
        for path in [ROLE, "/", "/latest/meta-data/placement/region"] {
            let (status, _, body) = service.ask("GET", path, refused);
            assert!(status == 401 && !body.contains("hush"), "{path} {refused}");
        }
    }
    assert_eq!(service.ask("GET", ROLE, &token).0, 200, "a token is good for more than one request");
    let end = service.ask("PUT", "/latest/api/token", "X-aws-ec2-metadata-token-ttl-seconds: 1\r\n").2;
    std::thread::sleep(Duration::from_millis(1100));
    assert_eq!(service.ask("GET", ROLE, &format!("X-aws-ec2-metadata-token: {end}\r\n")).0, 401);
}

#[test]
fn session_token_survives_a_restart() {
    let home = Home::new();
    let token = {
        let service = serve(&home, "", &TEMPORARY);
        let token = service.token();
        assert_eq!(service.ask("GET", ROLE, &token).0, 200);
        token
    };
    assert_eq!(serve(&home, "", &TEMPORARY).ask("GET", ROLE, &token).0, 200);
    std::fs::remove_file(home.path().join("run/token")).unwrap();
    assert_eq!(serve(&home, "", &TEMPORARY).ask("GET", ROLE, &token).0, 401, "the auth token is another one");
}

#[test]
fn connection_stays_open_after_a_session_token() {
    let home = Home::new();
    let service = serve(&home, "", &TEMPORARY);
    let head = |method: &str, path: &str, headers: &str| {
        format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n{headers}\r\n", service.address)
    };
    let count = |requests: &str| {
        let mut stream = TcpStream::connect(service.address).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        stream.write_all(requests.as_bytes()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answers = String::new();
        let _ = stream.read_to_string(&mut answers);
        answers.matches("HTTP/1.1 ").count()
    };
    let put = head("PUT", "/latest/api/token", "X-aws-ec2-metadata-token-ttl-seconds: 60\r\n");
    assert_eq!(count(&put.repeat(20)), 1);
    assert_eq!(count(&head("GET", ROLE, &service.token()).repeat(20)), 20);
}

#[test]
fn applies_access_control() {
    let home = Home::new();
    let service = serve(&home, "allow_v1 = true\n", &TEMPORARY);
    for foreign in [
        "Host: evil.example\r\n",
        "Host: a\r\nHost: b\r\n",
        "Origin: null\r\n",
        "Via: 1.1 x\r\n",
        "X-Forwarded-For: 1.2.3.4\r\n",
        "X-Forwarded-Host: a\r\n",
        "X-Real-IP: 1.2.3.4\r\n",
        "True-Client-IP: 1.2.3.4\r\n",
        "CF-Connecting-IP: 1.2.3.4\r\n",
        "X-Envoy-External-Address: 1.2.3.4\r\n",
        "Sec-Fetch-Mode: cors\r\n",
    ] {
        for (method, path) in [("GET", ROLE), ("PUT", "/latest/api/token"), ("GET", "/")] {
            let (status, head, body) = service.ask(method, path, foreign);
            assert!(status == 403 && head.contains("text/plain") && !body.contains("hush"), "{foreign} {path}");
        }
    }
}

#[test]
fn limits_heads_and_closes_after_a_body() {
    let home = Home::new();
    let service = serve(&home, "", &TEMPORARY);
    let token = service.token();
    let long = format!("{token}X-Long: {}\r\n", "x".repeat(17 * 1024));
    for (request, status) in [(long, 431), ("X: a\0b\r\n".to_owned(), 400)] {
        let (answered, head, body) = service.ask("GET", ROLE, &request);
        assert!(answered == status && head.contains("content-type: text/plain") && !body.is_empty(), "{head}{body}");
    }
    let addresses = [service.address, service.broker.addresses[0]];
    for (address, frame) in addresses.into_iter().flat_map(|address| {
        [(address, "Content-Length: 2\r\n\r\n{}"), (address, "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n")]
    }) {
        let next = format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\n\r\n");
        let mut stream = send(address, format!("GET / HTTP/1.1\r\nHost: {address}\r\n{frame}{next}"));
        // The server closes the connection; the request after the body gets no response.
        let answer = Response::read(&mut stream);
        assert!(answer.status > 0 && !answer.body.contains("HTTP/1.1 "), "{answer:?}");
        assert_eq!(answer.header("connection"), Some("close"), "{answer:?}");
    }
}

#[test]
fn answers_503_after_expiry() {
    let home = Home::new();
    let end = testkit::timestamp(SystemTime::now() + Duration::from_secs(4));
    let service = serve(&home, "", &[&TEMPORARY[..], &[("AWS_CREDENTIAL_EXPIRATION", &end)]].concat());
    assert_eq!(service.get(ROLE).0, 200);
    until("the lease has expired", || service.get(ROLE).0 == 503);
    let (_, head, body) = service.get(ROLE);
    assert!(head.contains("retry-after: 1") && head.contains("text/plain"), "{head}");
    assert!(body.contains("expired") && !body.contains("hush"), "{body}");
}

#[test]
fn serves_version_1_if_allowed() {
    let home = Home::new();
    let service = serve(&home, "allow_v1 = true\n", &TEMPORARY);
    assert_eq!(service.ask("GET", ROLE, "").0, 200);
    assert_eq!(service.ask("GET", ROLE, "X-aws-ec2-metadata-token: wrong\r\n").0, 401, "a bad one is a bad one");
    assert_eq!(service.ask("GET", ROLE, &service.token()).0, 200);
    assert_eq!(service.ask("GET", "/latest/nothing", "").0, 404);
}

#[test]
fn explains_missing_data() {
    let home = Home::new();
    let mut long_lived = serve(&home, "", &TEMPORARY[..2]);
    for path in [ROLE, "/latest/meta-data/iam/security-credentials/"] {
        let (status, _, body) = long_lived.get(path);
        assert!(status == 404 && body.contains("session token") && !body.contains("hush"), "{path}: {body}");
    }
    let said = "WARN IMDS requests get no credentials: long-lived keys without a session token";
    long_lived.broker.wait_for_log(said);
    assert_eq!(long_lived.broker.log().matches(said).count(), 1, "{}", long_lived.broker.log());
    let placement = ["region", "region/", "availability-zone", "availability-zone/"];
    let placement = placement.map(|path| format!("/latest/meta-data/placement/{path}"));
    for path in placement.iter().map(String::as_str).chain(["/latest/dynamic/instance-identity/document"]) {
        let (status, _, body) = long_lived.get(path);
        assert!(status == 404 && body.contains("region"), "{path}: {body}");
    }
    let (status, _, body) = long_lived.get("/latest/meta-data/iam/info");
    assert!(status == 404 && body.contains("session token"), "{body}");
    let stranger = serve(&Home::new(), "", &TEMPORARY);
    let (status, _, body) = stranger.get("/latest/meta-data/iam/info");
    assert!(status == 404 && body.contains("account is not known"), "{body}");
    let home = Home::new();
    let missing = serve(&home, "[identities.default]\nsources = [{ credentials_file = \"~/gone\" }]\n", &[]);
    let (status, head, body) = missing.get(ROLE);
    assert!(status == 503 && body.contains("gone") && head.contains("retry-after: 1"), "{head} {body}");
    let nothing = serve(&Home::new(), "[identities.default]\nsources = [\"environment\"]\n", &[]);
    let (status, _, body) = nothing.get(ROLE);
    assert!(status == 503 && body.contains("environment"), "{body}");
}

#[test]
fn serves_a_named_identity_and_rejects_wrong_settings() {
    let home = Home::new();
    let table = "identity = \"team/x\"\n[identities.\"team/x\"]\nsources = [\"environment\"]\n";
    let service = serve(&home, table, &TEMPORARY);
    assert_eq!(service.get("/latest/meta-data/iam/security-credentials/").2, "team/x");
    for role in ["team/x", "team%2Fx"] {
        assert_eq!(service.get(&format!("/latest/meta-data/iam/security-credentials/{role}")).0, 200, "{role}");
    }
    for (wrong, word) in [
        ("listen = \"127.0.0.1:0\"\nidentity = \"nobody\"", "no identity nobody"),
        ("listen = \"10.0.0.1:80\"", "other hosts must not reach it"),
        ("listen = [\"127.0.0.1:9734\", \"127.0.0.1:9734\"]", "listens there already"),
        ("listen = \"127.0.0.1:9733\"", "listens there already"),
        ("listen = []", "no address to listen on"),
    ] {
        home.write("wrong.toml", format!("[imds]\n{wrong}\n"));
        let ended = home.run(&["serve", "--config", "wrong.toml"], &[]);
        assert!(ended.code == Some(78) && ended.stderr.contains(word), "{wrong}: {ended:?}");
    }
}

#[test]
fn flags_variables_or_file_serve_a_profile() {
    let home = Home::new();
    let two = "127.0.0.1:0,127.0.0.1:0";
    home.write(".aws/credentials", DEV);
    let broker = home.serve(
        &["--imds-listen", two, "--imds-identity", "dev", "--serve-profiles", "d*"],
        &[("CREDENZA_IMDS_ALLOW_V1", "true"), ("CREDENZA_IMDS_IDENTITY", "nobody")],
    );
    let addresses = broker.addresses.clone();
    assert_eq!(addresses.len(), 3, "{addresses:?}");
    let service = Service { address: addresses[2], broker };
    let role = "/latest/meta-data/iam/security-credentials/dev";
    let (status, _, body) = service.ask("GET", role, "");
    assert!(status == 200 && body.contains("ASIADEV"), "{status}");
    assert!(service.broker.log().contains("allow_v1: the metadata service answers requests without a token"));
    drop(service);
    let by_file = serve(&home, "identity = \"dev\"\n[profiles]\nserve = [\"dev\"]\n", &[]);
    assert!(by_file.get(role).2.contains("ASIADEV"));
}

#[test]
fn reports_wrong_flags_and_variables() {
    let home = Home::new();
    home.write("credenza.toml", "[server]\nlisten = [\"127.0.0.1:9735\"]\n");
    const LISTEN: (&str, &str) = ("CREDENZA_IMDS_LISTEN", "[::1]:0");
    type Case<'c> = (&'c [&'c str], &'c [(&'c str, &'c str)], &'c str);
    let table: [Case<'_>; 7] = [
        (&["--imds-listen", "0.0.0.0:80"], &[], "other hosts must not reach it"),
        (&["--imds-listen", "10.0.0.1:80", "--allow-remote"], &[], "other hosts must not reach it"),
        (&["check", "-v"], &[("CREDENZA_IMDS_LISTEN", "nowhere")], "write it like 127.0.0.1:9733"),
        (&["check", "-v", "--imds-listen", "127.0.0.1:9735"], &[], "listens there already"),
        (&["serve", "--imds-listen", "127.0.0.1:0", "--imds-identity", "nobody"], &[], "no identity nobody"),
        (&["serve"], &[LISTEN, ("CREDENZA_IMDS_IDENTITY", "nobody")], "no identity nobody"),
        (&["serve"], &[("CREDENZA_IMDS_ALLOW_V1", "perhaps")], "--imds-allow-v1"),
    ];
    for (arguments, variables, word) in table {
        let ended = home.run(&[arguments, &["--config", "credenza.toml"]].concat(), variables);
        assert!(ended.code == Some(2) && ended.stderr.contains(word), "{arguments:?}: {ended:?}");
    }
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ended = home.run(&["serve", "--listen", "127.0.0.1:0", "--imds-listen", &address], &[]);
    assert!(ended.code == Some(1) && ended.stderr.contains(&address), "{ended:?}");
    assert!(ended.stderr.contains("for the metadata service with --imds-listen"), "{ended:?}");
    // The variables may be set for another command.
    let variables = [("CREDENZA_IMDS_LISTEN", "127.0.0.1:9735"), ("CREDENZA_IMDS_IDENTITY", "nobody")];
    let ended = home.run(&["get", "--config", "credenza.toml"], &[&TEMPORARY[..], &variables].concat());
    assert!(ended.code == Some(0) && ended.stderr.is_empty(), "{ended:?}");
}

#[test]
fn check_describes_the_imds_server() {
    let home = Home::new();
    home.write(".aws/credentials", DEV);
    let check = |imds: &str, more: &str, variables: &[(&str, &str)]| {
        home.write("credenza.toml", format!("[imds]\n{imds}\n{more}"));
        home.run(&["check", "-v", "--config", "credenza.toml"], variables)
    };
    let (one, two) = ("listen = \"127.0.0.1:9734\"", "listen = [\"127.0.0.1:9734\", \"[::1]:9734\"]");
    let served = check(two, "", &TEMPORARY);
    let lines = "IMDS server http://127.0.0.1:9734, http://[::1]:9734\n  => identity default, for every program";
    assert!(served.code == Some(0) && served.stdout.contains(lines), "{served:?}");
    assert!(!served.stdout.contains("allow_v1"), "{served:?}");
    let version_1 = check("allow_v1 = true", "", &[&TEMPORARY[..], &[("CREDENZA_IMDS_LISTEN", "[::1]:9734")]].concat());
    let warning = "     allow_v1: the metadata service answers requests without a token";
    assert!(version_1.code == Some(0) && version_1.stdout.contains(warning), "{version_1:?}");

    let long_lived = check(one, "", &TEMPORARY[..2]);
    let refusal = "  => nothing: identity default: long-lived keys without a session token are not served";
    assert!(long_lived.code == Some(1) && long_lived.stdout.contains(refusal), "{long_lived:?}");
    assert!(long_lived.stdout.contains("long_lived_keys = \"session\" to exchange them"), "{long_lived:?}");
    let ended = [&TEMPORARY[..], &[("AWS_CREDENTIAL_EXPIRATION", "2020-01-01T00:00:00Z")]].concat();
    let expired = check(one, "", &ended);
    assert!(expired.code == Some(1) && expired.stdout.contains("default: its credentials have expired"), "{expired:?}");
    // The missing `default` beside another identity is an error only if the IMDS server serves it.
    let other =
        "[identities.a]\nsources = [\"environment\"]\n[identities.default]\neager = false\nsources = [\"container\"]\n";
    let nothing = check(one, other, &TEMPORARY);
    let line = "  => nothing: identity default: it has no credentials";
    assert!(nothing.code == Some(1) && nothing.stdout.contains(line), "{nothing:?}");
    assert_eq!(check("identity = \"a\"", other, &TEMPORARY).code, Some(0));

    // `check` loads a served profile although no client has requested it.
    let profiles = "[profiles]\nserve = [\"*\"]\n";
    let dev = check(&format!("{one}\nidentity = \"dev\""), profiles, &[]);
    assert!(dev.code == Some(0) && dev.stdout.contains("identity dev\n") && dev.stdout.contains("ASIADEV"), "{dev:?}");
    assert!(dev.stdout.contains("  => identity dev, for every program"), "{dev:?}");
    let gone = check(&format!("{one}\nidentity = \"gone\""), profiles, &[]);
    assert!(gone.code == Some(1) && gone.stdout.contains("  => nothing: identity gone: it has no"), "{gone:?}");
    let unknown = check(&format!("{one}\nidentity = \"gone\""), "", &[]);
    assert!(unknown.code == Some(78) && unknown.stderr.contains("there is no identity gone"), "{unknown:?}");
    assert!(!format!("{served:?}{long_lived:?}{dev:?}").contains("hush"));
}

/// The protocol does not identify clients, so that a flood looks like any client: its connection limit is separate.
#[test]
fn has_a_connection_limit_of_its_own() {
    let home = Home::new();
    let service = serve(&home, "[server]\nmax_connections = 2\n", &TEMPORARY);
    let mut waiting = TcpStream::connect(service.broker.address()).unwrap();
    let flood: Vec<_> = (0..8).map(|_| TcpStream::connect(service.address).unwrap()).collect();
    assert_eq!(service.get(ROLE).0, 200, "the oldest makes room for the newest");
    let head = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    waiting.write_all(head.as_bytes()).unwrap();
    assert_eq!(Response::read(&mut waiting).status, 200, "the oldest connection without a token is still open");
    drop(flood);
}

#[test]
fn refuses_to_be_its_own_source() {
    let home = Home::new();
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let table = format!("[imds]\nlisten = \"{address}\"\n[identities.default]\nsources = [\"imds\"]\n");
    let endpoint = format!("http://{address}/");
    let variables = [("AWS_EC2_METADATA_DISABLED", "false"), ("AWS_EC2_METADATA_SERVICE_ENDPOINT", &*endpoint)];
    let broker = home.serve_config(table, &variables);
    let answer = broker.get("/credentials");
    assert_eq!((answer.status, answer.code().as_str()), (403, "SourceMisconfigured"), "{answer:?}");
}
