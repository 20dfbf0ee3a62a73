//! Access as one table: every kind of client, every path, every listener. The expected answers are those of
//! docs/PROTOCOL.md and docs/CONFIGURATION.md.

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use serde_json::json;
use testkit::harness::{Broker, HUSH, Home, Response, TIMEOUT, skip, until};

/// A user id other than root and the user of the tests.
const ANOTHER_USER: u32 = 64_001;

/// The identities with credentials. `team-empty` has none: its source is not configured.
const IDENTITIES: [&str; 5] = ["default", "web", "job", "team-a", "a/b"];

/// Answers of the TCP and the Unix listeners. A column is what a client may have: `web` alone, `web` and `team-*`, `job`
/// alone, `team-*`, everything, nothing.
///
/// A name is that of the identity that answers. `denied` is 403 IdentityNotAllowed, `unknown` is 404 IdentityNotFound,
/// `empty` is 404 CredentialsNotConfigured, `no-path` is 404 NotFound.
const SERVED: &str = "
request                                 web      some                     job      team               all                                      none
GET /credentials                        web      denied                   job      denied             default                                  401
GET /v2/credentials                     web      denied                   job      denied             default                                  401
GET /credentials?identity=job           web      denied                   job      denied             default                                  401
GET /credentials/default                denied   denied                   denied   denied             default                                  401
GET /v2/credentials/default             denied   denied                   denied   denied             default                                  401
GET /credentials/web                    web      web                      denied   denied             web                                      401
GET /v2/credentials/web                 web      web                      denied   denied             web                                      401
GET /credentials/%77eb                  web      web                      denied   denied             web                                      401
GET /credentials/web?identity=job       web      web                      denied   denied             web                                      401
GET /credentials/job                    denied   denied                   job      denied             job                                      401
GET /v2/credentials/%6a%6F%62           denied   denied                   job      denied             job                                      401
GET /credentials/team-a                 denied   team-a                   denied   team-a             team-a                                   401
GET /credentials/team%2Da               denied   team-a                   denied   team-a             team-a                                   401
GET /credentials/team-empty             denied   empty                    denied   empty              empty                                    401
GET /credentials/team-nothing           denied   unknown                  denied   unknown            unknown                                  401
GET /credentials/nothing                denied   denied                   denied   denied             unknown                                  401
GET /credentials/a/b                    denied   denied                   denied   denied             a/b                                      401
GET /credentials/a%2Fb                  denied   denied                   denied   denied             a/b                                      401
GET /credentials/a%252Fb                denied   denied                   denied   denied             unknown                                  401
GET /credentials/WEB                    denied   denied                   denied   denied             unknown                                  401
GET /credentials/web/                   denied   denied                   denied   denied             unknown                                  401
GET /credentials//web                   denied   denied                   denied   denied             unknown                                  401
GET /credentials/web/../job             denied   denied                   denied   denied             unknown                                  401
GET /credentials/team-a/../job          denied   unknown                  denied   unknown            unknown                                  401
GET /credentials/web%00                 denied   denied                   denied   denied             unknown                                  401
GET /credentials/*                      denied   denied                   denied   denied             unknown                                  401
GET /credentials/team-*                 denied   unknown                  denied   unknown            unknown                                  401
GET /credentials/web,job                denied   denied                   denied   denied             unknown                                  401
HEAD /credentials                       200      403                      200      403                200                                      401
HEAD /credentials/web                   200      200                      403      403                200                                      401
POST /credentials                       405      405                      405      405                405                                      401
PUT /credentials/web                    405      405                      405      405                405                                      401
GET /credentials/                       no-path  no-path                  no-path  no-path            no-path                                  401
GET /credentialsweb                     no-path  no-path                  no-path  no-path            no-path                                  401
GET /Credentials/web                    no-path  no-path                  no-path  no-path            no-path                                  401
GET //credentials/web                   no-path  no-path                  no-path  no-path            no-path                                  401
GET /nothing                            no-path  no-path                  no-path  no-path            no-path                                  401
GET /status                             {web}    {team-a,team-empty,web}  {job}    {team-a,team-empty} {a/b,default,job,team-a,team-empty,web} 401
POST /status                            405      405                      405      405                405                                      401
GET /readyz                             200      503{team-empty}          200      503{team-empty}    503{team-empty}                          503
HEAD /readyz                            200      503                      200      503                503                                      503
GET /healthz                            200      200                      200      200                200                                      200
HEAD /healthz                           200      200                      200      200                200                                      200
POST /healthz                           405      405                      405      405                405                                      401
GET /healthz/                           no-path  no-path                  no-path  no-path            no-path                                  401
PUT /latest/api/token                   no-path  no-path                  no-path  no-path            no-path                                  401
GET /latest/meta-data/iam/security-credentials/web no-path no-path        no-path  no-path            no-path                                  401
GET /grants                             no-path  no-path                  no-path  no-path            no-path                                  401
POST /grants                            no-path  no-path                  no-path  no-path            no-path                                  401
DELETE /grants/agent                    no-path  no-path                  no-path  no-path            no-path                                  401
POST /use                               no-path  no-path                  no-path  no-path            no-path                                  401
POST /mfa                               no-path  no-path                  no-path  no-path            no-path                                  401
POST /reload                            no-path  no-path                  no-path  no-path            no-path                                  401
POST /token/rotate                      no-path  no-path                  no-path  no-path            no-path                                  401
GET /token                              no-path  no-path                  no-path  no-path            no-path                                  401
GET /whoami                             no-path  no-path                  no-path  no-path            no-path                                  401
";

/// Answers of the IMDS server of `web`, with and without its session token. The client makes no difference.
const IMDS: &str = "
request                                                 session  none
PUT /latest/api/token                                   200      200
GET /latest/api/token                                   405      405
GET /latest/meta-data/iam/security-credentials          200      401
GET /latest/meta-data/iam/security-credentials/         200      401
GET /latest/meta-data/iam/security-credentials/web      web      401
GET /latest/meta-data/iam/security-credentials/%77eb    web      401
GET /latest/meta-data/iam/security-credentials/default  404      401
GET /latest/meta-data/iam/security-credentials/job      404      401
GET /latest/meta-data/iam/security-credentials/nothing  404      401
HEAD /latest/meta-data/iam/security-credentials/web     200      401
POST /latest/meta-data/iam/security-credentials/web     405      401
GET /credentials                                        404      401
GET /credentials/web                                    404      401
GET /status                                             404      401
GET /readyz                                             404      401
GET /healthz                                            404      401
GET /grants                                             404      401
POST /use                                               405      401
";

/// Answers of the control socket. A token makes no difference there: the owner has no client.
const CONTROL: &str = "
request                                             owner
GET /credentials                                    no-path
GET /v2/credentials                                 no-path
GET /credentials/web                                no-path
GET /credentials/nothing                            no-path
GET /readyz                                         no-path
GET /healthz                                        no-path
GET /nothing                                        no-path
GET /latest/meta-data/iam/security-credentials/web  no-path
PUT /latest/api/token                               no-path
GET /status                                         {a/b,default,job,team-a,team-empty,web}
GET /grants                                         200
PUT /grants                                         no-path
HEAD /grants                                        404
";

/// Parses a table into requests with the answers of each column.
fn rows(table: &'static str) -> (Vec<&'static str>, Vec<(String, Vec<&'static str>)>) {
    let mut lines = table.trim().lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let columns = lines.next().unwrap().split_off(1);
    let rows = lines.map(|mut cells| {
        let answers = cells.split_off(2);
        assert_eq!(answers.len(), columns.len(), "{cells:?}");
        (cells.join(" "), answers)
    });
    let rows = rows.collect();
    (columns, rows)
}

fn token(client: &str) -> String {
    format!("{HUSH}-token-of-at-least-32-characters-{client}")
}

#[derive(Clone, Debug)]
enum Listener {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

trait Stream: Read + Write + Send {}

impl<S: Read + Write + Send> Stream for S {}

impl Listener {
    fn connect(&self) -> std::io::Result<Box<dyn Stream>> {
        Ok(match self {
            Self::Tcp(address) => {
                let stream = TcpStream::connect(address)?;
                stream.set_read_timeout(Some(TIMEOUT))?;
                Box::new(stream)
            }
            Self::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(TIMEOUT))?;
                Box::new(stream)
            }
        })
    }

    /// Connects as another user: that of the thread at the moment of the connect.
    fn connect_as(&self, user: Option<u32>) -> std::io::Result<Box<dyn Stream>> {
        let Some(user) = user else { return self.connect() };
        let listener = self.clone();
        let connect = move || {
            rustix::thread::set_thread_uid(rustix::process::Uid::from_raw(user)).unwrap();
            listener.connect()
        };
        std::thread::spawn(connect).join().unwrap()
    }
}

/// A program that sends requests: its user, if it is another one, and its `Authorization` header.
struct Sender {
    what: &'static str,
    /// The column of [`SERVED`] that it gets.
    column: &'static str,
    user: Option<u32>,
    authorization: Option<String>,
}

impl Sender {
    fn new(what: &'static str, column: &'static str, authorization: Option<String>) -> Self {
        Self { what, column, user: None, authorization }
    }

    fn of_another_user(self) -> Self {
        Self { user: Some(ANOTHER_USER), ..self }
    }

    fn ask(&self, listener: &Listener, request: &str, headers: &str) -> Response {
        let authorization = self.authorization.as_ref().map(|value| format!("Authorization: {value}\r\n"));
        let authorization = authorization.unwrap_or_default();
        let body = if request.starts_with("PO") { "Content-Length: 2\r\n\r\n{}" } else { "\r\n" };
        let head = format!("{request} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{authorization}{headers}");
        let mut stream = listener.connect_as(self.user).unwrap();
        // The server may refuse a request and close before all of it is written.
        let _ = stream.write_all(format!("{head}{body}").as_bytes());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        Response::parse(&answer)
    }
}

/// Returns an answer in the words of the tables.
fn shown(response: &Response) -> String {
    let Response { status, body, .. } = response;
    let value: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    let names = |names: &mut dyn Iterator<Item = &str>| format!("{{{}}}", names.collect::<Vec<_>>().join(","));
    if let Some(key) = value["AccessKeyId"].as_str() {
        assert_eq!(*status, 200, "{response:?}");
        let identity = key.strip_prefix("ASIA").unwrap().replace('_', "/");
        assert!(body.contains(&format!("{HUSH}-{identity}\"")), "a key and a secret of two identities");
        return identity;
    }
    assert!(!body.contains(HUSH), "{response:?}");
    if let Some(identities) = value["identities"].as_object() {
        return names(&mut identities.keys().map(String::as_str));
    }
    if let Some(identities) = value["identities"].as_array() {
        return format!("{status}{}", names(&mut identities.iter().map(|name| name.as_str().unwrap())));
    }
    let word = match (status, value["code"].as_str()) {
        (403, Some("IdentityNotAllowed")) => "denied",
        (404, Some("IdentityNotFound")) => "unknown",
        (404, Some("CredentialsNotConfigured")) => "empty",
        (404, Some("NotFound")) => "no-path",
        _ => return status.to_string(),
    };
    word.into()
}

struct Program {
    home: Home,
    broker: Broker,
}

impl Program {
    fn start(clients: &str) -> Self {
        let identity = |name: &str| {
            let key = name.replace('/', "_");
            format!(
                "[identities.\"{name}\"]\nsources = [{{ access_key_id = \"ASIA{key}\", \
                 secret_access_key = \"{HUSH}-{name}\", session_token = \"{HUSH}\" }}]\n"
            )
        };
        let home = Home::new();
        // The socket is for other users, too.
        fs::set_permissions(home.path(), Permissions::from_mode(0o755)).unwrap();
        let empty = "[identities.team-empty]\nsources = [\"environment\"]\n";
        let imds = "[imds]\nlisten = \"127.0.0.1:0\"\nidentity = \"web\"\n";
        home.write("file", format!(" {}\n", token("file")));
        home.write("credenza.toml", format!("{imds}{clients}{}{empty}", IDENTITIES.map(identity).concat()));
        let arguments = ["--config", "credenza.toml", "--listen", "127.0.0.1:0", "--listen", "unix:~/s"];
        let broker = home.serve(&arguments, &[]);
        Self { home, broker }
    }

    fn listeners(&self) -> [Listener; 2] {
        [Listener::Tcp(self.broker.address()), Listener::Unix(self.home.path().join("s"))]
    }

    fn control(&self) -> Listener {
        Listener::Unix(self.home.path().join("run/control.sock"))
    }

    /// Gives a grant of `web`. Returns its token.
    fn grant(&self) -> String {
        let order = json!({"name": "agent", "identity": "web", "seconds": 3000}).to_string();
        let mut stream = self.control().connect().unwrap();
        let length = order.len();
        write!(
            stream,
            "POST /grants HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{order}"
        )
        .unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        Response::parse(&answer).json()["token"].as_str().unwrap().to_owned()
    }

    /// Waits until all identities have been loaded. `all` may have each of them.
    fn wait(&self, all: &Sender) {
        let [tcp, _] = self.listeners();
        for identity in IDENTITIES {
            let path = format!("GET /credentials/{identity}");
            until("the identity is loaded", || shown(&all.ask(&tcp, &path, "")) == identity);
        }
        until("the identity without a source is loaded", || {
            shown(&all.ask(&tcp, "GET /credentials/team-empty", "")) == "empty"
        });
    }

    /// Compares all answers with the tables. Each difference is listed.
    fn check(&self, senders: &[Sender]) {
        let mut wrong = Vec::new();
        let mut compare = |what: String, response: &Response, expected: &str| {
            let shown = shown(response);
            if shown != expected {
                wrong.push(format!("{what}: {shown}, not {expected}"));
            }
        };
        let (columns, served) = rows(SERVED);
        for sender in senders {
            let column = columns.iter().position(|column| *column == sender.column).unwrap();
            for (request, answers) in &served {
                for listener in self.listeners() {
                    let what = format!("{} at {listener:?}: {request}", sender.what);
                    compare(what, &sender.ask(&listener, request, ""), answers[column]);
                }
            }
        }
        // No request has changed anything.
        for sender in senders {
            let column = columns.iter().position(|column| *column == sender.column).unwrap();
            let [tcp, _] = self.listeners();
            let what = format!("{} at the end", sender.what);
            compare(what, &sender.ask(&tcp, &served[0].0, ""), served[0].1[column]);
        }
        let imds = Listener::Tcp(self.broker.addresses[1]);
        let lifetime = "X-aws-ec2-metadata-token-ttl-seconds: 60\r\n";
        for sender in senders {
            let session = sender.ask(&imds, "PUT /latest/api/token", lifetime).body;
            let session = format!("{lifetime}X-aws-ec2-metadata-token: {session}\r\n");
            for (request, answers) in rows(IMDS).1 {
                for (headers, expected) in [session.as_str(), lifetime].into_iter().zip(answers) {
                    let what = format!("{} at the IMDS server: {request}", sender.what);
                    compare(what, &sender.ask(&imds, &request, headers), expected);
                }
            }
        }
        for sender in senders {
            if sender.user.is_some() {
                let refused = self.control().connect_as(sender.user).err().map(|error| error.kind());
                assert_eq!(refused, Some(std::io::ErrorKind::PermissionDenied), "{}", sender.what);
                continue;
            }
            for (request, answers) in rows(CONTROL).1 {
                let what = format!("{} at the control socket: {request}", sender.what);
                compare(what, &sender.ask(&self.control(), &request, ""), answers[0]);
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}

#[test]
fn every_client_gets_what_the_table_says() {
    let ours = rustix::process::geteuid().as_raw();
    let client =
        |name: &str, proof: &str, identities: &str| format!("[clients.{name}]\n{proof}\nidentities = [{identities}]\n");
    let given = |name: &str| format!("token = \"{}\"", token(name));
    let clients = [
        client("inline", &given("inline"), "\"web\""),
        client("file", "token_file = \"file\"", "\"web\", \"team-*\""),
        client("user", &format!("users = [{ours}]"), "\"job\""),
        client("both", &format!("{}\nusers = [{ours}]", given("both")), "\"team-*\""),
        client("foreign", &format!("{}\nusers = [{ANOTHER_USER}]", given("foreign")), "\"*\""),
        client("all", &given("all"), "\"*\""),
    ];
    let program = Program::start(&clients.concat());
    let with = |what, column, name: &str| Sender::new(what, column, Some(token(name)));
    let mut senders = vec![
        with("a token", "web", "inline"),
        Sender::new("a grant", "web", Some(program.grant())),
        with("the token of a file", "some", "file"),
        Sender::new("a user without a token", "job", None),
        Sender::new("a user with an empty header", "job", Some(String::new())),
        with("a token and its user", "team", "both"),
        with("a token and another user", "none", "foreign"),
        with("a client of all", "all", "all"),
        with("an unknown token", "none", "unknown"),
        Sender::new("half a token", "none", Some(token("al"))),
        Sender::new("a token with a scheme", "none", Some(format!("Bearer {}", token("all")))),
        Sender::new("a token in two headers", "none", Some(format!("{0}\r\nAuthorization: {0}", token("all")))),
    ];
    if rustix::process::geteuid().is_root() {
        senders.extend([
            with("a token from any user", "web", "inline").of_another_user(),
            with("a token of the other user", "all", "foreign").of_another_user(),
            with("a token of a user, from the other one", "none", "both").of_another_user(),
            Sender::new("the other user without a token", "none", None).of_another_user(),
        ]);
    } else {
        assert!(skip("connections of another user need root"));
    }
    program.wait(&senders[7]);
    program.check(&senders);
    assert!(!program.home.path().join("run/token").exists(), "there is no auth token beside clients");
}

#[test]
fn auth_token_opens_all_without_clients() {
    let program = Program::start("");
    let auth_token = program.broker.token();
    let senders = [
        Sender::new("the auth token", "all", Some(auth_token.clone())),
        Sender::new("a grant", "web", Some(program.grant())),
        Sender::new("no token", "none", None),
        Sender::new("an empty header", "none", Some(String::new())),
        Sender::new("an unknown token", "none", Some(token("all"))),
        Sender::new("half a token", "none", Some(auth_token[..auth_token.len() - 1].to_owned())),
    ];
    program.wait(&senders[0]);
    program.check(&senders);
}
