use std::collections::HashMap;
use std::sync::Arc;

use super::*;
use crate::http::client::HttpClient;
use crate::login::cache::file_name;
use crate::model::credentials::Credentials;
use crate::source::profile::description::{describe, description};
use ring::digest::SHA1_FOR_LEGACY_USE_ONLY;

async fn load(
    source: &ConfigCredentials,
    config: &str,
    credentials: &str,
    variables: &[(&str, &str)],
) -> (Lookup, Option<Box<str>>) {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join(".aws")).unwrap();
    for (name, text) in [("config", config), ("credentials", credentials)] {
        if !text.is_empty() {
            std::fs::write(home.path().join(".aws").join(name), text).unwrap();
        }
    }
    let home = ("HOME", home.path().to_str().unwrap());
    let context = Context { http_client: HttpClient::default(), ..Context::of(&[variables, &[home]].concat()) };
    (source.load(&context).await, source.region(&context).await)
}

/// Returns the error of a profile in a network without names. `@` is replaced by the home directory.
async fn error(config: &str, variables: &[(&str, &str)]) -> String {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join(".aws")).unwrap();
    std::fs::write(home.path().join(".aws/config"), config.replace('@', home.path().to_str().unwrap())).unwrap();
    std::fs::write(home.path().join("token"), "jwt").unwrap();
    let cache = home.path().join(".aws/sso/cache");
    std::fs::create_dir_all(&cache).unwrap();
    let login = r#"{"accessToken":"hush","expiresAt":"2099-01-01T00:00:00Z"}"#;
    for key in ["work", "https://d.example/start"] {
        std::fs::write(cache.join(file_name(&SHA1_FOR_LEGACY_USE_ONLY, key)), login).unwrap();
    }
    let here = ("HOME", home.path().to_str().unwrap());
    let http_client = HttpClient::with_names(Arc::default(), HashMap::new());
    let context = Context { http_client, ..Context::of(&[variables, &[here]].concat()) };
    let Lookup::Failed(error) = ConfigCredentials::new().profile("dev").load(&context).await else { panic!() };
    error.to_string().replace(here.1, "@")
}

#[tokio::test]
async fn locates_invalid_regions() {
    let role = "[profile dev]\nrole_arn = arn:aws:iam::1:role/r\nsource_profile = base\n";
    let web = "[profile dev]\nrole_arn = arn:aws:iam::1:role/r\nweb_identity_token_file = @/token\n";
    let base = format!("[profile base]\nregion = base\n{KEYS}");
    let sso = "sso_account_id = 123456789012\nsso_role_name = r\nsso_region = eu-wset-1\nsso_start_url = https://d.example/start\n";
    let none = "is not valid; write one such as eu-west-1";
    let unknown = "check that eu-wset-1 is a region of AWS";
    let named = "sso_session = work\nsso_account_id = 123456789012\nsso_role_name = r\n[sso-session work]\nsso_region = eu-wset-1\n\
                 sso_start_url = https://d.example/start\n";
    // A host name without a region is not an error of the region.
    let elsewhere = format!("{role}region = eu-wset-1\nendpoint_url = https://sts.example\n{base}");
    for (config, variables, line, place, expected) in [
        (format!("{role}region = eu_west\n{base}"), &[][..], 4, "the region", none),
        (format!("{web}region = eu_west\n"), &[], 4, "the region", none),
        (format!("{role}region = eu-west-1\n{base}"), &[("AWS_REGION", "x y")], 2, "AWS_REGION: the", none),
        (format!("{role}region = eu-wset-1\n{base}"), &[], 4, "AssumeRole", unknown),
        (format!("{web}region = eu-wset-1\n"), &[], 4, "AssumeRoleWith", unknown),
        (web.to_owned(), &[("AWS_DEFAULT_REGION", "eu-wset-1")], 3, "AWS_DEFAULT_REGION: Assume", unknown),
        (format!("[profile dev]\n{named}"), &[], 6, "GetRoleCredentials", unknown),
        (format!("[profile dev]\n{sso}"), &[], 4, "GetRoleCredentials", unknown),
        (elsewhere, &[], 2, "AssumeRole", "check the spelling of the endpoint"),
    ] {
        let (error, start) =
            (error(&config, variables).await, format!("@/.aws/config, line {line}: profile dev: {place}"));
        assert!(error.starts_with(&start) && error.contains(expected), "{start} … {expected}: {error}");
    }
}

#[tokio::test]
async fn reports_missing_tokens_with_hint() {
    let web =
        |path: &str| format!("[profile dev]\nrole_arn = arn:aws:iam::1:role/r\nweb_identity_token_file = {path}\n");
    let torn = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&torn, "hush-first\nhush-second").unwrap();
    let torn = torn.path().to_str().unwrap();
    let of_torn = error(&web(torn), &[]).await;
    let expected = format!(
        "@/.aws/config, line 3: profile dev: the token file {torn} contains a control character within the token (a \
         line break, perhaps); check that it holds the token alone, in one line"
    );
    assert_eq!(of_torn, expected);
    for (path, expected) in [("@/gone", "there is no such file"), ("@", "it is a directory"), ("/dev/null", "is empty")]
    {
        let error = error(&web(path), &[]).await;
        assert!(error.starts_with("@/.aws/config, line 3: profile dev: "), "{error}");
        let hint = "; check that the token is written to this path, and that this user may read it";
        assert!(error.contains(expected) && error.ends_with(hint), "{error}");
    }
}

const KEYS: &str = "aws_access_key_id = AKIA1\naws_secret_access_key = hush\n";

#[tokio::test]
async fn finds_keys_of_the_selected_profile() {
    let source = ConfigCredentials::new();
    let config = "[profile dev]\nregion = eu-west-1\n";
    let credentials = format!("[dev]\n{KEYS}aws_session_token = tok\naws_account_id = 123456789012\n[default]\n{KEYS}");
    let (answer, region) = load(&source, config, &credentials, &[("AWS_PROFILE", "dev")]).await;
    let Lookup::Found(found) = answer else { panic!("{answer:?}") };
    assert_eq!(
        (&*found.access_key_id, found.session_token.is_some(), found.account_id.as_deref()),
        ("AKIA1", true, Some("123456789012"))
    );
    assert_eq!(region.as_deref(), Some("eu-west-1"));
    let (answer, region) = load(&source, config, &credentials, &[]).await;
    assert!(matches!(answer, Lookup::Found(Credentials { session_token: None, .. })), "{answer:?}");
    assert_eq!(region, None);
}

#[test]
fn describes_every_profile_by_its_plan() {
    const ROLE: &str = "role_arn = arn:aws:iam::1:role/r\n";
    let mut config = String::new();
    // Chains of the maximum length and longer ones: into keys, into cycles, and from profiles that are roles only as
    // first.
    for (name, length, last) in [
        ("a", 256, format!("[profile a256]\n{KEYS}")),
        ("b", 400, format!("[profile b400]\n{KEYS}")),
        ("c", 400, format!("[profile c400]\n{ROLE}source_profile = c390\n")),
        ("d", 400, format!("[profile d400]\n{ROLE}source_profile = d0\n")),
        ("e", 255, format!("[profile e255]\n{ROLE}source_profile = e255\n")),
        ("f", 258, format!("[profile f258]\n{ROLE}{KEYS}source_profile = a1\n")),
        ("g", 258, String::new()),
        ("h", 258, format!("[profile h258]\n{ROLE}credential_source = Environment\n")),
    ] {
        for at in 0..length {
            config += &format!("[profile {name}{at}]\n{ROLE}source_profile = {name}{}\n", at + 1);
        }
        config += &last;
    }
    let content = crate::shared_config::FileContent { path: std::path::Path::new("/c"), bytes: config.as_bytes() };
    let files = SharedConfig::parse(Some(content), None).unwrap();
    let (mut listed, mut too_long) = (0, 0);
    for (section, described) in describe(&files, &|_| Ok(()), &|_, _| None) {
        let planned = plan::plan(&files, section, &|_| Ok(()));
        assert_eq!(described, description(planned, |_| None), "{}", section.name());
        listed += 1;
        too_long += usize::from(described.to_string().contains("more than 256"));
    }
    assert!(listed > 2000 && too_long > 600, "{listed} {too_long}");
}

#[tokio::test]
async fn returns_each_kind_of_lookup() {
    let (unnamed, named) = (ConfigCredentials::new(), ConfigCredentials::new().profile("dev"));
    let half = "[default]\naws_access_key_id = AKIA1\n";
    let blank = "[default]\naws_access_key_id =\naws_secret_access_key =\n";
    let table: &[(&ConfigCredentials, &str, &str, &str)] = &[
        (&unnamed, "", "", "not configured: there is no profile default"),
        (
            &unnamed,
            "[default]\nregion = x\n",
            "",
            "not configured: profile default has no properties for credentials; give it keys, role_arn",
        ),
        (&unnamed, "", blank, "not configured: profile default has no properties"),
        (&named, "[profile dev]\nregion = x\n", "", "not configured: profile dev has no properties"),
        (&named, "", "", "Unsettled: there is no profile dev in"),
        (
            &unnamed,
            "",
            half,
            "credentials, line 2: profile default: aws_access_key_id is set without aws_secret_access_key",
        ),
        (&unnamed, "[default\n", "", "config, line 1: expected a `]`"),
        (&unnamed, "[default]\nsource_profile = x\n", &format!("[default]\n{KEYS}"), "found"),
        (&unnamed, "[default]\nrole_arn = a b\n", "", "config, line 2: profile default: role_arn is not the ARN"),
        (&unnamed, "[default]\ncredential_process = false\n", &format!("[default]\n{KEYS}"), "found"),
        (&unnamed, "[default]\ncredential_process = exit 7\n", "", "profile default: the credential_process failed"),
    ];
    for (source, config, credentials, expected) in table {
        let shown = match load(source, config, credentials, &[]).await.0 {
            Lookup::Found(_) => "found".to_owned(),
            Lookup::NotConfigured(reason) => format!("not configured: {reason}"),
            Lookup::Failed(error) => format!("{:?}: {error}", error.kind),
        };
        assert!(shown.contains(expected), "{config:?} {credentials:?}: {shown}");
        assert!(!shown.contains("hush"));
    }
}

#[tokio::test]
async fn missing_file_is_an_error_only_when_named() {
    let absent = "/nonexistent/credentials";
    let (answer, _) = load(&ConfigCredentials::new(), "", "", &[("AWS_SHARED_CREDENTIALS_FILE", absent)]).await;
    assert!(matches!(answer, Lookup::NotConfigured(_)), "{answer:?}");
    let (answer, _) = load(&ConfigCredentials::new().credentials_file(absent), "", "", &[]).await;
    assert!(matches!(&answer, Lookup::Failed(error) if error.kind == ErrorKind::Unsettled), "{answer:?}");
}
