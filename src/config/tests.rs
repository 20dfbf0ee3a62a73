use std::path::Path;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::config::listen::Listen;
use crate::config::load::ConfigLocation;
use crate::config::*;
use crate::model::session_name::Placeholder;
use crate::os::environment::Environment;
use crate::source::spec::{LongLivedKeys, OnFailure, Program, RoleSpec, TextSource};

fn parse(text: &str) -> Result<Config, Vec<ConfigError>> {
    Config::parse(text.as_bytes(), &Overrides::default())
}

fn valid(text: &str) -> Config {
    parse(text).unwrap_or_else(|errors| panic!("{text}\n{errors:#?}"))
}

/// The line, the key, and a part of the message of an error.
type Expected = (usize, &'static str, &'static str);

fn assert_refused(text: &str, expected: &[Expected]) {
    let errors = parse(text).expect_err(text);
    let shown = errors.iter().map(|error| format!("\n  {error}")).collect::<String>();
    assert!(!shown.contains("hunter2"), "{text}{shown}");
    let locations: Vec<_> = errors.iter().map(|error| (error.line, error.key.as_str())).collect();
    assert_eq!(locations, expected.iter().map(|(line, key, _)| (*line, *key)).collect::<Vec<_>>(), "{text}{shown}");
    for (error, (_, _, message)) in errors.iter().zip(expected) {
        assert!(error.message.contains(message), "{text}\n{error}\ndoes not contain {message}");
    }
}

#[test]
fn reports_every_semantic_error_at_once() {
    assert_refused(
        r#"
listen = ["127.0.0.1:1"]
[server]
listne = []
listen = ["localhost:9733", 9733, "0.0.0.0:80", "[::1]:1", "[::1]:1"]
allow_remote = "yes"
allowed_hosts = ["http://a"]
token_file = ""
token_group = -1
max_connections = 0
[defaults]
on_failure = "go on"
long_lived_keys = "hunter2"
long_lived_expiration = 60
load_timeout = "1h"
[files]
trusted_owners = ["a:b"]
[clients.a]
metrics = true
[identities.""]
sources = []
[identities.minio]
sources = ["enviroment", { url_fil = "/a" }, 1, {}, "http://hunter2@host", { role_arn = "a" }]
[identities.bare]
eager = true
"#,
        &[
            (2, "listen", "it belongs to [server]"),
            (4, "server.listne", "did you mean `listen`?"),
            (5, "server.listen, entry 1", "not an address with a port"),
            (5, "server.listen, entry 2", "must be a text in quotes, not a number"),
            (5, "server.listen, entry 3", "allow_remote = true"),
            (5, "server.listen, entry 5", "twice"),
            (6, "server.allow_remote", "must be true or false, not a text"),
            (7, "server.allowed_hosts, entry 1", "not a host name"),
            (8, "server.token_file", "empty"),
            (9, "server.token_group", "not a user or group number"),
            (10, "server.max_connections", "between 1 and 65536"),
            (12, "defaults.on_failure", "must be \"stop\" or \"next\""),
            (13, "defaults.long_lived_keys", "must be \"direct\" or \"session\""),
            (14, "defaults.long_lived_expiration", "must be a text in quotes, not a number"),
            (15, "defaults.load_timeout", "between 1s and 5m"),
            (17, "files.trusted_owners, entry 1", "neither a name nor a number"),
            (19, "clients.a.metrics", "not supported yet"),
            (20, "identities.\"\"", "1 to 256 bytes"),
            (21, "identities.\"\".sources", "at least one"),
            (23, "identities.minio.sources, source 1", "did you mean \"environment\"?"),
            (23, "identities.minio.sources, source 2, url_fil", "did you mean `url_file`?"),
            (23, "identities.minio.sources, source 3", "must be a table, not a number"),
            (23, "identities.minio.sources, source 4", "does not name a source"),
            (23, "identities.minio.sources, source 5", "half a key pair"),
            (23, "identities.minio.sources, source 6, role_arn", "not the ARN of a role"),
            (23, "identities.minio.sources, source 6, role_arn", "has no source; add the base credentials"),
            (24, "identities.bare", "sources is missing"),
        ],
    );
}

#[test]
fn reports_only_the_first_syntax_error() {
    for (text, line, column, message) in [
        ("[server]\nallow_remote = yes\nlistne = []\neager = hunter2\n", 2, 16, "a text in \"quotes\""),
        ("[server]\nlisten = [\n  \"127.0.0.1:1\"\nmax_connections = 1\n", 4, 1, "expected a right bracket"),
        ("[identities.a\nsources = []\n", 1, 14, "expected a right bracket, found a newline"),
        ("[server]\nmax_connections = 1k\n", 2, 19, "not a valid value"),
        ("[server]\nlisten = []\n[server]\n", 3, 1, "table is defined a second time (first on line 1)"),
        ("[server]\nallow_remote = true\nallow_remote = 1", 3, 1, "key is defined a second time (first on line 2)"),
        ("[defaults]\neager = true\nx", 3, 2, "expected an equals"),
        ("x", 1, 2, "expected an equals, found the end of the file"),
        ("# \u{e9}\nx = '\u{e9}' y", 2, 9, "expected newline"),
        ("a = 1\na.b = 2\n", 2, 1, "another value above"),
        ("[identities.a]\nsources = [{ secret_access_key = \"hunter2\\q\" }]", 2, 43, "single quotes"),
        ("[identities.a = \"\", secret_access_key = \"hunter2\" }]\n", 1, 15, "bracket"),
        ("[identities.a]\nsources = [{ secret_access_key = \"hunter2 }]", 2, 34, "closing quote"),
        ("[identities.a]\nsources = [{ secret_access_key = hunter2 }]", 2, 34, "a text in \"quotes\""),
        ("[identities.a]\nsources = [\n  \"imds\",\n", 4, 1, "the file ends inside a value"),
    ] {
        let errors = parse(text).unwrap_err();
        let [error] = &errors[..] else { panic!("{text}\n{errors:#?}") };
        assert_eq!((error.line, error.column, &*error.key), (line, column, ""), "{text}\n{error}");
        let shown = error.to_string();
        assert!(shown.contains("syntax error: ") && shown.contains(message), "{text}\n{shown}");
        assert!(!shown.contains("hunter2"), "{text}\n{shown}");
    }
}

#[test]
fn refuses_wrong_sources() {
    for (source, key, message) in [
        (r#"{ access_key_id = "A" }"#, ", access_key_id", "source 1 of identity minio has access_key_id and no secret"),
        (r#"{ secret_access_key_file = "/s" }"#, ", secret_access_key_file", "no access_key_id: half a key pair"),
        (r#"{ session_token = "hunter2" }"#, ", session_token", "no key pair"),
        (r#"{ access_key_id = "", secret_access_key = "hunter2" }"#, ", access_key_id", "is empty"),
        (
            r#"{ access_key_id = "A", secret_access_key = "hunter2\n\u0001" }"#,
            ", secret_access_key",
            "control character",
        ),
        (
            r#"{ access_key_id = "A", access_key_id_file = "/a", secret_access_key = "s" }"#,
            ", access_key_id_file",
            "keep one",
        ),
        (r#"{ url = "http://k:hunter2@host", profile = "dev" }"#, "", "the keys of several sources"),
        (r#"{ source = "imds", profile = "dev" }"#, "", "the keys of several sources"),
        (r#"{ source = "container", allow_v1 = true }"#, "", "belongs to { source = \"imds\" }"),
        (r#"{ allow_v1 = true }"#, "", "belongs to { source = \"imds\" }"),
        (r#"{ source = "hunter2" }"#, ", source", "must be \"environment\" or"),
        (r#"{ source = "imds", region = "a\nb" }"#, ", region", "control character"),
        (r#"{ region = "eu-west-1" }"#, "", "does not name a source"),
        (r#"{ url = "http://host" }"#, ", url", "%2F"),
        (r#""k:hunter2@host""#, "", "not a source; write"),
        (r#""http://k:hun/ter2@host""#, "", "%2F"),
        (r#"{ profile = 1 }"#, ", profile", "must be a text"),
        (r#"{ profile = "" }"#, ", profile", "is empty"),
        (r#"{ process = "" }"#, ", process", "write a command"),
        (r#"{ process = [] }"#, ", process", "write a program and its arguments"),
        (r#"{ process = ["a", 1] }"#, ", process, word 2", "must be a text in quotes"),
        (r#"{ process = ["a"], profile = "dev" }"#, "", "the keys of several sources"),
        (r#"{ role_arn = ARN }"#, ", role_arn", "has no source; add the base credentials"),
        (r#"{ role_arn = "arn:aws:iam::1:role/a\nb", source = "imds" }"#, ", role_arn", "control character"),
        (r#"{ role_arn = ARN, source = "profil" }"#, ", source", "did you mean \"profile\"?"),
        (r#"{ role_arn = ARN, source = { } }"#, ", source", "the source of source 1 of identity minio"),
        (r#"{ role_arn = ARN, source = "imds", duration = "1m" }"#, ", duration", "between 15m and 12h"),
        (r#"{ role_arn = ARN, source = "imds", tags = { "" = "a" } }"#, ", tags.\"\"", "tag name is empty"),
        (r#"{ role_arn = ARN, source = "imds", policy_arns = ["x"] }"#, ", policy_arns, policy 1", "ARN"),
        (
            r#"{ role_arn = ARN, web_identity_token_file = "/t", external_id = "x" }"#,
            ", external_id",
            "does not accept with a web identity",
        ),
        (r#"{ role_arn = ARN, web_identity_token_file = "/t", source = "imds" }"#, ", source", "keep one of the two"),
        (r#"{ web_identity_token_file = "/t" }"#, ", web_identity_token_file", "and no role_arn"),
        (r#"{ profile = "dev", external_id = "x" }"#, ", external_id", "has external_id and no role_arn"),
        (r#"{ sso_session = "work", account_id = "123456789012" }"#, ", sso_session", "has no role_name"),
        (
            r#"{ sso_session = "work", account_id = "12345678901", role_name = "r" }"#,
            ", account_id",
            "has 11 digits, and an account id has 12 digits; write all 12, with the leading zeros",
        ),
    ] {
        let source = source.replace("ARN", "\"arn:aws:iam::1:role/a\"");
        let text = format!("[identities.minio]\nsources = [{source}]\n");
        let key: &str = Box::leak(format!("identities.minio.sources, source 1{key}").into_boxed_str());
        assert_refused(&text, &[(2, key, message)]);
    }
}

#[test]
fn reads_every_kind_of_source() {
    valid("[identities.default]\nsources = [{ role_arn = \"urn:ecs:iam::ns:role/r\", source = \"imds\" }]\n");
    let text = r#"
[identities.minio]
sources = [
    "environment", "profile", "container", "imds", "http://k:s@host",
    { access_key_id = "A", secret_access_key_file = "~/s", session_token = "t", region = "r" },
    { url_file = "/u" }, { profile = "dev" }, { source = "profile", config_file = "/c" },
    { source = "imds", allow_v1 = true }, { source = "environment", region = "eu" },
    { process = "a | b" }, { process = ["a", "b c"] }, { sso_session = "work", account_id = "123456789012", role_name = "r" },
    { role_arn = "arn:aws:iam::1:role/a", source = "profile base", external_id = "x", session_name = "{client}",
      duration = "1h", policy_file = "/p", policy_arns = ["arn:aws:iam::aws:policy/p"], tags = { b = "2", a = "" },
      source_identity = "me", mfa_serial = "m" },
    { role_arn = "arn:aws:iam::1:role/a", source = { role_arn = "arn:aws:iam::1:role/b", source = "imds" } },
    { role_arn = "arn:aws:iam::1:role/a", web_identity_token_file = "/t" },
]
"#;
    let literal = |text: &str| TextSource::Literal(text.into());
    let profile = |name: Option<&str>, config_file: Option<&str>| SourceKind::Profile {
        name: name.map(Into::into),
        credentials_file: None,
        config_file: config_file.map(Into::into),
    };
    let role = |name: &str| RoleSpec { arn: format!("arn:aws:iam::1:role/{name}").into(), ..RoleSpec::default() };
    let keys = SourceKind::Static {
        access_key_id: literal("A"),
        secret_access_key: TextSource::File("~/s".into()),
        session_token: Some(literal("t")),
    };
    let mut expected = built_in_chain();
    expected.extend([
        SourceKind::Url(literal("http://k:s@host")).into(),
        SourceSpec { kind: keys, region: Some("r".into()) },
        SourceKind::Url(TextSource::File("/u".into())).into(),
        profile(Some("dev"), None).into(),
        profile(None, Some("/c")).into(),
        SourceKind::Imds { allow_v1: true }.into(),
        SourceSpec { kind: SourceKind::Environment, region: Some("eu".into()) },
        SourceKind::Process(Program::Line("a | b".into())).into(),
        SourceKind::Process(Program::Words(vec!["a".into(), "b c".into()])).into(),
        SourceKind::Sso { session: "work".into(), account_id: "123456789012".into(), role_name: "r".into() }.into(),
        SourceKind::AssumeRole {
            role: RoleSpec {
                session_name: Some("{client}".into()),
                external_id: Some("x".into()),
                duration: Some(Duration::from_secs(3600)),
                mfa_serial: Some("m".into()),
                policy_file: Some("/p".into()),
                policy_arns: vec!["arn:aws:iam::aws:policy/p".into()],
                tags: vec![("a".into(), "".into()), ("b".into(), "2".into())],
                source_identity: Some("me".into()),
                ..role("a")
            },
            base: Box::new(profile(Some("base"), None).into()),
        }
        .into(),
        SourceKind::AssumeRole {
            role: role("a"),
            base: Box::new(
                SourceKind::AssumeRole { role: role("b"), base: Box::new(SourceKind::Imds { allow_v1: false }.into()) }
                    .into(),
            ),
        }
        .into(),
        SourceKind::WebIdentity { role: role("a"), token_file: "/t".into() }.into(),
    ]);
    assert_eq!(valid(text).identities["minio"].sources, expected);
}

#[test]
fn reads_long_lived_keys_and_served_profiles() {
    let config = valid(
        "[defaults]\nlong_lived_keys = \"session\"\n[profiles]\nserve = [\"dev\", \"team-*\"]\nidle = \"10m\"\n\
         [identities.team-a]\nsources = [\"imds\"]\nlong_lived_keys = \"direct\"\n[identities.b]\n\
         sources = [\"imds\"]\nsession_duration = \"1h\"\n",
    );
    let session = |hours: u64| LongLivedKeys::Session { duration: Duration::from_secs(hours * 3600) };
    assert_eq!(config.identities["default"].long_lived_keys, session(12));
    assert_eq!(config.identities["team-a"].long_lived_keys, LongLivedKeys::Direct);
    assert_eq!(config.identities["b"].long_lived_keys, session(1));
    let served = config.profiles.as_ref().unwrap();
    assert_eq!(served.idle, Duration::from_secs(600));
    assert_eq!(config.identity(&"team-a".into()).unwrap().sources, vec![SourceKind::Imds { allow_v1: false }.into()]);
    let dev = config.identity(&"team-b".into()).unwrap();
    let kind = SourceKind::Profile { name: Some("team-b".into()), credentials_file: None, config_file: None };
    assert_eq!((dev.sources, dev.eager, dev.long_lived_keys), (vec![kind.into()], false, session(12)));
    assert_eq!(config.identity(&"other".into()), None);
    assert_eq!(valid("[profiles]\nserve = []\n").profiles, None);
    assert_refused(
        "[profiles]\nserve = [1]\nidle = \"1s\"\n",
        &[(2, "profiles.serve, pattern 1", "must be a text"), (3, "profiles.idle", "between 1m and 168h")],
    );
}

#[test]
fn named_profile_uses_files_of_served_profiles() {
    let sources = |text: &str, given: [Option<&str>; 3]| {
        let [name, credentials_file, config_file] = given;
        let kind = SourceKind::Profile {
            name: name.map(Into::into),
            credentials_file: credentials_file.map(Into::into),
            config_file: config_file.map(Into::into),
        };
        let overrides = Overrides { sources: Some(vec![kind.into()]), ..Overrides::default() };
        let source = &Config::parse(text.as_bytes(), &overrides).unwrap().identities["default"].sources[0].kind;
        let SourceKind::Profile { credentials_file, config_file, .. } = source else { panic!("{source:?}") };
        [credentials_file, config_file].map(|file| file.as_ref().map(|path| path.to_str().unwrap().to_owned()))
    };
    let text = "[profiles]\nserve = [\"*\"]\ncredentials_file = \"/k\"\nconfig_file = \"/c\"\n";
    let files = |credentials: Option<&str>, config: Option<&str>| [credentials, config].map(|it| it.map(String::from));
    assert_eq!(sources(text, [Some("dev"), None, None]), files(Some("/k"), Some("/c")));
    assert_eq!(sources(text, [Some("dev"), Some("/x"), None]), files(Some("/x"), Some("/c")));
    assert_eq!(sources(text, [None, Some("/x"), None]), files(Some("/x"), None), "no profile name");
    assert_eq!(sources("", [Some("dev"), None, None]), files(None, None));
}

#[test]
fn default_always_exists() {
    let nothing = valid("");
    assert_eq!(nothing.identities.len(), 1);
    let default = &nothing.identities["default"];
    assert!(default.eager);
    assert_eq!(default.sources, built_in_chain());
    assert_eq!(
        (default.on_failure, default.long_lived_expiration, default.load_timeout),
        (OnFailure::Stop, Duration::from_secs(3600), Duration::from_secs(10))
    );
    let implicit = valid("[identities.a]\nsources = [\"imds\"]\n");
    assert!(!implicit.identities["default"].eager && implicit.identities["a"].eager);
    assert_eq!(implicit.identities["default"].sources, built_in_chain());
    assert!(!valid("[profiles]\nserve = [\"*\"]\n").identities["default"].eager, "a served profile is an identity");
    let configured = valid("[identities.default]\n[identities.a]\nsources = [\"imds\"]\neager = false\n");
    assert!(configured.identities["default"].eager && !configured.identities["a"].eager);
}

#[test]
fn identity_takes_precedence_over_defaults() {
    let config = valid(
        "[defaults]\non_failure = \"next\"\neager = false\nlong_lived_expiration = \"15m\"\nload_timeout = \"1m\"\n\
         [identities.\"a/b %\"]\nsources = [\"imds\"]\n[identities.c]\nsources = [\"imds\"]\non_failure = \"stop\"\n\
         eager = true\nlong_lived_expiration = \"1h30m\"\nload_timeout = \"90s\"\n",
    );
    let settings = |name: &str| {
        let identity = &config.identities[name];
        let seconds = (identity.long_lived_expiration.as_secs(), identity.load_timeout.as_secs());
        (identity.on_failure, identity.eager, seconds)
    };
    assert_eq!(settings("a/b %"), (OnFailure::Next, false, (900, 60)));
    assert_eq!(settings("c"), (OnFailure::Stop, true, (5400, 90)));
    assert_eq!(settings("default"), (OnFailure::Next, false, (900, 60)));
    assert!(!valid("[defaults]\neager = false").identities["default"].eager);
}

#[test]
fn flags_beat_the_file_and_the_file_beats_defaults() {
    const FILE: &str = "[server]\nlisten = [\"127.0.0.1:1\"]\nallow_remote = false\ntoken_file = \"/file\"\n\
                        token_group = 1\n[identities.default]\nsources = [\"imds\"]\non_failure = \"next\"\n";
    let address = |text: &str| value::listen_address(text).unwrap();
    let overrides = Overrides {
        listen: Some(vec![address("127.0.0.1:2")]),
        allow_remote: Some(true),
        token: Some(AuthTokenConfig::Kept(Some("/flag".into()))),
        token_group: Some(Account::Name("g".into())),
        sources: Some(vec![SourceKind::Container.into()]),
        region: Some("eu".into()),
        ..Overrides::default()
    };
    let server = valid("").server;
    assert_eq!(
        (server.listen, server.allow_remote, server.token),
        (Listen::Default, false, AuthTokenConfig::Kept(None))
    );
    assert_eq!(server.token_group, None);

    let server = valid(FILE).server;
    assert_eq!(server.listen, Listen::Addresses(vec![address("127.0.0.1:1")]));
    assert_eq!((server.token, server.token_group), (AuthTokenConfig::Kept(Some("/file".into())), Some(Account::Id(1))));

    let config = Config::parse(FILE.as_bytes(), &overrides).unwrap();
    assert_eq!(config.server.listen, Listen::Addresses(vec![address("127.0.0.1:2")]));
    assert!(config.server.allow_remote);
    assert_eq!(config.server.token, AuthTokenConfig::Kept(Some("/flag".into())));
    assert_eq!(config.server.token_group, Some(Account::Name("g".into())));
    let default = &config.identities["default"];
    assert_eq!(default.sources, [SourceSpec { kind: SourceKind::Container, region: Some("eu".into()) }]);
    assert_eq!(default.on_failure, OnFailure::Stop, "flags replace the configured chain and its settings");
    assert_eq!(config.warnings.len(), 1);

    // A region alone changes no chain. A flag makes an address in the file valid.
    let region = Overrides { region: Some("eu".into()), allow_remote: Some(true), ..Overrides::default() };
    let config = Config::parse(b"[server]\nlisten = [\"0.0.0.0:1\"]", &region).unwrap();
    assert_eq!(config.identities["default"].sources.len(), 4);
    assert!(config.identities["default"].sources.iter().all(|source| source.region.as_deref() == Some("eu")));
}

#[test]
fn merges_imds_flags_with_the_file() {
    const FILE: &str = "[server]\nlisten = [\"127.0.0.1:1\"]\n[imds]\nlisten = \"127.0.0.1:2\"\nidentity = \"a\"\n\
                        [identities.a]\nsources = [\"imds\"]\n";
    let at = |addresses: &[&str]| {
        let imds_listen = Some(addresses.iter().map(|text| text.parse().unwrap()).collect());
        Overrides { imds_listen, ..Overrides::default() }
    };
    let with = |file: &str, overrides: &Overrides| Config::parse(file.as_bytes(), overrides).unwrap();
    let moved = at(&["127.0.0.1:3"]);
    let imds = with(FILE, &moved).imds.unwrap();
    assert_eq!((Some(imds.listen), imds.identity, imds.allow_v1), (moved.imds_listen.clone(), "a".into(), false));
    let imds = with("", &moved).imds.unwrap();
    assert_eq!((imds.identity, imds.allow_v1), (IdentityName::default(), false), "without a table");

    // The flag replaces the address in the file, so that one cannot conflict.
    let file = FILE.replace("127.0.0.1:2", "127.0.0.1:1").replace("\"a\"", "\"gone\"");
    assert_eq!(Config::parse(file.as_bytes(), &moved).unwrap_err().len(), 1, "the identity");
    let here = Overrides { imds_identity: Some(IdentityName::default()), ..moved.clone() };
    assert_eq!(with(&file, &here).imds_conflict(), None);

    for (overrides, expected) in [
        (at(&["127.0.0.1:1"]), "127.0.0.1:1: [server] or another"),
        (at(&["[::1]:3", "[::1]:3"]), "[::1]:3: [server] or another"),
        (
            Overrides { imds_identity: Some("gone".into()), ..Overrides::default() },
            "no identity gone; configured identities: a, default",
        ),
    ] {
        let conflict = with(FILE, &overrides).imds_conflict().unwrap();
        assert!(conflict.starts_with("--imds-") && conflict.contains(expected), "{conflict}");
    }
    let default = at(&["[::1]:9733"]);
    assert!(with("", &default).imds_conflict().is_some(), "the default address of [server]");
    let any = at(&["127.0.0.1:0", "127.0.0.1:0"]);
    assert_eq!(with(FILE, &any).imds_conflict(), None, "port 0 gets a different port each time");

    let nowhere = Overrides { imds_allow_v1: Some(true), ..Overrides::default() };
    assert!(with("", &nowhere).warnings[0].contains("--imds-listen"));
    assert!(with(FILE, &nowhere).warnings.is_empty() && with(FILE, &nowhere).imds.unwrap().allow_v1);
}

#[test]
fn auth_token_is_given_or_kept() {
    let long = "x".repeat(32);
    let given = valid(&format!("[server]\nauth_token = \"{long}\"")).server.token;
    assert_eq!(given, AuthTokenConfig::Given(TextSource::Literal(long.as_str().into())));
    let read = valid("[server]\nauth_token_file = \"/t\"").server.token;
    assert_eq!(read, AuthTokenConfig::Given(TextSource::File("/t".into())));
    assert_refused("[server]\nauth_token = \"hunter2\"", &[(2, "server.auth_token", "")]);
    assert_refused(
        "[server]\nauth_token_file = \"/t\"\ntoken_file = \"/k\"",
        &[(3, "server.token_file", "keep token_file, or")],
    );
}

#[test]
fn reads_utf8_and_explains_other_encodings() {
    let file = "[server]\r\nallow_remote = true\r\n\r\n[identities.a]\r\nsources = [\r\n  \"imds\",\r\n]\r\n";
    for text in [file.to_owned(), file.replace("\r\n", "\n"), format!("\u{feff}{file}")] {
        assert!(valid(&text).server.allow_remote);
    }
    let misspelt = format!("\u{feff}{}", file.replace("imds", "imsd"));
    let error = parse(&misspelt).unwrap_err().remove(0);
    assert_eq!((error.line, error.column), (6, 4));
    for (bytes, line, message) in [
        (&b"# a\n\xff"[..], 2, "not UTF-8"),
        (b"# a\n[server]\0", 2, "NUL"),
        (b"\x7fELF\x02\x01\x01\0", 1, "binary"),
        (b"\xff\xfe[\0s\0", 1, "UTF-16"),
        (&vec![b'#'; (1 << 20) + 1], 1, "1 MB"),
    ] {
        let errors = Config::parse(bytes, &Overrides::default()).unwrap_err();
        assert_eq!((errors.len(), errors[0].line), (1, line), "{errors:?}");
        assert!(errors[0].message.contains(message), "{errors:?}");
    }
}

#[test]
fn finds_config_in_named_or_default_paths() {
    let etc = PathBuf::from("/etc/credenza/credenza.toml");
    let location = |variables: &[(&str, &str)]| ConfigLocation::new(None, &Environment::new(variables.iter().copied()));
    for (variables, own) in [
        (&[("HOME", "/h"), ("XDG_CONFIG_HOME", "/x")][..], Some("/x/credenza/credenza.toml")),
        (&[("HOME", "/h"), ("XDG_CONFIG_HOME", "x")], Some("/h/.config/credenza/credenza.toml")),
        (&[("HOME", "/h")], Some("/h/.config/credenza/credenza.toml")),
        (&[], None),
    ] {
        let expected = own.map(PathBuf::from).into_iter().chain([etc.clone()]).collect();
        assert_eq!(location(variables), ConfigLocation::FirstOf(expected));
    }
    let named = ConfigLocation::new(Some(Path::new("~/c.toml")), &Environment::new([("HOME", "/h")]));
    assert_eq!(named, ConfigLocation::Named("/h/c.toml".into()));
}

/// Pieces of texts that look like a configuration, separated by `~`.
const PIECES: &str = "[~]~[[~]]~{~}~=~,~.~\n~\r\n~\"~'~\"\"\"~\\~#~ ~\u{feff}~é~0x~1e9~-~true~server~identities~default~\
    sources~listen~url~source~imds~\"imds\"~a~b~a = 1\n~[a]\n~[[a]]\n~[a.b]\n~a.b = 1\n~sources = [\n";

const POLICY: &str = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*"}}"#;

#[test]
fn reads_assume_and_max_lifetime() {
    let text = format!(
        r#"[identities.a]
sources = ["environment"]
max_lifetime = "30m"
assume = {{ role_arn = "arn:aws:iam::1:role/r", policy = '{POLICY}', duration = "2h", session_name = "{{client}}",
           tags = {{ who = "{{user}}/{{identity}}" }}, source_identity = "{{client}}", external_id = "x" }}
"#
    );
    let config = valid(&text);
    let identity = &config.identities["a"];
    let role = identity.assume.as_ref().unwrap();
    assert_eq!(identity.max_lifetime, Some(Duration::from_secs(1800)));
    assert_eq!((&*role.arn, role.policy.as_ref().unwrap().as_str()), ("arn:aws:iam::1:role/r", POLICY));
    assert_eq!((role.duration, role.external_id.as_deref()), (Some(Duration::from_secs(7200)), Some("x")));
    assert!(identity.names(Placeholder::Client) && identity.names(Placeholder::User));
    assert!(!config.identities["default"].names(Placeholder::Client));
}

#[test]
fn refuses_what_sts_would_refuse_in_a_session() {
    let tags: Vec<String> = (0..51).map(|number| format!("k{number} = \"v\"")).collect();
    let arns = ["\"arn:aws:iam::aws:policy/ReadOnlyAccess\""; 11].join(", ");
    let long = format!("\"arn:aws:iam::aws:policy/{}\"", "a".repeat(2000));
    for (keys, expected) in [
        ("policy = '{'", "line 1, column 2: a key in double quotes is expected (within the policy)"),
        ("policy = '{\"Statement\":[]}'", "Statement is empty"),
        (&*format!("policy = '{POLICY}', policy_file = \"/p\""), "policy is set as well"),
        (&format!("policy_arns = [{arns}]"), "accepts 10 managed policies, and there are 11"),
        (&format!("policy = '{POLICY}', policy_arns = [{long}]"), "2048 together"),
        ("policy_arns = [\"arn:aws:iam::1:role/r\"]", "not the ARN of a managed policy"),
        ("session_name = \"{clients}\"", "braces stand around {client}, {user} or {identity}"),
        ("session_name = \"a\"", "accepts 2 to 64 characters"),
        ("session_name = \"a b\"", "letters, digits and the characters"),
        ("source_identity = \"a/b\"", "letters, digits and the characters"),
        ("tags = { k = \"{nobody}\" }", "braces stand around"),
        ("tags = { \"aws:k\" = \"v\" }", "belong to AWS"),
        ("tags = { K = \"v\", k = \"v\" }", "upper and lower case"),
        (&format!("tags = {{ {} }}", tags.join(", ")), "accepts 50, and there are 51"),
        ("duration = \"13h\"", "must lie between 15m and 12h"),
    ] {
        let role = format!("role_arn = \"arn:aws:iam::1:role/r\", {keys}");
        for identity in [
            format!("sources = [{{ source = \"environment\", {role} }}]"),
            format!("sources = [\"environment\"]\nassume = {{ {role} }}"),
        ] {
            let errors = parse(&format!("[identities.a]\n{identity}\n")).unwrap_err();
            let shown: Vec<String> = errors.iter().map(ToString::to_string).collect();
            assert!(shown.len() == 1 && shown[0].contains(expected), "{keys}: {shown:?}");
        }
    }
    let chained = "role that is assumed with the session of another role lasts 1h at most";
    for (identity, expected) in [
        (
            r#"sources = ["environment"]
            assume = { duration = "1h" }"#,
            "there is no role_arn",
        ),
        (
            r#"sources = ["imds"]
            assume = { role_arn = "arn:aws:iam::1:role/r", duration = "61m" }"#,
            chained,
        ),
        (
            r#"sources = [{ role_arn = "arn:aws:iam::1:role/r", duration = "2h", source = { sso_session = "w", account_id = "123456789012", role_name = "r" } }]"#,
            chained,
        ),
        (
            r#"sources = ["environment"]
            max_lifetime = "29m""#,
            "30m",
        ),
    ] {
        let errors = parse(&format!("[identities.a]\n{identity}\n")).unwrap_err();
        assert!(errors.len() == 1 && errors[0].to_string().contains(expected), "{identity}: {errors:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..200)) {
        let _ = Config::parse(&bytes, &Overrides::default());
    }

    #[test]
    fn text_like_a_configuration_never_panics(pieces in vec(select(PIECES.split('~').collect::<Vec<_>>()), 0..40)) {
        if let Err(errors) = parse(&pieces.concat()) {
            prop_assert!(!errors.is_empty());
        }
    }
}

const SAMPLE: &str = include_str!("../../config/credenza.toml");

/// Keys of the sample that exclude each other.
const ALTERNATIVES: [&[&str]; 2] = [&["#token_file", "#auth_token ", "#auth_token_file"], &["#file ", "#to "]];

/// Uncomments every key of the sample. Of keys that exclude each other, it uncomments only the one with this number, or the
/// last.
fn uncommented(number: usize) -> String {
    let is_other = |line: &str| {
        let begins = |keys: &&[&str]| {
            keys.iter().position(|key| line.starts_with(key)).map(|at| at == number.min(keys.len() - 1))
        };
        ALTERNATIVES.iter().find_map(begins) == Some(false)
    };
    let lines = SAMPLE.lines().map(|line| match line.strip_prefix('#') {
        Some(_) if is_other(line) => line,
        Some(key) if !key.is_empty() && (!key.starts_with(' ') || key.starts_with("    ")) => key,
        _ => line,
    });
    lines.flat_map(|line| [line, "\n"]).collect()
}

#[test]
fn sample_equals_the_defaults() {
    assert_eq!(valid(SAMPLE), valid(""));
}

#[test]
fn sample_shows_exactly_the_known_keys() {
    let mut shown = std::collections::BTreeSet::new();
    for number in 0..3 {
        let text = uncommented(number);
        // A valid file has no unknown key. An auth token excludes clients, too.
        let errors = parse(&text).err().unwrap_or_default();
        assert!(errors.iter().all(|error| error.message.contains("beside [clients]")), "{text}\n{errors:#?}");
        let value = toml_span::parse(&text).unwrap();
        let root = value.as_table().unwrap();
        let mut show = |table: &'static str, value: &toml_span::Value<'_>| {
            shown.extend(value.as_table().unwrap().keys().map(|key| (table, key.name.to_string())));
        };
        show(schema::ROOT.table, &value);
        for keys in [
            &schema::SERVER,
            &schema::IMDS,
            &schema::DEFAULTS,
            &schema::FILES,
            &schema::NOTIFY,
            &schema::PROFILES,
            &schema::AUDIT,
        ] {
            show(keys.table, &root[keys.table.trim_matches(['[', ']'])]);
        }
        for client in root["clients"].as_table().unwrap().values() {
            show(schema::CLIENT.table, client);
        }
        for identity in root["identities"].as_table().unwrap().values() {
            show(schema::IDENTITY.table, identity);
            let sources = identity.as_table().unwrap()["sources"].as_array().unwrap();
            sources.iter().filter(|source| source.as_table().is_some()).for_each(|source| {
                show(schema::SOURCE.table, source);
            });
            identity.as_table().unwrap().get("assume").into_iter().for_each(|role| show(schema::ASSUME.table, role));
        }
    }
    let known = schema::ALL.iter().flat_map(|keys| keys.names.iter().map(|name| (keys.table, (*name).to_owned())));
    assert_eq!(shown, known.collect());
}

#[test]
fn defaults_in_the_sample_are_the_real_ones() {
    let (shown, real) = (valid(&uncommented(0)), valid(""));
    let default = &shown.identities["default"];
    assert_eq!(default, &real.identities["default"]);
    // The sample writes both addresses. The default omits IPv6 on a host without it.
    let port = crate::config::listen::PORT;
    let addresses =
        [format!("127.0.0.1:{port}"), format!("[::1]:{port}")].map(|address| value::listen_address(&address).unwrap());
    assert_eq!(shown.server.listen, Listen::Addresses(addresses.to_vec()));
    // The token and its group have no fixed default.
    let ServerConfig { token, token_group, listen, .. } = shown.server.clone();
    assert_eq!(shown.server, ServerConfig { token, token_group, listen, ..real.server });
    let imds = shown.imds.unwrap();
    assert_eq!((imds.identity, imds.allow_v1, real.imds), (IdentityName::default(), false, None));
    assert_eq!(shown.trusted_files, TrustedFiles::default());
    assert_eq!(shown.profiles, None);
}

#[test]
fn notify_is_a_list_of_words() {
    let notify = valid("[notify]\ncommand = [\"notify-send\", \"{command}\"]\n").notify.unwrap();
    assert_eq!(notify.0, [Box::from("notify-send"), "{command}".into()]);
    assert_eq!(valid("").notify, None);
    for command in ["\"notify-send hunter2\"", "[\"\", \"hunter2\"]"] {
        assert_refused(
            &format!("[notify]\ncommand = {command}\n"),
            &[(2, "notify.command", "not a program and its arguments")],
        );
    }
    assert_refused("[notify]\ncommand = []\n", &[(2, "notify.command", "empty")]);
    assert_refused("[notify]\nprogram = [\"x\"]\n", &[(2, "notify.program", "unknown key")]);
}
